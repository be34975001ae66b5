"""Resolve which model is called, and where: a connection's name, a URL, or the embedded model."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

from ..choices import Api
from ..errors import UserError, one_line
from ..files import PROJECT
from .lives import check_alive, host_of

Kind = Literal["openai", "azure_openai", "serverless", "compatible", "embedded"]

CONNECTIONS = PROJECT / "connections"
EMBEDDED_URL = "http://127.0.0.1:8081/v1"
EMBEDDED_MODEL = "smollm2-135m-instruct"
# The same with the adapter that `teach` trains. A model of this name, at any address, drafts under grammars.
TEACHER_MODEL = "smollm2-135m-teacher"
SLOTS = 8  # requests that the embedded model serves at the same time while a verb runs
SERVE_SLOTS = 4  # the same of `serve`, if not told otherwise
OPENAI_URL = "https://api.openai.com/v1"
AZURE_API_VERSION = "2024-10-21"  # the last dated version in general availability; later ones have no date

_PLACEHOLDER = re.compile(r"\$\{env:([A-Za-z_][A-Za-z0-9_]*)\}")
# The first colon after host, port and path starts the model, whose name may contain colons and slashes.
_URL = re.compile(
    r"(https?://(?:\[[^\]]*\]|[^/:?#\[\]]+)(?::\d+(?=[/:?#]|$))?(?:[/?][^:]*)?)(?::(.+))?", re.IGNORECASE
)


@dataclass(frozen=True)
class Endpoint:
    """One model at one address, and how to call it."""

    base_url: str
    model: str  # or the name of an Azure OpenAI deployment
    kind: Kind = "compatible"
    api: Api = "chat"
    api_version: str = ""  # Azure OpenAI only; empty for its version-less v1 API
    key: str = field(default="", repr=False)  # empty: none needed, or Entra ID for Azure OpenAI
    name: str = ""  # what the user called it, for messages
    revision: str = ""  # distinguishes weights of the same name; embedded model only
    adapter: str = ""  # GGUF file of a LoRA adapter to serve the embedded model with
    key_from: str = ""  # the variable or file the key came from, for messages

    @property
    def slots(self) -> int | None:
        """Return how many requests an embedded model answers at a time; None for other models."""
        if self.kind == "embedded":
            return SLOTS
        return SERVE_SLOTS if self.constrained else None  # behind a URL it runs in `serve`

    @property
    def constrained(self) -> bool:
        """Return whether this is the embedded teacher, which writes only under grammars."""
        return self.model == TEACHER_MODEL

    @property
    def identity(self) -> dict[str, str]:
        """Return what identifies its replies in the cache: never the key, nor a random port."""
        address = "embedded" if self.kind == "embedded" else self.base_url
        return {
            "where": address,
            "model": self.model,
            "api": self.api,
            "api_version": self.api_version,
            "revision": self.revision,
        }

    def __str__(self) -> str:
        return f"{self.name or self.base_url} ({self.model} at {self.base_url})"


Lookup = Callable[[str, str], "Endpoint | None"]


def environment(directory: Path | None = None) -> dict[str, str]:
    """Return the environment variables, with those that a `.env` file adds.

    The file is looked for in the working directory, then in `directory` (default: the project's
    root). A variable that is set takes precedence over the file.
    """
    for folder in (Path.cwd(), directory or CONNECTIONS.parent):
        if (folder / ".env").is_file():
            from dotenv import dotenv_values

            values = dotenv_values(folder / ".env", interpolate=False, encoding="utf-8-sig")
            return {**{name: value for name, value in values.items() if value}, **os.environ}
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
    to_call: bool = True,
) -> Endpoint:
    """Resolve the user's choice of model to an endpoint.

    `spec` is `NAME`, `NAME:MODEL`, `URL`, `URL:MODEL`, `embedded`, or `F.gguf`, the file of an adapter for
    the embedded model. `base_url` replaces a connection, its key in RAFT_API_KEY. Without either it is
    the embedded model. NAME is a connection that `lookup(name, model)` finds (promptflow's own; passed in,
    because this library does not import promptflow), or else a file in `connections_dir`. `env` defaults to
    `environment()`. `embedded_model` is the model of `embedded` if none is named. Raises UserError for
    anything that cannot be called, naming what is missing; with `to_call`, also for a model that its host has
    retired, with a warning before (`lives.check_alive`).
    """
    env = environment(connections_dir.parent) if env is None else env
    if base_url and spec:
        raise UserError(f"--connection {spec} and --base-url {base_url} exclude each other: give one of them")
    if base_url or (spec and re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", spec)):
        url, url_model = split_url(base_url or spec or "")
        key = env.get("RAFT_API_KEY", "")
        parts = urlsplit(url)
        azure = (parts.hostname or "").endswith(".openai.azure.com") or (
            host_of(url) == "azure" and parts.path.rstrip("/").endswith("/openai/v1")  # of Foundry
        )
        endpoint = from_fields(
            "", {"base_url": url, "api_key": key}, "azure_openai" if azure else "compatible",
            model=model or url_model, key_from="RAFT_API_KEY",
        )  # fmt: skip
    elif spec and spec.endswith(".gguf"):
        endpoint = _embedded_with_adapter(Path(spec), model or "")
    else:
        name, _, spec_model = (spec or "embedded").partition(":")
        if name == "embedded":
            # Served by this project; connections/embedded.yaml is for the flows only.
            endpoint = Endpoint(EMBEDDED_URL, model or spec_model or embedded_model, "embedded", name=name)
        else:
            endpoint = _find_connection(name, model or spec_model, env, connections_dir, lookup)
    if api:
        endpoint = replace(endpoint, api=api)
    if not endpoint.model:
        name = endpoint.name or endpoint.base_url
        noun = "deployment" if endpoint.kind == "azure_openai" else "model"
        raise UserError(f"no {noun} given for {name}: use --model NAME or {name}:NAME")
    if to_call:
        check_alive(endpoint.base_url, endpoint.model, env=env)
    return endpoint


def _embedded_with_adapter(file: Path, model: str) -> Endpoint:
    if not file.is_file():
        raise UserError(f"there is no adapter {file}: `finetune --backend local` writes adapter.gguf")
    return Endpoint(EMBEDDED_URL, model or EMBEDDED_MODEL, "embedded", name=str(file), adapter=str(file))


def _find_connection(
    name: str, model: str, env: Mapping[str, str], directory: Path, lookup: Lookup | None
) -> Endpoint:
    if lookup and (endpoint := lookup(name, model)):
        return endpoint
    file = directory / f"{name}.yaml"
    if re.fullmatch(r"[\w.-]+", name) and file.is_file():
        fields, missing = read_connection(file, env)
        optional = {"AZURE_OPENAI_API_KEY"} if fields["type"] == "azure_open_ai" else set()
        if required := sorted(set(missing) - optional):
            raise UserError(
                f"connection {name} needs {' and '.join(required)}, set or in .env (see .env.example)"
            )
        source = ", ".join(_PLACEHOLDER.findall(str(_flatten(read_yaml(file)).get("api_key")))) or file.name
        return from_fields(name, fields, kind_of(fields["type"], fields, name), model=model, key_from=source)
    available = ", ".join(sorted(path.stem for path in directory.glob("*.yaml"))) or "none"
    raise UserError(f"there is no connection {name!r}: available are {available}; or give URL:MODEL")


def read_yaml(file: Path) -> dict[str, Any]:
    """Read a connection's YAML, placeholders included. Raises UserError if it is not a connection."""
    import yaml

    try:
        fields = yaml.safe_load(file.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeError, yaml.YAMLError) as error:
        raise UserError(f"{file} cannot be read as YAML: {one_line(error)}") from None
    if not isinstance(fields, dict) or not isinstance(fields.get("type"), str):
        raise UserError(
            f"{file} is not a connection: it needs at least `name` and `type`, like those beside it"
        )
    return fields


