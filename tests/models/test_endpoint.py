"""However a user names a model, the right address is called, or one line says what is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.raft.errors import UserError
from tools.raft.models.endpoint import (
    CONNECTIONS,
    EMBEDDED_MODEL,
    SERVE_SLOTS,
    TEACHER_MODEL,
    Endpoint,
    environment,
    fitting_concurrency,
    resolve_endpoint,
)

KEY = "sk-a-key-nobody-must-see"


@pytest.mark.parametrize(
    ("spec", "base_url", "model"),
    [
        ("http://127.0.0.1:8081/v1:model", "http://127.0.0.1:8081/v1", "model"),
        ("https://host/v1/:meta-llama/Llama-3:8b", "https://host/v1", "meta-llama/Llama-3:8b"),
        ("http://localhost:11434:llama3:8b", "http://localhost:11434/v1", "llama3:8b"),
        ("https://host:7b", "https://host/v1", "7b"),
        ("http://[::1]:8081/v1:m", "http://[::1]:8081/v1", "m"),
        ("http://host:@cf/meta/llama", "http://host/v1", "@cf/meta/llama"),
        ("https://host/api/v3/chat/completions:m", "https://host/api/v3", "m"),
    ],
)
def test_splits_url_and_model(spec: str, base_url: str, model: str) -> None:
    endpoint = resolve_endpoint(spec, env={})
    assert (endpoint.base_url, endpoint.model, endpoint.kind) == (base_url, model, "compatible")


def test_a_url_without_a_model_takes_the_model_option() -> None:
    assert resolve_endpoint("https://host/v1", model="m", env={}).model == "m"
    assert resolve_endpoint("http://host:8081", model="m", env={}).base_url == "http://host:8081/v1"
    with pytest.raises(UserError, match="no model given for https://host/v1"):
        resolve_endpoint("https://host/v1", env={})


@pytest.mark.parametrize(
    "url",
    ["ftp://host/v1:m", "file:///etc/passwd", "http://", "http://a b/v1:m", "http://host:99999/v1:m", "http://[::1/v1"],
)  # fmt: skip
def test_rejects_what_is_not_an_http_address(url: str) -> None:
    with pytest.raises(UserError, match="must start with http"):
        resolve_endpoint(url, model="m", env={})


@pytest.mark.parametrize("url", [f"http://user:{KEY}@host/v1:m", f"https://{KEY}@host/v1"])
def test_rejects_a_password_in_a_url_without_repeating_it(url: str) -> None:
    with pytest.raises(UserError, match="RAFT_API_KEY") as caught:
        resolve_endpoint(url, model="m", env={})
    assert KEY not in str(caught.value)


def test_a_base_url_takes_its_key_from_raft_api_key_only() -> None:
    env = {"RAFT_API_KEY": KEY, "OPENAI_API_KEY": "sk-another"}
    assert resolve_endpoint(base_url="http://host/v1", model="m", env=env).key == KEY
    assert resolve_endpoint(base_url="http://host/v1", model="m", env={"OPENAI_API_KEY": KEY}).key == ""
    with pytest.raises(UserError, match="give one of them"):
        resolve_endpoint("openai", base_url="http://host/v1", model="m", env=env)


def test_a_key_never_appears_in_text() -> None:
    endpoint = resolve_endpoint("openai:gpt", env={"OPENAI_API_KEY": KEY})
    assert endpoint.key == KEY
    assert KEY not in f"{endpoint} {endpoint!r} {endpoint.identity}"
    with pytest.raises(UserError, match="OPENAI_API_KEY") as caught:
        resolve_endpoint("openai:gpt", env={"OPENAI_API_KEY": f"{KEY}\r\nX-Evil: 1"})
    assert KEY not in str(caught.value)


def test_resolves_every_shipped_connection_to_its_kind() -> None:
    env = {
        "AZURE_OPENAI_ENDPOINT": "https://mine.openai.azure.com/",
        "AZURE_OPENAI_API_KEY": KEY,
        "OPENAI_API_KEY": KEY,
        "SERVERLESS_ENDPOINT": "https://Llama-3.eastus2.models.ai.azure.com",
        "SERVERLESS_API_KEY": KEY,
        "COMPATIBLE_BASE_URL": "http://127.0.0.1:8000/v1",
        "COMPATIBLE_API_KEY": KEY,
    }
    endpoints = {
        path.stem: resolve_endpoint(f"{path.stem}:m", env=env) for path in CONNECTIONS.glob("*.yaml")
    }
    assert {name: (endpoint.kind, endpoint.base_url) for name, endpoint in endpoints.items()} == {
        "azure_openai": ("azure_openai", "https://mine.openai.azure.com"),
        "openai": ("openai", "https://api.openai.com/v1"),
        "serverless": ("serverless", "https://Llama-3.eastus2.models.ai.azure.com/v1"),
        "compatible": ("compatible", "http://127.0.0.1:8000/v1"),
        "embedded": ("embedded", "http://127.0.0.1:8081/v1"),
    }
    assert all(endpoint.model == "m" for endpoint in endpoints.values())
    assert endpoints["azure_openai"].api_version == "2024-10-21"
    assert {name for name, endpoint in endpoints.items() if not endpoint.key} == {"embedded"}
    assert endpoints["openai"].key_from == "OPENAI_API_KEY"
    assert not any(endpoint.constrained for endpoint in endpoints.values()), (
        "a connection's name does not make its model a teacher"
    )


def test_the_example_file_lists_every_variable_of_a_connection() -> None:
    example = (CONNECTIONS.parent / ".env.example").read_text(encoding="utf-8")
    for path in CONNECTIONS.glob("*.yaml"):
        for name in path.read_text(encoding="utf-8").split("${env:")[1:]:
            assert f"\n{name.partition('}')[0]}=" in example


def test_names_a_missing_variable() -> None:
    with pytest.raises(UserError, match=r"openai needs OPENAI_API_KEY.*\.env\.example"):
        resolve_endpoint("openai:gpt", env={"OPENAI_API_KEY": " "})
    with pytest.raises(UserError, match="SERVERLESS_API_KEY and SERVERLESS_ENDPOINT"):
        resolve_endpoint("serverless", env={})


def test_azure_needs_no_key_because_of_entra_id() -> None:
    endpoint = resolve_endpoint(
        "azure_openai:gpt", env={"AZURE_OPENAI_ENDPOINT": "https://mine.openai.azure.com"}
    )
    assert endpoint.kind == "azure_openai"
    assert endpoint.key == ""


def test_azure_requires_a_deployment() -> None:
    env = {"AZURE_OPENAI_ENDPOINT": "https://mine.openai.azure.com", "AZURE_OPENAI_API_KEY": KEY}
    with pytest.raises(UserError, match="no deployment given for azure_openai"):
        resolve_endpoint("azure_openai", env=env)


@pytest.mark.parametrize(
    ("pasted", "base_url", "model", "version"),
    [
        ("https://a.openai.azure.com/openai/deployments/gpt4o/chat/completions?api-version=2024-06-01",
         "https://a.openai.azure.com", "gpt4o", "2024-06-01"),
        ("https://a.openai.azure.com/openai/", "https://a.openai.azure.com", "mine", "2024-10-21"),
        ("https://a.openai.azure.com/openai/v1/", "https://a.openai.azure.com/openai/v1", "mine", ""),
    ],
)  # fmt: skip
def test_accepts_azure_addresses_as_the_portal_shows_them(
    pasted: str, base_url: str, model: str, version: str
) -> None:
    model_option = None if model == "gpt4o" else model
    endpoint = resolve_endpoint(base_url=pasted, model=model_option, env={"RAFT_API_KEY": KEY})
    assert (endpoint.kind, endpoint.base_url) == ("azure_openai", base_url)
    assert (endpoint.model, endpoint.api_version) == (model, version)


@pytest.mark.parametrize(
    ("pasted", "base_url", "api"),
    [
        ("https://L.eastus.models.ai.azure.com/", "https://L.eastus.models.ai.azure.com/v1", "chat"),
        ("https://L.eastus.models.ai.azure.com/v1/chat/completions", "https://L.eastus.models.ai.azure.com/v1", "chat"),
        ("https://L.eastus.models.ai.azure.com/v1/completions", "https://L.eastus.models.ai.azure.com/v1", "completion"),
        ("https://r.services.ai.azure.com/models", "https://r.services.ai.azure.com/openai/v1", "chat"),
    ],
)  # fmt: skip
def test_serverless_addresses_end_in_v1(pasted: str, base_url: str, api: str) -> None:
    endpoint = resolve_endpoint("serverless", env={"SERVERLESS_ENDPOINT": pasted, "SERVERLESS_API_KEY": KEY})
    assert (endpoint.base_url, endpoint.api, endpoint.model) == (base_url, api, "serverless")


def test_the_default_is_the_embedded_model() -> None:
    endpoint = resolve_endpoint(env={})
    assert (endpoint.kind, endpoint.model) == ("embedded", EMBEDDED_MODEL)
    assert not endpoint.constrained
    assert resolve_endpoint(env={}, embedded_model=TEACHER_MODEL).constrained


def test_looks_an_unknown_name_up_in_promptflow_then_rejects_it(tmp_path: Path) -> None:
    known = Endpoint("http://host/v1", "m", name="theirs")
    lookups: list[tuple[str, str]] = []

    def lookup(name: str, model: str) -> Endpoint | None:
        lookups.append((name, model))
        return known if name == "theirs" else None

    assert resolve_endpoint("theirs:gpt", env={}, lookup=lookup) is known
    assert lookups == [("theirs", "gpt")]
    with pytest.raises(UserError, match="no connection 'nobody': available are azure_openai, compatible"):
        resolve_endpoint("nobody", env={}, lookup=lookup)


def test_a_name_cannot_escape_the_connections_folder(tmp_path: Path) -> None:
    (tmp_path / "secret.yaml").write_text("name: secret\ntype: open_ai\napi_key: k\n", encoding="utf-8")
    (tmp_path / "connections").mkdir()
    with pytest.raises(UserError, match="no connection"):
        resolve_endpoint("../secret:m", env={}, connections_dir=tmp_path / "connections")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: [", "cannot be read as YAML"),
        ("- a", "is not a connection"),
        ("type: serp\napi_key: k", "serves no model"),
    ],
)
def test_reports_a_broken_connection_file_in_one_line(tmp_path: Path, text: str, line: str) -> None:
    (tmp_path / "mine.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=line) as caught:
        resolve_endpoint("mine:m", env={}, connections_dir=tmp_path)
    assert "\n" not in str(caught.value)


def test_accepts_a_users_own_connection(tmp_path: Path) -> None:
    (tmp_path / "team.yaml").write_text(
        "name: team\ntype: custom\nconfigs:\n  base_url: ${env:TEAM_URL}\n  model: llama\n"
        "secrets:\n  api_key: ${env:TEAM_KEY}\n",
        encoding="utf-8",
    )
    env = {"TEAM_URL": "https://team.example/v1", "TEAM_KEY": KEY}
    endpoint = resolve_endpoint("team", env=env, connections_dir=tmp_path)
    assert (endpoint.base_url, endpoint.model, endpoint.key) == ("https://team.example/v1", "llama", KEY)
    assert endpoint.key_from == "TEAM_KEY"


def test_reads_the_env_file_but_set_variables_take_precedence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text(
        "# comment\nexport RAFT_FROM_FILE='a b'\nRAFT_BOTH=file\nRAFT_EMPTY=\nRAFT_MONEY=a${b}$c#d\n",
        encoding="utf-8",
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAFT_BOTH", "set")
    variables = environment()
    assert variables["RAFT_FROM_FILE"] == "a b"
    assert variables["RAFT_BOTH"] == "set"
    assert "RAFT_EMPTY" not in variables
    assert variables["RAFT_MONEY"] == "a${b}$c#d"


def test_identity_distinguishes_models_but_not_embedded_ports() -> None:
    assert (
        resolve_endpoint("http://h/v1:a", env={}).identity
        != resolve_endpoint("http://h/v1:b", env={}).identity
    )
    first, second = (Endpoint(f"http://127.0.0.1:{port}/v1", "m", kind="embedded") for port in (1, 2))
    assert first.identity == second.identity


def test_accepts_the_file_of_an_adapter(tmp_path: Path) -> None:
    file = tmp_path / "adapter.gguf"
    with pytest.raises(UserError, match=r"there is no adapter .*adapter\.gguf"):
        resolve_endpoint(str(file))
    file.write_bytes(b"GGUF")
    endpoint = resolve_endpoint(str(file))
    assert (endpoint.kind, endpoint.model, endpoint.adapter) == (
        "embedded",
        "smollm2-135m-instruct",
        str(file),
    )


def test_a_byte_order_mark_in_env_or_connection_hides_no_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connections = tmp_path / "connections"
    connections.mkdir()
    (tmp_path / ".env").write_text("\ufeffMINE_KEY=secret-key-1\n", encoding="utf-8")
    (connections / "mine.yaml").write_text(
        "\ufeffname: mine\ntype: open_ai\napi_key: ${env:MINE_KEY}\nbase_url: http://127.0.0.1:9/v1\n",
        encoding="utf-8",
    )
    monkeypatch.chdir(tmp_path)
    endpoint = resolve_endpoint("mine:m", connections_dir=connections)
    assert (endpoint.key, endpoint.key_from) == ("secret-key-1", "MINE_KEY")


def test_an_embedded_teacher_behind_a_url_gets_no_more_calls_than_it_has_slots() -> None:
    served = [resolve_endpoint(f"http://127.0.0.1:{port}/v1:{TEACHER_MODEL}") for port in (8081, 8082)]
    assert fitting_concurrency(served, 32) == 2 * SERVE_SLOTS
    assert fitting_concurrency([resolve_endpoint("http://10.0.0.4/v1:llama-3")], 32) == 32
