"""Say which model is called, and where: a connection's name, a URL, or the embedded model."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

from ..errors import UserError, one_line
from ..files import PROJECT

Kind = Literal["openai", "azure_openai", "serverless", "compatible", "embedded"]
Api = Literal["chat", "completion"]

CONNECTIONS = PROJECT / "connections"
EMBEDDED_URL = "http://127.0.0.1:8081/v1"
EMBEDDED_MODEL = "smollm2-135m-instruct"
# The same with the adapter that `teach` trains: by this name, at whatever address, it drafts under grammars.
TEACHER_MODEL = "smollm2-135m-teacher"
OPENAI_URL = "https://api.openai.com/v1"
AZURE_API_VERSION = "2024-10-21"  # the last dated one declared generally available; later ones have no date

_PLACEHOLDER = re.compile(r"\$\{env:([A-Za-z_][A-Za-z0-9_]*)\}")
# The first colon after host, port and path starts the model, whose own name may hold colons and slashes.
_URL = re.compile(
    r"(https?://(?:\[[^\]]*\]|[^/:?#\[\]]+)(?::\d+(?=[/:?#]|$))?(?:[/?][^:]*)?)(?::(.+))?", re.IGNORECASE
)


@dataclass(frozen=True)
class Endpoint:
    """One model at one address, and how to talk to it."""

    base_url: str
    model: str  # or the name of an Azure OpenAI deployment
    kind: Kind = "compatible"
    api: Api = "chat"
    api_version: str = ""  # Azure OpenAI only; empty for its version-less v1 API
    key: str = field(default="", repr=False)  # empty: none needed, or Entra ID for Azure OpenAI
    name: str = ""  # what the user called it, for messages
    revision: str = ""  # tells weights of one name apart; the embedded model's
    adapter: str = ""  # GGUF file of a LoRA adapter that the embedded model is served with
    key_from: str = ""  # the variable or file the key came from, for messages

    @property
    def constrained(self) -> bool:
        """Whether this is the small teacher, which writes questions and answers under grammars only."""
        return self.model == TEACHER_MODEL

    @property
    def identity(self) -> dict[str, str]:
        """Say what makes its replies its own, for the cache: never the key, nor a port chosen at random."""
        where = "embedded" if self.kind == "embedded" else self.base_url
        return {
            "where": where,
            "model": self.model,
            "api": self.api,
            "api_version": self.api_version,
            "revision": self.revision,
        }

    def __str__(self) -> str:
        return f"{self.name or self.base_url} ({self.model} at {self.base_url})"


Lookup = Callable[[str, str], "Endpoint | None"]


def environment(directory: Path | None = None) -> dict[str, str]:
    """Read the environment, with what a `.env` file adds to it.

    The file is looked for in the working directory, then in `directory` (default: the project's
    root). A variable that is set wins over the file.
    """
    for place in (Path.cwd(), directory or CONNECTIONS.parent):
        if (place / ".env").is_file():
            from dotenv import dotenv_values

            read = dotenv_values(place / ".env", interpolate=False)
            return {**{name: value for name, value in read.items() if value}, **os.environ}
    return dict(os.environ)


def resolve_endpoint(
    spec: str | None = None,
    *,
    model: str | None = None,
    base_url: str | None = None,
    api: Api | None = None,
    env: Mapping[str, str] | None = None,
    connections_dir: Path = CONNECTIONS,
    lookup: Lookup | None = None,
    embedded_model: str = EMBEDDED_MODEL,
) -> Endpoint:
    """Turn what the user named into an endpoint.

    `spec` is `NAME`, `NAME:MODEL`, `URL`, `URL:MODEL`, `embedded`, or the file of an adapter for that
    one, `F.gguf`; `base_url` stands for a connection, its key in RAFT_API_KEY. With neither it is the
    embedded model. A name is that of a file in `connections_dir`, or else what `lookup(name, model)`
    knows (promptflow's own connections; passed in, because this library does not import promptflow).
    `env` defaults to `environment()`; `embedded_model` is what `embedded` means where no model is named. Raises UserError for anything that cannot be called, naming what
    is missing.
    """
    env = environment(connections_dir.parent) if env is None else env
    if base_url and spec:
        raise UserError(
            f"--connection {spec} and --base-url {base_url} both say where the model is: give one of them"
        )
    if base_url or (spec and re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", spec)):
        address, named = split_url(base_url or spec or "")
        key = env.get("RAFT_API_KEY", "")
        azure = (urlsplit(address).hostname or "").endswith(".openai.azure.com")
        found = from_fields(
            "", {"base_url": address, "api_key": key}, "azure_openai" if azure else "compatible",
            model=model or named, key_from="RAFT_API_KEY",
        )  # fmt: skip
    elif spec and spec.endswith(".gguf"):
        found = _with_adapter(Path(spec), model or "")
    else:
        name, _, named = (spec or "embedded").partition(":")
        if (
            name == "embedded"
        ):  # served by this project, whatever connections/embedded.yaml says for the flows
            found = Endpoint(EMBEDDED_URL, model or named or embedded_model, "embedded", name=name)
        else:
            found = _by_name(name, model or named, env, connections_dir, lookup)
    if api:
        found = replace(found, api=api)
    if not found.model:
        called = found.name or found.base_url
        what = "deployment" if found.kind == "azure_openai" else "model"
        raise UserError(f"which {what} of {called}? Say --model NAME, or {called}:NAME")
    return found


def _with_adapter(file: Path, model: str) -> Endpoint:
    if not file.is_file():
        raise UserError(f"there is no adapter {file}: `finetune --backend local` writes adapter.gguf")
    return Endpoint(EMBEDDED_URL, model or EMBEDDED_MODEL, "embedded", name=str(file), adapter=str(file))


def _by_name(
    name: str, model: str, env: Mapping[str, str], directory: Path, lookup: Lookup | None
) -> Endpoint:
    file = directory / f"{name}.yaml"
    if re.fullmatch(r"[\w.-]+", name) and file.is_file():
        fields, missing = read_connection(file, env)
        optional = {"AZURE_OPENAI_API_KEY"} if fields["type"] == "azure_open_ai" else set()
        if lacking := sorted(set(missing) - optional):
            raise UserError(
                f"connection {name} needs {' and '.join(lacking)}, set or in .env (see .env.example)"
            )
        source = ", ".join(_PLACEHOLDER.findall(str(_flat(read_yaml(file)).get("api_key")))) or file.name
        return from_fields(name, fields, kind_of(fields["type"], fields, name), model=model, key_from=source)
    found = lookup(name, model) if lookup else None
    if found is None:
        known = ", ".join(sorted(path.stem for path in directory.glob("*.yaml"))) or "none"
        raise UserError(f"there is no connection {name!r}: known are {known}; a URL:MODEL works too")
    return found


def read_yaml(file: Path) -> dict[str, Any]:
    """Read a connection's YAML as it stands; raises UserError where it is none."""
    import yaml

    try:
        fields = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeError, yaml.YAMLError) as error:
        raise UserError(f"{file} cannot be read as YAML: {one_line(error)}") from None
    if not isinstance(fields, dict) or not isinstance(fields.get("type"), str):
        raise UserError(
            f"{file} is no connection: it needs at least `name` and `type`, as those beside it have"
        )
    return fields