def read_connection(file: Path, env: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    """Read a connection and substitute its `${env:NAME}` placeholders; also return the missing variables.

    A field whose variable is missing becomes empty.
    """
    missing: list[str] = []

    def fill(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: fill(entry) for key, entry in value.items()}
        if not isinstance(value, str):
            return value
        unset = [name for name in _PLACEHOLDER.findall(value) if not env.get(name, "").strip()]
        missing.extend(unset)
        return "" if unset else _PLACEHOLDER.sub(lambda match: env[match.group(1)].strip(), value)

    return fill(read_yaml(file)), missing


def _flatten(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {**fields, **(fields.get("configs") or {}), **(fields.get("secrets") or {})}


def kind_of(connection_type: str, fields: Mapping[str, Any], name: str = "") -> Kind:
    """Return the kind of endpoint for a promptflow connection type. Raises UserError if there is none."""
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
        "use azure_open_ai, open_ai, serverless or custom"
    )


def from_fields(
    name: str, fields: Mapping[str, Any], kind: Kind, *, model: str, key_from: str = ""
) -> Endpoint:
    """Build an endpoint from the fields of a promptflow connection.

    `fields` may be flat or, for a custom connection, contain `configs` and `secrets`; the address is
    `api_base` or `base_url`. Raises UserError if it is missing or not an HTTP address.
    """
    flat = _flatten(fields)
    key = str(flat.get("api_key") or "").strip()
    if re.search(r"[^\x21-\x7e]", key):
        raise UserError(
            f"the key in {key_from or name} contains spaces or characters that no key has: copy it again"
        )
    url = str(flat.get("api_base") or flat.get("base_url") or "")
    if not url and kind == "openai":
        url = OPENAI_URL
    if not url:
        raise UserError(f"connection {name} has no address: it needs api_base or base_url")
    version = str(flat.get("api_version") or "") if kind == "azure_openai" else ""
    url, api, deployment, url_version = normalise_url(url, kind)
    if kind == "azure_openai":
        version = "" if url.endswith("/v1") else url_version or version or AZURE_API_VERSION
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


def without_version(endpoint: Endpoint) -> Endpoint:
    """Return the version-less v1 API of an Azure OpenAI resource; any other endpoint as it is."""
    if endpoint.kind != "azure_openai" or not endpoint.api_version:
        return endpoint
    return replace(endpoint, base_url=f"{endpoint.base_url.rstrip('/')}/openai/v1", api_version="")


def split_url(text: str) -> tuple[str, str]:
    """Split `URL:MODEL` or `URL` into address and model. Raises UserError if it is not an HTTP URL."""
    check_url(text.strip())
    match = _URL.fullmatch(text.strip())
    if match is None:
        raise UserError(
            f"{text!r} is neither URL nor URL:MODEL: write it like http://127.0.0.1:8000/v1:my-model"
        )
    return match.group(1), match.group(2) or ""


def check_url(url: str) -> None:
    """Raise UserError unless a URL is a plain HTTP address; never repeat a password it contains."""
    scheme, _, rest = url.partition("://")
    authority = re.split(r"[/?#]", rest)[0]
    if "@" in authority.partition(":@")[0]:  # a model may start with @, as http://host:@cf/llama
        raise UserError("a URL must not contain a user or password: put the key in RAFT_API_KEY")
    host = re.match(r"(?:\[[0-9A-Fa-f:.]+\]|[^:\[\]]+)(?=:|$)", authority)
    port = re.match(r"[^]]*?:(\d+)$", authority.rpartition("]")[2] or authority)
    if (
        scheme.lower() not in ("http", "https")
        or not host
        or re.search(r"\s", url)
        or (port and int(port.group(1)) > 65535)
    ):
        raise UserError(
            f"{url!r} is not an endpoint's address: it must start with http:// or https:// and name a host"
        )


def normalise_url(url: str, kind: Kind) -> tuple[str, Api, str, str]:
    """Normalise an address to the base URL that the paths of calls are appended to.

    Accepts what people paste: with or without /v1, or the target URI of a call. Returns the base URL,
    the API, and the deployment and api-version that the address contains (Azure OpenAI).
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
        # A resource with several models serves the OpenAI protocol beside its own protocol at /models.
        shared = (parts.hostname or "").endswith((".services.ai.azure.com", ".openai.azure.com"))
        if path in ("", "/models", "/v1"):
            path = "/openai/v1" if shared else "/v1"
    elif not path:
        path = "/v1"
    return f"{parts.scheme.lower()}://{host}{path}", api, deployment, version


def shares_name(endpoints: Iterable[Endpoint], others: Iterable[Endpoint]) -> bool:
    """Return whether another model has the name of one of these, so that only addresses tell them apart.

    The embedded model's weights are told apart by its revision.
    """
    names = {endpoint.model for endpoint in endpoints if endpoint.kind != "embedded"}
    return any(other.model in names for other in others)


def fitting_concurrency(endpoints: Sequence[Endpoint], concurrency: int) -> int:
    """Return the number of calls to make at a time: to an embedded model, at most one per server slot.

    A slot keeps the KV cache of its passage only while no other call takes the slot.
    """
    return min(concurrency, sum(endpoint.slots or concurrency for endpoint in endpoints))
