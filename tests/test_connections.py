"""connections/*.yaml and the environment become promptflow connections that can be called."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from promptflow.connections import AzureOpenAIConnection, CustomConnection, OpenAIConnection, SerpConnection

from tests.scripted_endpoint import scripted_endpoint
from tools.connections import create_connections, load_connection, promptflow_endpoint
from tools.raft.errors import UserError
from tools.raft.models.client import Client
from tools.raft.models.endpoint import CONNECTIONS, EMBEDDED_URL, TEACHER_MODEL, Endpoint, resolve_endpoint
from tools.raft.models.reply import Reply

ROOT = Path(__file__).parent.parent
KEY = "sk-a-key-nobody-must-see"
ENV = {
    "AZURE_OPENAI_ENDPOINT": "https://mine.openai.azure.com/",
    "AZURE_OPENAI_API_KEY": KEY,
    "OPENAI_API_KEY": KEY,
    "SERVERLESS_ENDPOINT": "https://Llama-3.eastus2.models.ai.azure.com",
    "SERVERLESS_API_KEY": KEY,
    "COMPATIBLE_BASE_URL": "http://127.0.0.1:8000/v1",
    "COMPATIBLE_API_KEY": KEY,
}


@pytest.mark.parametrize(
    "name", sorted(path.stem for path in CONNECTIONS.glob("*.yaml") if path.stem != "embedded")
)
def test_promptflow_and_the_command_line_resolve_each_file_to_the_same_endpoint(name: str) -> None:
    connection = load_connection(CONNECTIONS / f"{name}.yaml", ENV)
    assert connection.name == name
    expected, endpoint = resolve_endpoint(f"{name}:m", env=ENV), promptflow_endpoint(connection, "m")
    assert (endpoint.base_url, endpoint.kind, endpoint.key) == (
        expected.base_url,
        expected.kind,
        expected.key,
    )
    assert (endpoint.api_version, endpoint.identity) == (expected.api_version, expected.identity)
    assert KEY not in f"{endpoint} {endpoint!r}"


def test_a_connection_named_embedded_is_an_ordinary_endpoint() -> None:
    connection = load_connection(CONNECTIONS / "embedded.yaml", ENV)
    endpoint = promptflow_endpoint(connection, "m")
    assert (endpoint.base_url, endpoint.kind) == (EMBEDDED_URL, "compatible")
    assert not endpoint.constrained, "only the name of the model decides this"
    assert promptflow_endpoint(connection, TEACHER_MODEL).constrained


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Replace promptflow's store; return the list of what is created in it."""
    from promptflow._sdk.operations._connection_operations import ConnectionOperations

    created: list[object] = []
    monkeypatch.setattr(ConnectionOperations, "list", lambda self, **_: [])
    monkeypatch.setattr(ConnectionOperations, "create_or_update", lambda self, one: created.append(one))
    return created


def test_connect_follows_the_port_of_serve(stored: list[OpenAIConnection]) -> None:
    create_connections(["embedded", "openai"], ENV, port=8090)
    create_connections([], ENV, port=8091)
    bases = {(connection.name, getattr(connection, "base_url", None)) for connection in stored}
    assert {("embedded", "http://127.0.0.1:8090/v1"), ("embedded", "http://127.0.0.1:8091/v1")} <= bases
    assert ("openai", None) in bases
    with pytest.raises(UserError, match="--port is that of `python -m tools serve`: name embedded, too"):
        create_connections(["openai"], ENV, port=8090)


def test_no_file_holds_a_key() -> None:
    for path in CONNECTIONS.glob("*.yaml"):
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith("api_key:") and path.stem != "embedded":
                assert line.split(": ", 1)[1].startswith("${env:")


def test_azure_without_a_key_signs_in_to_entra_id() -> None:
    env = {"AZURE_OPENAI_ENDPOINT": "https://mine.openai.azure.com"}
    connection = load_connection(CONNECTIONS / "azure_openai.yaml", env)
    assert connection.auth_mode == "meid_token"
    assert promptflow_endpoint(connection, "gpt").key == ""


def test_the_connection_of_a_node_can_be_called() -> None:
    with scripted_endpoint(key=KEY) as server:
        for connection, model in (
            (OpenAIConnection(api_key=KEY, base_url=server.url, name="any"), "m"),
            (AzureOpenAIConnection(api_key=KEY, api_base=server.url.removesuffix("/v1"), name="az"), "gpt"),
            (CustomConnection(secrets={"api_key": KEY}, configs={"base_url": server.url, "model": "q"}), ""),
        ):
            reply = asyncio.run(ask(promptflow_endpoint(connection, model)))
            assert reply.text.count("?") == 2
        paths = server.stats()["paths"]
    assert sum(paths.values()) == 3
    assert any(path.startswith("/openai/deployments/gpt/chat/completions?api-version=") for path in paths)


async def ask(endpoint: Endpoint) -> Reply:
    """Ask for two questions."""
    content = "<DOCUMENT>Bats sleep by day. They hunt midges at night.</DOCUMENT>\nWrite 2 questions"
    async with Client(endpoint, cache_dir=None) as client:
        return await client.ask([{"role": "user", "content": content}], max_tokens=100)