def read_connection(file: Path, env: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    """Read a connection and put variables in for its `${env:NAME}`; also return those not set.

    A field with a variable that is not set comes out empty.
    """
    missing: list[str] = []

    def fill(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: fill(entry) for key, entry in value.items()}
        if not isinstance(value, str):
            return value
        lacking = [name for name in _PLACEHOLDER.findall(value) if not env.get(name, "").strip()]
        missing.extend(lacking)
        return "" if lacking else _PLACEHOLDER.sub(lambda match: env[match.group(1)].strip(), value)

    return fill(read_yaml(file)), missing


def _flat(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {**fields, **(fields.get("configs") or {}), **(fields.get("secrets") or {})}


def kind_of(connection_type: str, fields: Mapping[str, Any], name: str = "") -> Kind:
    """Say which kind of endpoint a promptflow connection type stands for."""
    folded = connection_type.replace("_", "").lower().removesuffix("connection")
    if folded == "azureopenai":
        return "azure_openai"
    if folded == "serverless":
        return "serverless"
    if folded == "openai":
        return "compatible" if fields.get("base_url") else "openai"
    if folded == "custom":
        return "compatible"
    raise UserError(
        f"connection {name} is of type {connection_type}, which serves no model here: "
        "take azure_open_ai, open_ai, serverless or custom"
    )


def from_fields(
    name: str, fields: Mapping[str, Any], kind: Kind, *, model: str, key_from: str = ""
) -> Endpoint:
    """Build an endpoint from the fields of a promptflow connection.

    `fields` may be flat or, for a custom connection, hold `configs` and `secrets`; the address is
    `api_base` or `base_url`. Raises UserError where it is missing or no http address.
    """
    flat = _flat(fields)
    key = str(flat.get("api_key") or "").strip()
    if re.search(r"[^\x21-\x7e]", key):
        raise UserError(
            f"the key in {key_from or name} holds blanks or characters that no key has: copy it again"
        )
    url = str(flat.get("api_base") or flat.get("base_url") or "")
    if not url and kind == "openai":
        url = OPENAI_URL
    if not url:
        raise UserError(f"connection {name} has no address: it needs api_base or base_url")
    version = str(flat.get("api_version") or "") if kind == "azure_openai" else ""
    url, api, deployment, in_url = normalise_url(url, kind)
    if kind == "azure_openai":
        version = "" if url.endswith("/v1") else in_url or version or AZURE_API_VERSION
    default = name if kind == "serverless" else ""  # a serverless endpoint has one model
    return Endpoint(
        base_url=url,
        model=model or deployment or str(flat.get("model") or "") or default,
        kind=kind,
        api=api,
        api_version=version,
        key=key,
        name=name,
        key_from=key_from if key else "",
    )


def split_url(text: str) -> tuple[str, str]:
    """Split `URL:MODEL` or `URL` into address and model; raises UserError where it is no http URL."""
    check_url(text.strip())
    match = _URL.fullmatch(text.strip())
    if match is None:
        raise UserError(f"{text!r} is neither a URL nor URL:MODEL: write http://127.0.0.1:8000/v1:my-model")
    return match.group(1), match.group(2) or ""


def check_url(url: str) -> None:
    """Refuse what is no plain http address, without repeating a password it may hold."""
    scheme, _, rest = url.partition("://")
    authority = re.split(r"[/?#]", rest)[0]
    if "@" in authority.partition(":@")[0]:  # a model may start with @, as http://host:@cf/llama
        raise UserError("a URL must not hold a user or password: put the key into RAFT_API_KEY")
    host = re.match(r"(?:\[[0-9A-Fa-f:.]+\]|[^:\[\]]+)(?=:|$)", authority)
    port = re.match(r"[^]]*?:(\d+)$", authority.rpartition("]")[2] or authority)
    if (
        scheme.lower() not in ("http", "https")
        or not host
        or re.search(r"\s", url)
        or (port and int(port.group(1)) > 65535)
    ):
        raise UserError(
            f"{url!r} is no address of an endpoint: it must start with http:// or https:// and name a host"
        )


def normalise_url(url: str, kind: Kind) -> tuple[str, Api, str, str]:
    """Bring an address into the form the calls are appended to.

    Takes what people paste: with or without /v1, or the whole target URI of one call. Returns the
    base URL, the API it names, the deployment and the api-version found in it (Azure OpenAI).
    """
    url = url.strip()
    check_url(url)
    parts = urlsplit(url)
    host, path = parts.netloc, parts.path.rstrip("/")
    api: Api = "chat"
    if path.endswith("/completions"):
        api = "chat" if path.endswith("/chat/completions") else "completion"
        path = path.removesuffix("/completions").removesuffix("/chat")
    version = (parse_qs(parts.query).get("api-version") or [""])[0]
    deployment = ""
    if kind == "azure_openai":
        if match := re.search(r"/openai/deployments/([^/]+)$", path):
            deployment = match.group(1)
        path = (
            "/openai/v1"
            if path.endswith("/openai/v1")
            else re.sub(r"/openai(/deployments/[^/]+)?$", "", path)
        )
    elif kind == "serverless":
        # A resource with several models serves the OpenAI protocol beside its own one at /models.
        shared = (parts.hostname or "").endswith((".services.ai.azure.com", ".openai.azure.com"))
        if path in ("", "/models", "/v1"):
            path = "/openai/v1" if shared else "/v1"
    elif not path:
        path = "/v1"
    return f"{parts.scheme.lower()}://{host}{path}", api, deployment, version
