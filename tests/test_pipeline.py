"""The pipeline of Azure ML: it loads offline, and its steps run as they would in jobs of their own."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import promptflow_environment
from tests.scripted_endpoint import scripted_endpoint
from tools.raft.files import PROJECT, read_log

PIPELINE = PROJECT / "deploy" / "pipeline"
STEPS = ["generate", "answer_rag", "answer_raft", "compare"]


@pytest.fixture(scope="module")
def job() -> Any:
    from azure.ai.ml import load_job

    return load_job(PIPELINE / "pipeline.yaml")


def values(job: Any, step: str) -> dict[str, str]:
    """Return the inputs of a step: literals, or references as they are written."""
    component = job.jobs[step].component
    defaults = {name: spec.get("default") for name, spec in component.inputs.items()}
    given = {name: str(getattr(value, "_data", value)) for name, value in job.jobs[step].inputs.items()}
    return {
        name: given[name] if given.get(name, "None") != "None" else str(defaults[name]) for name in defaults
    }


def test_the_pipeline_loads_and_its_steps_fit_together(job: Any) -> None:
    assert list(job.jobs) == STEPS
    for step in STEPS:
        component = job.jobs[step].component
        used = re.findall(r"\$\{\{(inputs|outputs)\.(\w+)\}\}", component.command)
        assert {name for kind, name in used if kind == "inputs"} == set(component.inputs)
        assert {name for kind, name in used if kind == "outputs"} == set(component.outputs)
        for value in values(job, step).values():
            assert value != "None", f"{step} lacks an input"
            if match := re.fullmatch(r"\$\{\{parent\.jobs\.(\w+)\.outputs\.(\w+)\}\}", value):
                assert match[2] in job.jobs[match[1]].component.outputs
    assert "api_key" not in (PIPELINE / "pipeline.yaml").read_text(encoding="utf-8").lower().replace(
        "azure_openai_api_key", ""
    )


@pytest.mark.parametrize(
    "flow", [".", *sorted(path.parent.name for path in (PROJECT / "flows").glob("*/run.yml"))]
)
def test_every_flow_loads_as_a_parallel_component(flow: str) -> None:
    from azure.ai.ml import load_component

    folder = PROJECT if flow == "." else PROJECT / "flows" / flow
    assert load_component(folder / "flow.dag.yaml").type == "promptflow_parallel"


def test_nothing_large_or_secret_is_uploaded_with_a_step(job: Any) -> None:
    with job.jobs["generate"].component._build_code() as code:
        files = [path for path in Path(code.path).rglob("*") if path.is_file()]
        assert sum(path.stat().st_size for path in files) < 8e6
        assert not [path for path in files if path.name == ".env" or path.suffix == ".gguf"]


@pytest.mark.parametrize("step", STEPS)
def test_a_step_has_what_its_flows_include(job: Any, step: str) -> None:
    component = job.jobs[step].component
    command = f"{component.command} {values(job, step).get('flow', '')}"
    flows = set(re.findall(r"flows/\w+", command))
    assert flows
    with component._build_code() as code:
        for flow in flows:
            folder = Path(code.path) / flow
            graph = yaml.safe_load((folder / "flow.dag.yaml").read_text(encoding="utf-8"))
            assert [name for name in graph["additional_includes"] if not (folder / name).exists()] == []


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_steps_run_from_documents_to_the_report(job: Any, tmp_path: Path) -> None:
    """Run each step's command with what it uploads, in a home of its own, as a job would."""
    documents = tmp_path / "documents"
    documents.mkdir()
    for name in ("bats.pdf", "bat-survey.txt", "surf-handbook.docx"):
        shutil.copy(PROJECT / "data" / "documents" / name, documents)
    parameters = {"documents": str(documents), "questions": "2", "chunk_size": "160"}
    parameters |= {"baseline_model": "base", "raft_model": "tuned"}
    with scripted_endpoint() as endpoint:
        for step in STEPS:
            env = {
                **promptflow_environment(tmp_path / "homes" / step),
                "COMPATIBLE_BASE_URL": endpoint.url, "COMPATIBLE_API_KEY": "any",
                "RAFT_CONNECTION": "compatible", "RAFT_MODEL": "teacher",
            }  # fmt: skip
            component = job.jobs[step].component
            command = component.command
            for name, value in values(job, step).items():
                value = re.sub(r"\$\{\{parent\.inputs\.(\w+)\}\}", lambda m: parameters[m[1]], value)
                value = re.sub(r"\$\{\{parent\.jobs\.(\w+)\.outputs\.(\w+)\}\}", rf"{tmp_path}/\1/\2", value)
                command = command.replace("${{inputs.%s}}" % name, value)  # noqa: UP031
            for name in component.outputs:
                (tmp_path / step / name).mkdir(parents=True)
                command = command.replace("${{outputs.%s}}" % name, str(tmp_path / step / name))  # noqa: UP031
            with component._build_code() as code:
                done = subprocess.run(
                    ["bash", "-c", command], cwd=code.path, env=env, capture_output=True, text=True, timeout=600
                )  # fmt: skip
            assert done.returncode == 0, f"{step}\n{done.stdout}\n{done.stderr}"
    questions = read_log(tmp_path / "generate" / "dataset" / "test.eval.jsonl")
    report = tmp_path / "compare" / "report"
    comparison = json.loads((report / "comparison.json").read_text(encoding="utf-8"))
    assert comparison["questions"] == len(questions) > 5
    assert comparison["settings"]["models"] == {"rag": "base", "raft": "tuned"}
    assert comparison["settings"]["different_requests"] == 0
    assert comparison["settings"]["seen_in_training"] == 0
    assert (report / "report.html").is_file()