def test_rejects_an_unusable_connection_in_one_line() -> None:
    with pytest.raises(UserError, match="serves no model"):
        promptflow_endpoint(SerpConnection(api_key=KEY, name="search"), "m")
    with pytest.raises(UserError, match="needs a model"):
        promptflow_endpoint(OpenAIConnection(api_key=KEY, name="any"))
    with pytest.raises(UserError, match=r"still holds \$\{env:…\}: `python -m tools connect any`"):
        promptflow_endpoint(OpenAIConnection(api_key="${env:OPENAI_API_KEY}", name="any"), "m")
    with pytest.raises(UserError, match="has no address"):
        promptflow_endpoint(CustomConnection(secrets={"api_key": KEY}, configs={}, name="any"), "m")


def test_a_connection_that_promptflow_rejects_is_reported_without_the_key(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(
        "name: bad\ntype: serverless\napi_key: ${env:OPENAI_API_KEY}\n", encoding="utf-8"
    )
    with pytest.raises(UserError, match="not a connection promptflow accepts") as error:
        load_connection(tmp_path / "bad.yaml", ENV)
    assert KEY not in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_variable_of_a_named_connection_raises_before_anything_is_created() -> None:
    with pytest.raises(UserError, match="openai needs OPENAI_API_KEY"):
        create_connections(["embedded", "openai"], {})
    with pytest.raises(UserError, match="known connections: azure_openai"):
        create_connections(["nobody"], {})


CREATE = """
import json, sys
from tools.connections import create_connections, promptflow_endpoint, lookup
from tools.raft.errors import UserError
env = {"OPENAI_API_KEY": sys.argv[1], "AZURE_OPENAI_ENDPOINT": "https://mine.openai.azure.com"}
try:
    first = create_connections([], env)
    again = create_connections(["openai"], env)
    found = promptflow_endpoint("openai", "gpt")
    print(json.dumps([first, again, found.key == sys.argv[1], str(found), lookup("nobody", "m")]))
except UserError as error:
    print(json.dumps(str(error)))
"""


def create(home: Path, keyring: str) -> object:
    """Run `create_connections` in a process with its own home directory and keyring."""
    env = {**os.environ, "HOME": str(home), "PF_HOME_DIRECTORY": str(home / ".promptflow"),
           "PYTHON_KEYRING_BACKEND": keyring}  # fmt: skip
    (home / ".promptflow").mkdir()
    (home / ".promptflow" / "pf.yaml").write_text("telemetry:\n  enabled: false\n", encoding="utf-8")
    command = [sys.executable, "-c", CREATE, KEY]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=True, timeout=120)
    stored = b"".join(path.read_bytes() for path in home.rglob("*") if path.is_file())
    assert KEY not in done.stdout + done.stderr
    assert KEY.encode() not in stored
    return json.loads(done.stdout.splitlines()[-1])


def test_promptflow_stores_and_returns_created_connections(tmp_path: Path) -> None:
    first, again, key_matches, shown, unknown = create(tmp_path, "keyring.backends.null.Keyring")  # type: ignore[misc]
    assert [(name, status.split(":")[0]) for name, status in first] == [
        ("azure_openai", "created"),
        ("compatible", "skipped"),
        ("embedded", "created"),
        ("openai", "created"),
        ("serverless", "skipped"),
    ]
    assert "COMPATIBLE_API_KEY and COMPATIBLE_BASE_URL" in dict(first)["compatible"]
    assert again == [["openai", "updated"]]
    assert key_matches
    assert shown == "openai (gpt at https://api.openai.com/v1)"
    assert unknown is None


def test_without_a_keyring_the_error_names_the_package_to_install(tmp_path: Path) -> None:
    message = create(tmp_path, "keyring.backends.fail.Keyring")
    assert "pip install keyrings.alt" in str(message)


def test_where_promptflow_cannot_report_its_use_nothing_is_said_of_it(tmp_path: Path) -> None:
    (tmp_path / "pf.yaml").write_text("telemetry:\n  enabled: true\n", encoding="utf-8")
    nowhere = "http://127.0.0.1:9"  # so that it is not sent where there is a network, either
    env = {**os.environ, "PF_HOME_DIRECTORY": str(tmp_path), "HTTPS_PROXY": nowhere, "https_proxy": nowhere}
    command = [sys.executable, "-m", "tools", "generate", "--docs", "data/documents/bats.pdf",
               "--out", str(tmp_path / "out"), "--connection", "nobody"]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120)
    [line] = done.stderr.splitlines()
    assert line.startswith("error: there is no connection 'nobody'") and done.returncode == 1


WORKER = """
import os, sys
from promptflow._sdk._orm import session  # the process that forks the workers of a batch has imported it
if pid := os.fork():
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
from tools.batch_runs import find_scored_run
from tools.connections import lookup
try:
    print({call})
except Exception as error:
    print(error)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="where there is no fork, nothing is inherited")
@pytest.mark.parametrize(
    ("call", "expected"),
    [("lookup('nobody', 'm')", "None"), ("find_scored_run('nobody')", "promptflow has no run 'nobody'")],
)
def test_a_worker_of_a_batch_reads_what_promptflow_stores(call: str, expected: str) -> None:
    command = [sys.executable, "-c", WORKER.format(call=call)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout.startswith(expected), done.stdout + done.stderr
