"""A student, by any name that finetune takes: its context and its tokens."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.tiny import save_tiny_model
from tools.raft.dataset.student import open_student
from tools.raft.errors import UserError


@pytest.mark.parametrize(
    ("model", "context"),
    [
        ("embedded", 8_192),
        ("gpt-4o-mini", 65_536),
        ("gpt-4o-mini-2024-07-18", 65_536),
        ("azure-openai/gpt-4o-mini:2024-07-18", 65_536),
        ("azureml://registries/azureml-meta/models/Meta-Llama-3.1-8B-Instruct/versions/4", 128_000),
        ("ft:gpt-4o:acme::abc", 128_000),
    ],
)
def test_the_context_is_found_by_name(model: str, context: int) -> None:
    assert open_student(model).context == context


def test_a_model_folder_states_its_context_and_counts_its_own_tokens(tmp_path: Path) -> None:
    student = open_student(str(save_tiny_model(tmp_path / "model")))
    assert student.context == 2_048 and student.exact
    assert student.count("hut") == 3, "its tokens are bytes"
    chat = student.count_chat([{"role": "user", "content": "hut"}])
    assert chat == len("<s>user\nhut</s>\n") - len("<s>") - len("</s>") + 2, "with the template's own tokens"

    earlier = tmp_path / "earlier"
    earlier.mkdir()
    (earlier / "adapter_config.json").write_text("{}", encoding="utf-8")
    (earlier / "order.json").write_text(json.dumps({"model": str(tmp_path / "model")}), encoding="utf-8")
    assert open_student(str(earlier)).context == 2_048, "an earlier run stands for the model that it adapts"


@pytest.mark.parametrize(
    ("config", "context"),
    [
        ({"n_positions": 1024}, 1024),
        ({"text_config": {"max_position_embeddings": 4096}}, 4096),
        ({"model_type": "mamba"}, None),
    ],
)
def test_configurations_name_the_context_differently(
    tmp_path: Path, config: dict, context: int | None
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert open_student(str(tmp_path)).context == context


def test_a_hosted_model_is_estimated_and_an_unknown_one_named(tmp_path: Path) -> None:
    assert not open_student("gpt-4o-mini").exact
    with pytest.raises(UserError, match=r"--for nobody/knows:1: .*--prices.*\"knows\": {\"context\""):
        open_student("nobody/knows:1")
    with pytest.raises(UserError, match=r"its config\.json cannot be read"):
        open_student(str(tmp_path))
