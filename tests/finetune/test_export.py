"""Dataset and configuration for trainers elsewhere, each loaded by the tool it is for where that is on PATH.

Their requirements contradict each other's and this project's: install a tool in an environment of its own and
put the environment's folder of commands on PATH.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from tools.raft.errors import UserError
from tools.raft.files import write_jsonl
from tools.raft.finetune.backend import FineTuneSpec
from tools.raft.finetune.export import export_training

TOOLS = ("trl", "axolotl", "llama-factory", "unsloth")
DATASET = Path(__file__).parents[2] / "flows" / "finetune" / "dataset"


@pytest.fixture
def spec() -> FineTuneSpec:
    return FineTuneSpec(DATASET, "embedded", epochs=2, batch_size=2, rank=8)


def rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def load(out: Path, tool: str) -> dict:
    return yaml.safe_load((out / f"{tool}.yaml").read_text(encoding="utf-8"))


def run_in(command: str, script: str, folder: Path) -> str:
    """Run a script in a folder with the interpreter of an installed command; skip if it is not installed."""
    found = shutil.which(command)
    if not found:
        pytest.skip(f"{command} is not installed")
    python = Path(found).parent / "python"
    done = subprocess.run([python, "-c", script], cwd=folder, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip().splitlines()[-1]


@pytest.mark.parametrize("tool", TOOLS)
def test_writes_the_rows_of_the_training_files_and_the_command(
    tool: str, spec: FineTuneSpec, tmp_path: Path
) -> None:
    out = tmp_path / "out folder"
    command = export_training(tool, spec, out)
    assert command.startswith(f"cd '{out}' && ") and command.endswith(f"{tool}.yaml")
    exported = [
        row["messages"] if "messages" in row else [*row["prompt"], *row["completion"]]
        for row in rows(out / "data" / "train.jsonl")
    ]
    assert exported == [row["messages"] for row in rows(DATASET / "train.chat.jsonl")]
    text = (out / f"{tool}.yaml").read_text(encoding="utf-8")
    assert "HuggingFaceTB/SmolLM2-135M-Instruct" in text and str(tmp_path) not in text


@pytest.mark.parametrize("tool", TOOLS)
def test_a_setting_is_passed_on(tool: str, spec: FineTuneSpec, tmp_path: Path) -> None:
    export_training(tool, replace(spec, overrides=("packing=true",)), tmp_path)
    assert load(tmp_path, tool)["packing"] is True


def test_qlora_is_each_tool_s_own_setting(spec: FineTuneSpec, tmp_path: Path) -> None:
    for tool in TOOLS:
        export_training(tool, replace(spec, quantize="4bit"), tmp_path)
    assert load(tmp_path, "trl")["load_in_4bit"] is True
    assert load(tmp_path, "axolotl")["adapter"] == "qlora"
    assert load(tmp_path, "llama-factory")["quantization_bit"] == 4
    assert load(tmp_path, "unsloth")["training"]["load_in_4bit"] is True


def test_what_a_tool_cannot_do_is_refused(spec: FineTuneSpec, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="name one"):
        export_training("trl", replace(spec, model="model.gguf"), tmp_path)
    with pytest.raises(UserError, match="4bit only"):
        export_training("unsloth", replace(spec, quantize="8bit"), tmp_path)
    with pytest.raises(UserError, match="whole number"):
        export_training("unsloth", replace(spec, epochs=1.5), tmp_path)
    with pytest.raises(UserError, match=r"train\.completion\.jsonl is missing"):
        export_training("axolotl", replace(spec, api="completion"), tmp_path)


def test_pairs_are_for_trl_s_own_script(spec: FineTuneSpec, tmp_path: Path) -> None:
    chats = rows(DATASET / "train.chat.jsonl")
    dataset = tmp_path / "dataset"
    pairs = [
        {
            "input": {"messages": row["messages"][:-1]},
            "preferred_output": row["messages"][-1:],
            "non_preferred_output": [{"role": "assistant", "content": "I do not know."}],
        }
        for row in chats
    ]
    write_jsonl(dataset / "train.dpo.jsonl", pairs)
    pairs_spec = replace(spec, dataset=dataset, method="dpo", overrides=("loss_type=[ipo]",))
    assert export_training("trl", pairs_spec, tmp_path / "trl").endswith("&& trl dpo --config trl.yaml")
    config = load(tmp_path / "trl", "trl")
    assert (config["beta"], config["learning_rate"], config["loss_type"]) == (0.1, 5e-6, ["ipo"])
    written = rows(tmp_path / "trl" / "data" / "train.jsonl")
    assert written[0] == {
        "prompt": chats[0]["messages"][:-1],
        "chosen": chats[0]["messages"][-1:],
        "rejected": pairs[0]["non_preferred_output"],
    }
    for tool in TOOLS[1:]:
        with pytest.raises(UserError, match="for --method dpo use --export trl"):
            export_training(tool, pairs_spec, tmp_path / tool)


def test_no_row_is_longer_than_the_limit(spec: FineTuneSpec, tmp_path: Path) -> None:
    export_training("axolotl", spec, tmp_path)
    config = load(tmp_path, "axolotl")
    longest = max(
        sum(len(m["content"].encode("utf-8")) for m in row["messages"])
        for row in rows(DATASET / "train.chat.jsonl")
    )
    assert longest / 2 <= config["sequence_len"] < longest / 2 + 512
    assert config["excess_length_strategy"] == "raise"


@pytest.mark.slow
def test_trl_takes_its_configuration(spec: FineTuneSpec, tmp_path: Path) -> None:
    export_training("trl", spec, tmp_path)
    script = """
