"""The deployed endpoint: its model chosen and checked at the start, warm when it is Healthy, its Azure ML files."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.flows.test_chat_flows import lexical_only
from tests.rag.test_answer import SPEED
from tests.scripted_endpoint import Scripted, scripted_endpoint
from tools.raft.errors import UserError
from tools.raft.files import PROJECT

DEPLOY = PROJECT / "deploy"
KEY = "sk-a-key-nobody-must-see"
COPIED = ("tools", "prompts", "connections", "index", "deploy")


def flow_folder(parent: Path) -> Path:
    """Copy the flow as the image has it, searching by words only: the embedding model takes seconds to load."""
    folder = parent / "raft"
    folder.mkdir(parents=True)
    for name in COPIED:
        shutil.copytree(PROJECT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    text = lexical_only((PROJECT / "flow.dag.yaml").read_text(encoding="utf-8"))
    (folder / "flow.dag.yaml").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def flow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the flow that no test may change, as where Azure ML mounts it."""
    return flow_folder(tmp_path_factory.mktemp("models"))


@pytest.fixture
def endpoint() -> Iterator[Scripted]:
    with scripted_endpoint(key=KEY) as server:
        yield server


@pytest.fixture
def deployment(monkeypatch: pytest.MonkeyPatch, flow: Path, tmp_path: Path) -> Callable[..., None]:
    """Return a function that deploys: it sets the variables of a deployment, and enters the flow's folder."""
    from keyring import set_keyring
    from keyring.backends.null import Keyring

    def deploy(**variables: str) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    set_keyring(Keyring())
    monkeypatch.chdir(flow)
    monkeypatch.setenv("PROMPTFLOW_PROJECT_PATH", str(flow))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return deploy


def encoded(connections: dict[str, str]) -> str:
    """Encode connections, given as name and address, as those of a workspace reach an Azure ML endpoint."""
    from promptflow.core._serving.utils import encode_dict

    return encode_dict(
        {
            name: {
                "type": "OpenAIConnection", "module": "promptflow.connections",
                "value": {"api_key": KEY, "base_url": url},
            }
            for name, url in connections.items()
        }
    )  # fmt: skip


def edited(flow: Path, tmp_path: Path, edit: Callable[[dict[str, Any], dict[str, Any]], None]) -> Path:
    """Return a copy of the flow that a user has edited, given its graph and its node ask_model."""
    graph = yaml.safe_load((flow / "flow.dag.yaml").read_text(encoding="utf-8"))
    edit(graph, next(node for node in graph["nodes"] if node["name"] == "ask_model"))
    folder = tmp_path / "edited"
    folder.mkdir()
    (folder / "flow.dag.yaml").write_text(yaml.safe_dump(graph), encoding="utf-8")
    return folder


def test_the_default_variant_of_the_node_is_the_one_chosen_for(flow: Path, tmp_path: Path) -> None:
    from deploy.serve import choose_model, read_flow

    def add_variants(graph: dict[str, Any], node: dict[str, Any]) -> None:
        variants = {name: {"node": {**node, "connection": name}} for name in ("one", "two")}
        graph["node_variants"] = {"ask_model": {"default_variant_id": "two", "variants": variants}}
        node.clear()
        node.update(name="ask_model", use_variants=True)

    folder = edited(flow, tmp_path, add_variants)
    assert read_flow(folder)[1]["connection"] == "two"
    node = read_flow(choose_model(folder, {"RAFT_MODEL": "mine"}))[1]
    assert (node["connection"], node["inputs"]["model"]) == ("two", "mine")


