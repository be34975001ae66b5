"""Set up the `openai` SDK for each kind of endpoint, and read what servers say when they refuse."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit

from ..errors import UserError
from ..prompts import Message
from .endpoint import Endpoint


def open_sdk(endpoint: Endpoint, timeout: float) -> Any:
    """Set up the SDK's asynchronous client for an endpoint.

    It runs over aiohttp: a call costs 0.62 ms of CPU where the default transport takes 1.06, and 0.71
    for 2.08 with 600 in flight. Its own retries are off, because RateLimiter has to see every 429.
    """
    import openai

    here = urlsplit(endpoint.base_url).hostname in ("localhost", "127.0.0.1", "::1")
    common: dict[str, Any] = {
        "max_retries": 0,
        "timeout": openai.Timeout(timeout + 1, connect=min(timeout, 15.0)),
        # A company's proxy, set in the environment, is asked for the outside only.
        "http_client": openai.DefaultAioHttpClient(trust_env=not here),
    }
    if endpoint.kind == "azure_openai" and not endpoint.key:
        common["azure_ad_token_provider" if endpoint.api_version else "api_key"] = _entra_token()
    if endpoint.kind == "azure_openai" and endpoint.api_version:
        common |= {"azure_endpoint": endpoint.base_url, "api_version": endpoint.api_version}
        return openai.AsyncAzureOpenAI(api_key=endpoint.key or None, **common)
    if endpoint.kind != "openai":  # nobody else is told of the organisation the SDK finds in the environment
        common["default_headers"] = {"OpenAI-Organization": openai.Omit(), "OpenAI-Project": openai.Omit()}
    # Never None: the SDK would send OPENAI_API_KEY to whatever address this is.
    common.setdefault("api_key", endpoint.key or "none")
    return openai.AsyncOpenAI(base_url=endpoint.base_url, **common)


def _entra_token() -> Any:
    """Return an async callable that gets a token of Entra ID, off the event loop: the first takes seconds."""
    try:
        from azure.identity import DefaultAzureCredential, get_bearer_token_provider
    except ImportError:
        raise UserError(
            "Azure OpenAI without a key needs `pip install azure-identity`, or set AZURE_OPENAI_API_KEY"
        ) from None
    provide = get_bearer_token_provider(
        DefaultAzureCredential(), "https://cognitiveservices.azure.com/.default"
    )

    async def token() -> str:
        return await asyncio.to_thread(provide)

    return token


def format_completion_prompt(messages: Sequence[Message]) -> str:
    """Render messages for the completion API: plain paragraphs, roles named only in a longer dialogue."""
    if all(message["role"] != "assistant" for message in messages):
        return "\n\n".join(message["content"] for message in messages) + "\n\n"
    return (
        "".join(f"{message['role'].capitalize()}: {message['content']}\n\n" for message in messages)
        + "Assistant:"
    )


class ApiError(NamedTuple):
    """A failed try, in plain terms."""

    kind: Literal["status", "timeout", "connection", "sign-in", "other"]
    message: str
    status: int = 0
    code: str = ""
    headers: Mapping[str, str] = MappingProxyType({})


def classify_error(error: Exception) -> ApiError:
    """Say what an exception of a call tells; anything that no call raises is raised again."""
    import openai

    cause = error.__cause__ or error
    if isinstance(error, openai.APIStatusError):
        code = f"{error.code or error.type or ''}"
        return ApiError("status", _message(error), error.status_code, code, error.response.headers)
    # The transport calls a refused connection a timeout, too.
    refused = "Cannot connect" in str(cause)
    if isinstance(error, (asyncio.TimeoutError, openai.APITimeoutError)) and not refused:
        return ApiError("timeout", "")
    if isinstance(error, (openai.APIConnectionError, OSError)) or type(error).__module__.startswith(
        "aiohttp"
    ):
        return ApiError("connection", str(cause) or type(cause).__name__)
    if type(error).__module__.startswith("azure."):
        return ApiError("sign-in", str(error))
    if isinstance(error, (openai.OpenAIError, UnicodeError)):
        return ApiError("other", str(error))
    raise error


def clean(text: str, key: str) -> str:
    """Make one short line of what a server said, without the key, whole or in part."""
    if len(key) >= 6:
        text = text.replace(key, "[key]")
        text = re.sub(re.escape(key[:5]) + r"[^\s\"',]*|[^\s\"',]*\*{3,}[^\s\"',]*", "[key]", text)
    return " ".join(text.split())[:200]


def _message(error: Any) -> str:
    """Find the message in an error's body; several servers, several shapes."""
    body = error.body
    if isinstance(body, dict):
        inner = body.get("error", body)
        told = inner.get("message") or inner.get("detail") if isinstance(inner, dict) else inner
        if told:
            return str(told)
    text = error.response.text
    return re.sub(r"<[^>]*>", " ", text) if text else str(error.response.reason_phrase)
