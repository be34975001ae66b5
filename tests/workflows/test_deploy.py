"""The workflow on Azure ML: its files load offline, and its parallel step runs as the service runs it."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.rag.test_answer import SPEED
from tests.scripted_endpoint import scripted_endpoint
from tools.raft.errors import UserError
from tools.raft.files import PROJECT, write_jsonl

DEPLOY = PROJECT / "deploy" / "workflows"


def test_the_deployment_stands_beside_that_of_the_flow() -> None:
    ml = pytest.importorskip("azure.ai.ml")
    flow = ml.load_online_deployment(PROJECT / "deploy" / "deployment.yaml")
    workflow = ml.load_online_deployment(DEPLOY / "deployment.yaml")
    assert (workflow.endpoint_name, workflow.name != flow.name) == (flow.endpoint_name, True)
    assert workflow.environment.inference_config == flow.environment.inference_config
    build = workflow.environment.build
    assert (DEPLOY / build.path).resolve() == PROJECT and (PROJECT / build.dockerfile_path).is_file()
    image = (PROJECT / build.dockerfile_path).read_text("utf-8")
    kept = (DEPLOY / "Dockerfile.dockerignore").read_text("utf-8")
    for name in re.findall(r"^COPY (?:--\S+ )?(\S+)", image, re.MULTILINE):
        assert f"!{name}\n" in kept and (PROJECT / name).exists()
    uploaded = (PROJECT / ".amlignore").read_text("utf-8")
    assert "!/workflows/" in uploaded and "!/requirements-agents.txt" in uploaded


def test_the_pipeline_loads_and_keeps_the_ports_of_the_flow() -> None:
    ml = pytest.importorskip("azure.ai.ml")
    job = ml.load_job(DEPLOY / "pipeline.yaml")
    component = job.jobs["answer"].component
    assert component.input_data == "${{inputs.data}}" and list(component.outputs) == ["flow_outputs"]
    assert component.task["append_row_to"] == "${{outputs.flow_outputs}}"
    assert (DEPLOY / component.task["code"] / component.task["entry_script"]).is_file()
    text = (DEPLOY / "pipeline.yaml").read_text("utf-8")
    assert not {"api_key", "API_KEY"} & set(yaml.safe_load(text)["jobs"]["answer"]["environment_variables"])


def test_the_step_answers_files_and_rows_and_pays_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("agent_framework", reason="pip install --no-deps -r requirements-agents-dev.txt")
    from deploy.workflows import answer_questions as step

    write_jsonl(tmp_path / "one.jsonl", [{"question": SPEED}, {"question": 5}])
    write_jsonl(tmp_path / "two.jsonl", [{"question": "How much is a berth?", "chat_history": []}])
    monkeypatch.setattr(step, "CACHE", tmp_path / "node")
    monkeypatch.setattr(sys, "argv", ["step", "--mode", "lexical", "--append_row_safe_output", "x"])
    with scripted_endpoint(key="sk-right-0123456") as endpoint:
        monkeypatch.setenv("RAFT_CONNECTION", f"{endpoint.url}:m")
        monkeypatch.setenv("RAFT_API_KEY", "sk-wrong-0123456")
        step.init()
        with pytest.raises(UserError, match="refused the call") as refused:
            step.run([str(tmp_path / "one.jsonl")])
        assert "sk-wrong" not in str(refused.value)
        step.shutdown()
        monkeypatch.setenv("RAFT_API_KEY", "sk-right-0123456")
        step.init()
        rows: list[dict[str, Any]] = [
            json.loads(row) for row in step.run([str(tmp_path / "one.jsonl"), str(tmp_path / "two.jsonl")])
        ]
        paid = endpoint.stats()["answered"]
        again = step.run([{"question": SPEED}])
        assert (endpoint.stats()["answered"], paid) == (2, 2)
        step.shutdown()
    assert [(row["file"], row["line_number"]) for row in rows] == [
        ("one.jsonl", 0),
        ("one.jsonl", 1),
        ("two.jsonl", 2),
    ]
    assert rows[1]["error"] == 'question must be a text, such as {"question": "…"}' and rows[0]["citations"]
    assert json.loads(again[0])["reply"] == rows[0]["reply"]