def test_the_deployment_named_in_a_flow_of_azure_openai_is_checked(
    flow: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from promptflow.core._serving.utils import encode_dict

    from deploy.serve import find_endpoint

    fields = {"api_key": KEY, "api_base": "https://mine.openai.azure.com", "api_type": "azure"}
    azure = {"type": "AzureOpenAIConnection", "module": "promptflow.connections", "value": fields}
    folder = edited(
        flow, tmp_path, lambda _, node: node["inputs"].update(deployment_name="gpt", model="other")
    )
    for name in ("tools", "prompts"):
        (folder / name).symlink_to(flow / name)
    monkeypatch.setenv("PROMPTFLOW_PROJECT_PATH", str(folder))
    monkeypatch.setenv("PROMPTFLOW_ENCODED_CONNECTIONS", encode_dict({"embedded": azure}))
    endpoint = find_endpoint(folder, "azureml")
    assert (endpoint.kind, endpoint.model) == ("azure_openai", "gpt")


@pytest.mark.parametrize("text", ["nodes: [", "inputs: {}", "nodes: [{name: other}]"])
def test_a_flow_that_cannot_be_served_is_refused_in_one_line(text: str, tmp_path: Path) -> None:
    from deploy.serve import read_flow

    (tmp_path / "flow.dag.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"flow\.dag\.yaml") as error:
        read_flow(tmp_path)
    assert "\n" not in str(error.value)


def contents(folder: Path) -> dict[Path, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path: path.read_bytes() for path in files}


def start(extension: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Start as start.sh does, but with a test client in place of gunicorn; return it."""
    from deploy import serve

    commands: list[list[str]] = []
    monkeypatch.setenv("EXTENSION", extension)
    monkeypatch.setattr("os.execv", lambda _, command: commands.append(command))
    serve.main()
    (command,) = commands
    assert command[-1] == f"deploy.serve:create_app('{extension}')"
    return serve.create_app(extension).test_client()


@pytest.mark.parametrize("extension", ["local", "azureml"])
def test_a_deployment_chooses_connection_and_model_without_editing_the_flow(
    extension: str, deployment: Any, endpoint: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment(
        RAFT_CONNECTION="compatible", RAFT_MODEL="mine", COMPATIBLE_BASE_URL=endpoint.url, COMPATIBLE_API_KEY=KEY,
        PROMPTFLOW_ENCODED_CONNECTIONS=encoded({"compatible": endpoint.url, "embedded": "http://127.0.0.1:9/v1"}),
    )  # fmt: skip
    before = contents(Path.cwd())
    client = start(extension, monkeypatch)
    assert client.get("/health").status_code == 200
    reply = client.post("/score", json={"question": SPEED})
    assert reply.status_code == 200, reply.text
    assert reply.json["citations"]
    assert {request["model"] for request in endpoint.requests()} == {"mine"}
    assert contents(Path.cwd()) == before, "the flow may be read-only"


def test_an_override_of_azure_ml_is_respected(
    deployment: Any, endpoint: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    urls = {"mine": endpoint.url, "embedded": "http://127.0.0.1:9/v1"}
    deployment(
        PROMPTFLOW_ENCODED_CONNECTIONS=encoded(urls), RAFT_MODEL="tuned", EMBEDDED_BASE_URL=endpoint.url
    )
    client = start("azureml", monkeypatch)
    assert client.post("/score", json={"question": SPEED}).status_code == 200
    assert {request["model"] for request in endpoint.requests()} == {"tuned"}


def fail(flow: Path, home: Path, **variables: str) -> str:
    """Start in a process of its own, which must end in one line on standard error; return that line."""
    settings = home / ".promptflow"
    settings.mkdir(parents=True, exist_ok=True)
    (settings / "pf.yaml").write_text(
        "telemetry:\n  enabled: false\ntrace:\n  destination: none\n", encoding="utf-8"
    )
    env = {
        **os.environ, "HOME": str(home), "PF_HOME_DIRECTORY": str(settings),
        "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring", "PYTHONDONTWRITEBYTECODE": "1", **variables,
    }  # fmt: skip
    path = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
    done = subprocess.run(
        ["sh", str(flow / "deploy" / "start.sh")],
        cwd=flow, env={**env, "PATH": path}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode not in (0, 124), done.stdout
    assert KEY not in done.stdout + done.stderr
    (line,) = done.stderr.splitlines()
    return line


AZURE = {"RAFT_CONNECTION": "azure_openai", "RAFT_MODEL": "gpt"}


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        (
            {"EMBEDDED_BASE_URL": "http://127.0.0.1:9/v1"},
            "nothing answers at http://127.0.0.1:9/v1 .*RAFT_CONNECTION and RAFT_MODEL choose another",
        ),
        (AZURE, "azure_openai needs AZURE_OPENAI_ENDPOINT in the environment"),
        (
            {**AZURE, "RAFT_MODEL": ""},
            "RAFT_MODEL is not set: name its model, on Azure OpenAI the deployment",
        ),
        ({**AZURE, "RAFT_CONNECTION": "nobody"}, "connection nobody of the flow cannot be read: .*not found"),
        (
            {
                **AZURE,
                "EXTENSION": "azureml",
                "PROMPTFLOW_ENCODED_CONNECTIONS": "",
                "PROMPTFLOW_CONNECTION_PROVIDER": "",
            },
            "connection azure_openai of the flow cannot be read: .*PROMPTFLOW_CONNECTION_PROVIDER",
        ),
    ],
    ids=["no model", "variable", "model name", "connection", "workspace"],
)
def test_a_start_that_could_only_answer_with_errors_ends_in_one_line(
    flow: Path, tmp_path: Path, variables: dict[str, str], message: str
) -> None:
    assert re.search(message, fail(flow, tmp_path, **variables))


@pytest.mark.parametrize("given", ["sk-the-wrong-key-654321", KEY])
def test_a_refused_key_or_model_ends_the_start_without_showing_the_key(
    flow: Path, tmp_path: Path, given: str
) -> None:
    options = {"key": KEY} if given != KEY else {"always": 404}
    with scripted_endpoint(**options) as server:
        line = fail(
            flow, tmp_path, RAFT_CONNECTION="compatible", RAFT_MODEL="m",
            COMPATIBLE_BASE_URL=server.url, COMPATIBLE_API_KEY=given,
        )  # fmt: skip
    assert given not in line
    expected = "refused the call" if given != KEY else "does not exist"
    assert line.startswith("error: compatible (m at http") and expected in line


def test_a_parameter_that_the_model_refuses_and_the_flow_needs_ends_the_start(
    deployment: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with scripted_endpoint(key=KEY, refuse=["stream"]) as server:
        deployment(PROMPTFLOW_ENCODED_CONNECTIONS=encoded({"embedded": server.url}))
        with pytest.raises(SystemExit) as exit_:
            start("azureml", monkeypatch)
    assert exit_.value.code == 4, "on which gunicorn ends"
    errors = capsys.readouterr()
    last = errors.err.splitlines()[-1]
    assert "Traceback" not in errors.out + errors.err and "Exception" not in errors.err
    assert last.startswith("error: the flow has no answer: ") and "'stream' is not supported" in last


def test_a_busy_model_does_not_keep_an_endpoint_from_starting(
    deployment: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with scripted_endpoint(always=500) as server:
        deployment(PROMPTFLOW_ENCODED_CONNECTIONS=encoded({"embedded": server.url}))
        client = start("azureml", monkeypatch)
        calls = server.stats()["calls"]
    assert client.get("/health").status_code == 200
    assert calls == 2, "the worker asks nothing, as promptflow would repeat it for an hour"
    assert "does not answer now, but may later" in capsys.readouterr().err


def test_the_check_can_be_switched_off(
    deployment: Any, endpoint: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment(PROMPTFLOW_ENCODED_CONNECTIONS=encoded({"embedded": endpoint.url}), RAFT_CHECK="off")
    assert start("azureml", monkeypatch).get("/health").status_code == 200
    assert endpoint.stats()["calls"] == 0


SERVED = """
import sys
from promptflow.core._serving.app import create_app
client = create_app(extension_type="azureml").test_client()
before = set(sys.modules)
assert client.post("/score", json={"question": "bats?"}).status_code == 200
print(*sorted(set(sys.modules) - before))
"""


def modules_of_the_first_request(flow: Path, url: str) -> set[str]:
    """Serve a flow as `pf flow serve` does; return the large packages that its first request imports."""
    env = {**os.environ, "PROMPTFLOW_PROJECT_PATH": str(flow), "PYTHONDONTWRITEBYTECODE": "1",
           "PROMPTFLOW_ENCODED_CONNECTIONS": encoded({"embedded": url})}  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", SERVED], cwd=flow, env=env, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    modules = done.stdout.splitlines()[-1].split()
    large = (
        "openai.resources.chat.completions",
        "torch",
        "transformers",
        "sentence_transformers",
        "faiss",
        "bm25s",
    )
    return {module for module in modules if module.startswith(large)}


def test_the_first_request_imports_nothing_large(flow: Path, endpoint: Scripted) -> None:
    assert not modules_of_the_first_request(flow, endpoint.url)


@pytest.mark.slow
def test_the_first_request_imports_nothing_large_with_embeddings(endpoint: Scripted, tmp_path: Path) -> None:
    folder = flow_folder(tmp_path)
    shutil.copy(PROJECT / "flow.dag.yaml", folder)
    assert not modules_of_the_first_request(folder, endpoint.url)


@pytest.mark.parametrize("serving", [True, False])
def test_a_served_index_has_been_searched_once(serving: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    from tools.raft.rag.index import Index
    from tools.search_index import SearchIndex

    searched: list[object] = []
    monkeypatch.setattr("tools.search_index.serving", lambda: serving)
    monkeypatch.setattr(Index, "search", lambda self, *arguments: searched.append(arguments))
    SearchIndex("index", preload_embeddings=False)
    assert len(searched) == serving, "a batch forks after it, which the embedding model would not survive"


def test_feedback_becomes_a_span_in_the_trace_of_its_request(
    deployment: Any, endpoint: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    from opentelemetry import trace
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    deployment(PROMPTFLOW_ENCODED_CONNECTIONS=encoded({"embedded": endpoint.url}), PF_DISABLE_TRACING="false")
    client = start("azureml", monkeypatch)
    exporter = InMemorySpanExporter()
    trace.get_tracer_provider().add_span_processor(SimpleSpanProcessor(exporter))  # type: ignore[attr-defined]
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    headers = {"traceparent": f"00-{trace_id}-b7ad6b7169203331-01"}
    assert client.post("/score", json={"question": SPEED}, headers=headers).status_code == 200
    feedback = {"helpful": False, "comment": "It is 50."}
    reply = client.post("/feedback?flatten=true", json=feedback, headers=headers)
    assert (reply.status_code, reply.json) == (200, {"status": "Feedback received."})
    reply = client.post("/feedback", json=feedback, headers=headers)
    assert reply.status_code == 200
    spans = [span for span in exporter.get_finished_spans() if span.context.trace_id == int(trace_id, 16)]
    flat, whole = (dict(span.attributes or {}) for span in spans if span.name == "promptflow-feedback")
    assert {"helpful": False, "comment": "It is 50."}.items() <= flat.items()
    assert json.loads(str(whole["feedback"])) == feedback
    assert {"search_index", "openai_chat"} <= {span.name for span in spans}, "beside the nodes of the request"


@pytest.fixture(params=["deployment.yaml", "model-deployment.yaml"])
def azure_deployment(request: pytest.FixtureRequest) -> Any:
    from azure.ai.ml import load_online_deployment

    return load_online_deployment(DEPLOY / request.param)


def test_azure_ml_accepts_the_deployments(azure_deployment: Any) -> None:
    from azure.ai.ml import load_online_endpoint

    assert load_online_endpoint(DEPLOY / "endpoint.yaml").name == azure_deployment.endpoint_name
    build = azure_deployment.environment.build
    assert (DEPLOY / build.path).resolve() == PROJECT
    assert (PROJECT / build.dockerfile_path).is_file()
    routes = azure_deployment.environment.inference_config
    assert {name: route["path"] for name, route in routes.items()} == {
        "livenessRoute": "/health", "readinessRoute": "/health", "scoringRoute": "/score"
    }  # fmt: skip
    assert {str(route["port"]) for route in routes.values()} == {"8080"}
    variables = azure_deployment.environment_variables
    assert variables["RAFT_MODEL"]
    for name in ("RAFT_CONNECTION", "RAFT_MODEL", "PROMPTFLOW_RUN_MODE"):
        assert name not in variables or name in (DEPLOY / "start.sh").read_text(encoding="utf-8")


def test_the_variables_of_the_image_are_those_of_its_connection() -> None:
    from tools.connections import load_connection

    fields = yaml.safe_load((DEPLOY / "deployment.yaml").read_text(encoding="utf-8"))
    variables = fields["environment_variables"]
    loaded = load_connection(PROJECT / "connections" / f"{variables['RAFT_CONNECTION']}.yaml", variables)
    assert loaded.api_base == variables["AZURE_OPENAI_ENDPOINT"]
    assert variables["AZURE_OPENAI_API_KEY"].startswith("${{azureml://connections/")


def test_the_model_has_the_properties_by_which_the_studio_chats_with_it() -> None:
    from azure.ai.ml import load_model

    model = load_model(DEPLOY / "model.yaml")
    assert (DEPLOY / model.path).resolve() == PROJECT, "the flow is the model"
    deployment = yaml.safe_load((DEPLOY / "model-deployment.yaml").read_text(encoding="utf-8"))
    assert deployment["model"] == f"azureml:{model.name}@latest"
    graph = yaml.safe_load((PROJECT / "flow.dag.yaml").read_text(encoding="utf-8"))
    (question,) = (name for name, spec in graph["inputs"].items() if spec.get("is_chat_input"))
    (reply,) = (name for name, spec in graph["outputs"].items() if spec.get("is_chat_output"))
    assert model.properties.pop("azureml.promptflow.source_flow_id")
    assert model.properties == {
        "azureml.promptflow.mode": "chat",
        "azureml.promptflow.chat_input": question,
        "azureml.promptflow.chat_output": reply,
    }


def test_requests_and_insights_are_collected_by_the_change_of_one_line(tmp_path: Path) -> None:
    from azure.ai.ml import load_online_deployment

    text = (DEPLOY / "model-deployment.yaml").read_text(encoding="utf-8")
    text = text.replace("# data_collector:", "data_collector:").replace("enabled: false", "enabled: true")
    file = tmp_path / "deploy" / "deployment.yaml"
    file.parent.mkdir()
    shutil.copytree(DEPLOY, tmp_path / "deploy", dirs_exist_ok=True)
    file.write_text(text, encoding="utf-8")
    loaded = load_online_deployment(file)
    assert loaded.app_insights_enabled
    # The names that promptflow's server collects under.
    collected = {name for name, entry in loaded.data_collector.collections.items() if entry.enabled == "true"}
    assert collected == {"model_inputs", "model_outputs", "app_traces"}


def test_a_mounted_model_is_served_instead_of_the_flow_of_the_image(tmp_path: Path) -> None:
    folder = flow_folder(tmp_path / "mounted")
    text = (folder / "flow.dag.yaml").read_text(encoding="utf-8")
    (folder / "flow.dag.yaml").write_text(text.replace("connection: embedded", "connection: of_the_model"))
    image = flow_folder(tmp_path / "image")
    variables = {"AZUREML_MODEL_DIR": str(folder.parent), "PROMPTFLOW_RUN_MODE": "serving"}
    encoded_ = encoded({"embedded": "http://127.0.0.1:9/v1"})
    line = fail(image, tmp_path / "home", PROMPTFLOW_ENCODED_CONNECTIONS=encoded_, **variables)
    assert "connection of_the_model of the flow cannot be read" in line, "from the workspace, as of the model"


def test_an_endpoint_starts_on_a_reasoning_model(
    deployment: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with scripted_endpoint(key=KEY, refuse=["max_tokens", "temperature", "top_p"]) as server:
        deployment(PROMPTFLOW_ENCODED_CONNECTIONS=encoded({"embedded": server.url}))
        assert start("azureml", monkeypatch).get("/health").status_code == 200
    assert "error" not in capsys.readouterr().err