from trl.scripts.sft import make_parser
from datasets import load_dataset
script, training, model, _ = make_parser().parse_args_and_config(["--config", "trl.yaml", "--bf16", "false"])
data = load_dataset(script.dataset_name, cache_dir="cache")
assert training.max_length == 1792 and model.lora_target_modules == "all-linear"
print(len(data[script.dataset_train_split]), len(data[script.dataset_test_split]))
"""
    assert run_in("trl", script, tmp_path) == "14 3"


@pytest.mark.slow
def test_axolotl_takes_its_configuration(spec: FineTuneSpec, tmp_path: Path) -> None:
    export_training("axolotl", spec, tmp_path)
    script = """
import yaml
from axolotl.utils.config import validate_config
from axolotl.utils.dict import DictDefault
config = validate_config(DictDefault(yaml.safe_load(open("axolotl.yaml"))))
given = yaml.safe_load(open("axolotl.yaml"))
lost = sorted(given.keys() - config.keys())
print(config.datasets[0].type, config.adapter, lost)
"""
    assert run_in("axolotl", script, tmp_path) == "chat_template lora []"


@pytest.mark.slow
def test_llama_factory_takes_its_configuration(spec: FineTuneSpec, tmp_path: Path) -> None:
    export_training("llama-factory", spec, tmp_path)
    script = """
import yaml
from llamafactory.data.parser import get_dataset_list
from llamafactory.hparams import get_train_args
config = yaml.safe_load(open("llama-factory.yaml"))
model, data, training, tuning, _ = get_train_args({**config, "bf16": False})  # no GPU here
[train] = get_dataset_list(data.dataset, data.dataset_dir)
print(train.dataset_name, train.role_tag, tuning.lora_rank, training.num_train_epochs, data.cutoff_len)
"""
    limit = load(tmp_path, "llama-factory")["cutoff_len"]
    assert run_in("llamafactory-cli", script, tmp_path) == f"train.jsonl role 8 2 {limit}"


@pytest.mark.slow
def test_unsloth_takes_its_configuration(spec: FineTuneSpec, tmp_path: Path) -> None:
    export_training("unsloth", spec, tmp_path)
    script = """
from pathlib import Path
from unsloth_cli.config import load_config
config = load_config(Path("unsloth.yaml"))
assert config.training.train_on_completions and Path(config.data.local_dataset[0]).is_file()
print(config.training.num_epochs, config.training.gradient_accumulation_steps, config.lora.lora_r)
"""
    assert run_in("unsloth", script, tmp_path) == "2 2 8"
