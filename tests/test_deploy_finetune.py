"""Fine-tuning in Azure ML: its files load offline, and its job's command runs with what the job uploads."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.finetune.trl.test_backend import COLOURS, write_rows
from tests.tiny import save_tiny_model
from tools.raft.files import PROJECT, read_log

FILES = PROJECT / "deploy" / "finetune"
needs_trl = pytest.mark.skipif(
    importlib.util.find_spec("trl") is None, reason="requirements-trl.txt is not installed"
)


def load(kind: str, name: str) -> Any:
    """Load a file as `az ml` does; the SDK's warnings about its own experimental classes are not shown."""
    import azure.ai.ml

    with contextlib.redirect_stderr(io.StringIO()):
        return getattr(azure.ai.ml, f"load_{kind}")(FILES / name)


@pytest.fixture
def job() -> Any:
    return load("job", "job.yaml")._to_job()


@cache
def uploaded(folder: Path) -> dict[str, Path]:
    """Return what is uploaded of a folder, by its path there."""
    from azure.ai.ml._utils._asset_utils import get_ignore_file, get_upload_files_from_folder

    files = get_upload_files_from_folder(folder, ignore_file=get_ignore_file(folder))
    return {name: Path(path) for path, name in files}


def test_the_job_is_submitted_as_a_distributed_one_that_registers_its_model(job: Any) -> None:
    job.compute = "/subscriptions/s/computes/c"  # `az` looks the cluster up
    sent = job._to_rest_object().properties
    assert dict(sent.distribution) == {"distributionType": "PyTorch", "processCountPerInstance": 4}
    assert sent.resources["instanceCount"] == 2
    assert sent.outputs["model"] == {
        "jobOutputType": "custom_model", "mode": "ReadWriteMount", "assetName": load("model", "model.yaml").name
    }  # fmt: skip
    assert sent.outputs["training"]["mode"] == "ReadWriteMount", "an upload would come when the job has ended"
    assert sent.outputs["training"]["uri"].startswith("azureml://datastores/"), "the same for a new job"
    assert sent.inputs["learning_rate"]["value"] == "0.0002", "and not a string that YAML made of 2e-4"
    used = set(re.findall(r"\$\{\{(inputs|outputs)\.(\w+)\}\}", job.command))
    assert used == {("inputs", name) for name in job.inputs} | {("outputs", name) for name in job.outputs}


def test_what_the_readme_sets_is_set() -> None:
    from azure.ai.ml import load_job

    text = (FILES / "README.md").read_text(encoding="utf-8")
    text += (FILES / "job.yaml").read_text(encoding="utf-8").replace("\n#  ", "")
    given = dict(re.findall(r"--set ([\w.]+)=(\S+)", text)) | {"inputs.epochs": "7"}
    assert {"inputs.model", "compute"} <= given.keys()
    given.pop("path")  # of model.yaml
    with contextlib.redirect_stderr(io.StringIO()):
        job = load_job(FILES / "job.yaml", params_override=[{name: value} for name, value in given.items()])
    assert job.inputs["model"]._data == given["inputs.model"] and job.inputs["epochs"]._data == "7"
    assert job.compute.endswith(given["compute"].removeprefix("azureml:"))


def test_the_files_name_each_other(job: Any) -> None:
    assert job.compute.split(":")[-1].endswith(load("compute", "cluster.yaml").name)
    data = load("data", "data.yaml").name
    assert job.inputs["dataset"].path.removeprefix("azureml:") == f"{data}@latest"
    pipeline = yaml.safe_load((PROJECT / "deploy" / "parallel" / "pipeline.yaml").read_text(encoding="utf-8"))
    assert pipeline["outputs"]["dataset"]["name"] == data
    deployment = load("online_deployment", "deployment.yaml")
    assert deployment.endpoint_name == load("online_endpoint", "endpoint.yaml").name
    assert deployment.model.removeprefix("azureml:") == f"{job.outputs['model'].name}@latest"
    cluster, resources = load("compute", "cluster.yaml"), job.resources
    assert cluster.max_instances >= resources.instance_count and cluster.tier == "low_priority"


def test_a_folder_here_can_be_registered_as_well(tmp_path: Path) -> None:
    from azure.ai.ml import load_model

    merged = tmp_path / "merged"
    merged.mkdir()
    model = load_model(FILES / "model.yaml", params_override=[{"path": str(merged)}])
    assert (model.type, model.path) == ("custom_model", str(merged))


def test_the_deployment_asks_vllm_for_its_health_and_lets_all_its_paths_through() -> None:
    deployment = load("online_deployment", "deployment.yaml")
    routes = deployment.environment.inference_config
    assert {name: (route["path"], str(route["port"])) for name, route in routes.items()} == {
        "livenessRoute": ("/health", "8000"), "readinessRoute": ("/health", "8000"), "scoringRoute": ("/", "8000")
    }  # fmt: skip
    build = deployment.environment.build
    folder = FILES / build.path
    assert "FROM vllm/vllm-openai:v" in (folder / build.dockerfile_path).read_text(encoding="utf-8")
    script = (folder / "start.sh").read_text(encoding="utf-8")
    assert f"MODELS:-{deployment.model_mount_path}}}" in script
    assert set(deployment.environment_variables) == {"SERVED_NAME", "SERVE_OPTIONS"}
    assert all(f"${name}" in script or f"${{{name}" in script for name in deployment.environment_variables)
    assert deployment.request_settings.request_timeout_ms <= 180_000, "Azure's limit"


