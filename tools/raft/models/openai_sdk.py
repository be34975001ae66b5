"""Set up the `openai` SDK for each kind of endpoint, and classify the errors of its calls."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit

from ..errors import UserError, one_line
from ..prompts import Message
from .endpoint import Endpoint
from .failures import UnexpectedBody, describe_body, describe_connection, error_message, page_text

_TOKEN = re.compile(r"eyJ[\w-]{8,}\.[\w.-]+")  # of Entra ID, a JWT


def open_sdk(endpoint: Endpoint, timeout: float, *, only_json: bool = False) -> Any:
    """Return the SDK's asynchronous client for an endpoint.

    only_json: raise for anything else that comes with a status of success, which the SDK's response models
    would pass on as a text.

    It uses aiohttp: a call costs 0.62 ms of CPU instead of the default transport's 1.06, and 0.71 instead
    of 2.08 with 600 in flight. The SDK's own retries are off, because RateLimiter has to see every 429.
    """
    import openai

    local = urlsplit(endpoint.base_url).hostname in ("localhost", "127.0.0.1", "::1")
    common: dict[str, Any] = {
        "max_retries": 0,
        "timeout": openai.Timeout(timeout + 1, connect=min(timeout, 15.0)),
        # A proxy set in the environment is used for remote addresses only.
        "http_client": openai.DefaultAioHttpClient(
            trust_env=not local, event_hooks={"response": [_check_json] if only_json else []}
        ),
    }
    if endpoint.kind == "azure_openai" and not endpoint.key:
        common["azure_ad_token_provider" if endpoint.api_version else "api_key"] = _entra_token_provider()
    if endpoint.kind == "azure_openai" and endpoint.api_version:
        common |= {"azure_endpoint": endpoint.base_url, "api_version": endpoint.api_version}
        return openai.AsyncAzureOpenAI(api_key=endpoint.key or None, **common)
    if endpoint.kind != "openai":  # only OpenAI gets the organisation the SDK finds in the environment
        common["default_headers"] = {"OpenAI-Organization": openai.Omit(), "OpenAI-Project": openai.Omit()}
    # Never None: the SDK would then send OPENAI_API_KEY to this address, whatever it is.
    common.setdefault("api_key", endpoint.key or "none")
    return openai.AsyncOpenAI(base_url=endpoint.base_url, **common)


async def read_stream(sdk: Any, path: str, body: Mapping[str, Any], on_piece: Callable[[str], None]) -> bytes:
    """Have a reply streamed: pass on its pieces, and return the body of the same reply in one.

    The thoughts that a server sends beside the text are no pieces. Raises what a call of the SDK raises.
    """
    import openai

    text, thought, finish, usage = "", "", None, None
    stream = await sdk.post(
        path,
        cast_to=object,
        body={**body, "stream": True},
        stream=True,
        stream_cls=openai.AsyncStream[object],
    )
    async with stream:
        async for event in stream:
            usage = event.get("usage") or usage
            for choice in event.get("choices") or ():
                delta = choice.get("delta") or choice
                finish = choice.get("finish_reason") or finish
                thought += delta.get("reasoning_content") or delta.get("reasoning") or ""
                if piece := delta.get("content") or delta.get("text") or "":
                    text += piece
                    on_piece(piece)
    message = {"content": text, "reasoning_content": thought}
    reply = {"choices": [{"message": message, "finish_reason": finish}], "usage": usage}
    return json.dumps(reply, ensure_ascii=False).encode("utf-8", "replace")


async def _check_json(response: Any) -> None:
    """Raise UnexpectedBody for a response of success that is no JSON, such as the page of a sign-in."""
    if response.is_success and "json" not in response.headers.get("content-type", ""):
        raise UnexpectedBody(describe_body(await response.aread()))


def _entra_token_provider() -> Any:
    """Return an async callable that gets an Entra ID token in a thread, since the first takes seconds."""
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
    """Format messages for the completion API: plain paragraphs, with roles named only in a dialogue."""
    if all(message["role"] != "assistant" for message in messages):
        return "\n\n".join(message["content"] for message in messages) + "\n\n"
    return (
        "".join(f"{message['role'].capitalize()}: {message['content']}\n\n" for message in messages)
        + "Assistant:"
    )


class ApiError(NamedTuple):
    """What went wrong in a call, independent of the SDK's exceptions."""

    kind: Literal["status", "timeout", "connection", "sign-in", "other"]
    message: str
    status: int = 0
    code: str = ""
    headers: Mapping[str, str] = MappingProxyType({})


def classify_error(error: Exception) -> ApiError:
    """Describe the exception of a failed call; re-raise any other exception."""
    import openai

    if isinstance(error, openai.APIStatusError):
        code = f"{error.code or error.type or ''}"
        return ApiError("status", _status_message(error), error.status_code, code, error.response.headers)
    connection = (openai.APIConnectionError, OSError, asyncio.TimeoutError, UnexpectedBody)
    if isinstance(error, connection) or type(error).__module__.startswith("aiohttp"):
        # The transport reports a refused or closed connection as a timeout, too: its cause knows better.
        happened = describe_connection(error)
        return ApiError("connection", happened) if happened else ApiError("timeout", "")
    if type(error).__module__.startswith("azure."):
        return ApiError("sign-in", str(error))
    if isinstance(error, (openai.OpenAIError, UnicodeError)):
        return ApiError("other", str(error))
    raise error


def clean(text: str, key: str) -> str:
    """Return a server's message as one short line, without the key or parts of it, and without tokens."""
    text = _TOKEN.sub("[token]", text)
    if len(key) >= 6:
        text = text.replace(key, "[key]")
        text = re.sub(re.escape(key[:5]) + r"[^\s\"',]*|[^\s\"',]*\*{3,}[^\s\"',]*", "[key]", text)
    return one_line(text)


def _status_message(error: Any) -> str:
    """Return the message in an error's body, or the visible words of a web page."""
    response = error.response
    text = response.text
    message = error_message(error.body) if not isinstance(error.body, str) else page_text(text)
    message = message or page_text(text) or str(response.reason_phrase)
    return f"{message} (redirected to {response.url})" if response.history else message
