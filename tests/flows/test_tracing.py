"""The spans of the flows, as a collector and Application Insights receive them, from a run and from an endpoint."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import merge_flow
from tests.flows.test_chat_flows import lexical_only
from tests.rag.test_answer import SPEED
from tests.scripted_collector import Collector, Span, scripted_collector
from tests.scripted_endpoint import Scripted, scripted_endpoint
from tools.raft.files import PROJECT

ROOT = PROJECT
ASK = ROOT / "flows" / "ask_questions"
KEY = "sk-scripted-7c41e0"  # must not leave the process, except to the model
PF = "promptflow._cli._pf.entry"


def environment(home: Path, endpoint: Scripted) -> dict[str, str]:
    """Return the environment of a user who traces, but does not want the trace service of promptflow."""
    (home / "pf").mkdir()
    (home / "pf" / "pf.yaml").write_text("telemetry:\n  enabled: false\n", encoding="utf-8")
    return {
        **os.environ,
        "HOME": str(home),
        "PF_HOME_DIRECTORY": str(home / "pf"),
        "PYTHON_KEYRING_BACKEND": "keyrings.alt.file.PlaintextKeyring",
        "COMPATIBLE_BASE_URL": endpoint.url,
        "COMPATIBLE_API_KEY": KEY,
        "PF_DISABLE_TRACING": "false",
        "PF_TRACING_SKIP_LOCAL_SETUP": "true",
    }


def run(env: dict[str, str], *command: object, cwd: Path = ROOT) -> str:
    done = subprocess.run(
        [sys.executable, *map(str, command)], cwd=cwd, env=env, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for complaint in ("Failed to", "Exception while", "Invalid type"):
        assert complaint not in done.stdout + done.stderr
    return done.stdout


def check_calls(collector: Collector, endpoint: Scripted) -> list[Span]:
    """Assert that there is one span per call, with its tokens, and no key; return these spans."""
    calls = [span for span in collector.spans() if span.attributes.get("span_type") == "LLM"]
    calls = [span for span in calls if span.name.startswith("openai")]
    stats = endpoint.stats()
    assert len(calls) == stats["answered"] > 0
    for kind in ("prompt_tokens", "completion_tokens"):
        assert sum(int(span.attributes[f"llm.usage.{kind}"]) for span in calls) == stats[kind] > 0
        total = f"__computed__.cumulative_token_count.{kind.removesuffix('_tokens')}"  # in the trace view
        flows = [span for span in collector.spans() if span.attributes.get("span_type") == "Flow"]
        assert sum(int(span.attributes[total]) for span in flows) == stats[kind]
    sent = collector.text()
    assert KEY not in sent
    assert "authorization" not in sent.lower()
    assert "api-key" not in sent.lower()
    return calls


@pytest.fixture(scope="module")
def ask_questions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = merge_flow(ASK, tmp_path_factory.mktemp("flow"))
    graph = folder / "flow.dag.yaml"
    text = graph.read_text(encoding="utf-8").replace("connection: embedded", "connection: compatible")
    graph.write_text(text.replace("model: smollm2-135m-teacher", "model: m"), encoding="utf-8")
    return folder


def test_a_flow_test_sends_its_spans_to_a_collector(ask_questions: Path, tmp_path: Path) -> None:
    with scripted_endpoint(key=KEY) as endpoint, scripted_collector() as collector:
        env = environment(tmp_path, endpoint) | collector.otlp
        run(env, "-m", "tools", "connect", "compatible")
        run(env, "-m", PF, "flow", "test", "--flow", ask_questions, "--input", ask_questions / "chunks.jsonl")
        (call,) = check_calls(collector, endpoint)
        names = [span.name for span in collector.spans()]
    assert call.attributes["node_name"] == "ask_questions"
    assert {"ask_questions", "make_chunk", "question_prompt"} <= set(names), names


@pytest.mark.slow
def test_a_batch_run_sends_its_spans_to_a_collector(ask_questions: Path, tmp_path: Path) -> None:
    chunks = (ask_questions / "chunks.jsonl").read_text(encoding="utf-8").splitlines()[:3]
    (tmp_path / "chunks.jsonl").write_text("\n".join(chunks), encoding="utf-8")
    with scripted_endpoint(key=KEY) as endpoint, scripted_collector() as collector:
        env = environment(tmp_path, endpoint) | collector.otlp
        run(env, "-m", "tools", "connect", "compatible")
        data = ("--data", tmp_path / "chunks.jsonl", "--column-mapping", "text=${data.text}", "questions=2")
        run(env, "-m", PF, "run", "create", "--flow", ask_questions, *data)
        assert len(check_calls(collector, endpoint)) == 3


SERVE = """
import sys
from opentelemetry import trace
from promptflow.core._serving.app import create_app

client = create_app(extension_type="azureml").test_client()
reply = client.post("/score", json={"question": sys.argv[1]})
assert reply.status_code == 200, reply.text
trace.get_tracer_provider().shutdown()
"""


def serve(folder: Path, env: dict[str, str], endpoint: Scripted) -> None:
    """Ask the root flow a question, served in a process of its own as in Azure ML."""
    from promptflow.core._serving.utils import encode_dict

    for name in ("tools", "prompts", "index"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    text = lexical_only((ROOT / "flow.dag.yaml").read_text(encoding="utf-8"))
    (folder / "flow.dag.yaml").write_text(text, encoding="utf-8")
    connection = {
        "type": "OpenAIConnection", "module": "promptflow.connections",
        "value": {"api_key": KEY, "base_url": endpoint.url},
    }  # fmt: skip
    served = {
        "AZUREML_MODEL_DIR": str(folder.parent),
        "PROMPTFLOW_PROJECT_PATH": str(folder),
        "PROMPTFLOW_ENCODED_CONNECTIONS": encode_dict({"embedded": connection}),
    }
    run(env | served, "-c", SERVE, SPEED, cwd=folder)


@pytest.mark.parametrize("protocol", ["otlp", "insights"])
def test_an_endpoint_sends_its_spans(tmp_path: Path, protocol: str) -> None:
    folder = tmp_path / "models" / "raft"
    folder.mkdir(parents=True)
    with scripted_endpoint(key=KEY) as endpoint, scripted_collector() as collector:
        serve(folder, environment(tmp_path, endpoint) | getattr(collector, protocol), endpoint)
        check_calls(collector, endpoint)
        names = [span.name for span in collector.spans()]
    assert {"POST /score", "search_index", "build_instruction", "ask_model", "read_reply"} <= set(names)