@pytest.mark.parametrize("below", ["raft-tuned/3", "raft-tuned/3/model"])
def test_the_image_serves_the_model_that_is_mounted(below: str, tmp_path: Path) -> None:
    models, programs = tmp_path / "models", tmp_path / "bin"
    (models / below).mkdir(parents=True)
    (models / below / "config.json").write_text("{}")
    programs.mkdir()
    (programs / "vllm").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    (programs / "vllm").chmod(stat.S_IRWXU)
    env = {"PATH": f"{programs}:{os.environ['PATH']}", "MODELS": str(models)}
    start = ["sh", str(FILES / "vllm" / "start.sh")]
    options = {"SERVED_NAME": "mine", "SERVE_OPTIONS": "--max-model-len 8192 --dtype bfloat16"}
    done = subprocess.run(start, env=env | options, capture_output=True, text=True)
    assert done.stdout.split() == [
        "serve", str(models / below), "--host", "0.0.0.0", "--port", "8000", "--served-model-name", "mine",
        "--max-model-len", "8192", "--dtype", "bfloat16",
    ]  # fmt: skip
    shutil.rmtree(models / "raft-tuned")
    done = subprocess.run(start, env=env, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith("error: there is no model below")


@pytest.mark.parametrize("image", ["deploy", "deploy/pipeline", "deploy/finetune"])
def test_what_an_image_copies_is_sent_to_its_builder(image: str) -> None:
    text = (PROJECT / image / "Dockerfile").read_text(encoding="utf-8")
    copied = [name for line in re.findall(r"^COPY (?:--\S+ )?(.+) \S+$", text, re.M) for name in line.split()]
    sent = uploaded(PROJECT)
    assert (
        copied
        and [name for name in copied if not any(f"{path}/".startswith(f"{name}/") for path in sent)] == []
    )


def test_the_requirements_of_the_image_agree() -> None:
    def pins(name: str) -> set[tuple[str, str]]:
        return set(re.findall(r"^([\w.-]+)==([\w.]+)", (PROJECT / name).read_text(), re.M))

    locked, added = pins("requirements.lock"), pins("requirements-trl.txt")
    assert added
    assert {pin for pin in added if pin[0] in {name for name, _ in locked}} <= locked


def test_the_cache_of_a_dataset_is_not_uploaded(tmp_path: Path) -> None:
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "replies.sqlite").write_text("")
    (tmp_path / "train.chat.jsonl").write_text("")
    comment = (FILES / "data.yaml").read_text(encoding="utf-8")
    command = re.search(r"#   (echo .*) &&", comment)
    assert command
    subprocess.run(command[1].replace("out/", ""), shell=True, cwd=tmp_path, check=True)
    assert not [name for name in uploaded(tmp_path) if name.startswith(".cache")]


@needs_trl
def test_the_command_of_the_job_trains_in_two_processes(job: Any, tmp_path: Path) -> None:
    """The processes are started as Azure ML starts them, without torchrun, with what the job uploads."""
    code = tmp_path / "code"
    for name, path in uploaded(PROJECT).items():
        (code / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, code / name)
    values = {
        "dataset": write_rows(tmp_path / "dataset", COLOURS[:8], COLOURS[8:10]),
        "model": save_tiny_model(tmp_path / "base"),
        "epochs": 2, "patience": 4, "batch_size": 4, "learning_rate": 0.02,
    }  # fmt: skip
    command = job.command.replace("python ", f"{sys.executable} ", 1)
    for name in job.inputs:
        command = command.replace(f"${{{{inputs.{name}}}}}", str(values[name]))
    for name in job.outputs:
        command = command.replace(f"${{{{outputs.{name}}}}}", str(tmp_path / name))
    assert "${{" not in command
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [
        subprocess.Popen(
            ["bash", "-c", command], cwd=code, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={
                **os.environ, "RANK": str(rank), "LOCAL_RANK": str(rank), "NODE_RANK": "0", "WORLD_SIZE": "2",
                "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1",
                "TMPDIR": str(tmp_path), "CUDA_VISIBLE_DEVICES": "",
            },
        )
        for rank in range(2)
    ]  # fmt: skip
    first, second = (process.communicate(timeout=300) for process in processes)
    assert [process.returncode for process in processes] == [0, 0], first[1][-3000:] + second[1][-3000:]
    last = first[0].splitlines()[-1]
    assert (
        last.startswith(f"adapter in {tmp_path / 'training'}, validation loss ")
        and str(tmp_path / "model") in last
    )
    assert second[0] == "", "it is said once"
    log = read_log(tmp_path / "training" / "log.jsonl")
    assert [line["step"] for line in log if line["valid_loss"] is None] == [1, 2, 3, 4], (
        "8 rows, 4 a step, twice"
    )
    assert log[-1]["valid_loss"] < log[0]["train_loss"]
    settings = yaml.safe_load((tmp_path / "training" / "trl.yaml").read_text(encoding="utf-8"))
    assert settings["gradient_accumulation_steps"] == 2, "half of the rows of a step each"
    assert {"config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja", "adapter.gguf"} <= {
        path.name for path in (tmp_path / "model").iterdir()
    }
    assert not list(tmp_path.glob("raft-*")), "nothing is left on the machine"
