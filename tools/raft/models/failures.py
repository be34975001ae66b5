"""Say in a few words why a call got no usable reply: what its connection did, or what came back."""

from __future__ import annotations

import asyncio
import errno
import html
import json
import re
import socket
import ssl
from collections.abc import Iterator
from typing import Any

from ..errors import one_line

_PAGE_START = re.compile(r"\s*<(?:!doctype\b|html\b|head\b|body\b|\?xml\b|!--)", re.IGNORECASE)
_UNSEEN = re.compile(r"<(script|style|template)\b.*?</\1\s*>|<!--.*?-->", re.IGNORECASE | re.DOTALL)
_TITLE = re.compile(r"<title\b[^>]*>([^<]*)</title\s*>", re.IGNORECASE)
_MARKUP = re.compile(r"<[^>]*>")
_PAGE = 20_000  # characters of a page that are looked at
_SHOWN = 120  # characters shown of what came back
_MESSAGE_KEYS = ("message", "detail", "details", "error", "errors", "msg", "error_description", "title")


class UnexpectedBody(Exception):
    """A response of success with something else than JSON; the message says what."""


def describe_connection(error: BaseException) -> str:
    """Say what happened to a connection; return an empty string if there was only no answer in time."""
    import aiohttp

    causes = list(_causes(error))

    def find(*kinds: type[BaseException]) -> Any:
        return next((cause for cause in causes if isinstance(cause, kinds)), None)

    if unexpected := find(UnexpectedBody):
        return f"no reply of an API came back, but {unexpected}"
    text = " ".join(map(str, causes))
    numbers = {cause.errno for cause in causes if isinstance(cause, OSError)}
    if untrusted := find(ssl.SSLCertVerificationError):
        return f"the TLS certificate is not accepted: {untrusted.verify_message or untrusted}"
    if find(ssl.SSLError, aiohttp.ClientConnectorSSLError):
        return "no TLS connection: does the server speak https?"
    if find(socket.gaierror, aiohttp.ClientConnectorDNSError):
        return "the host name is not known"
    if find(aiohttp.ClientProxyConnectionError, aiohttp.ClientHttpProxyError):
        return "the proxy of the environment lets no call through"
    # With several addresses for a host, the error of each is in the text only.
    if find(ConnectionRefusedError) or "Connect call failed" in text:
        return "the connection is refused: no server listens there"
    if errno.ECONNRESET in numbers:
        return "the server reset the connection"
    if find(aiohttp.ServerDisconnectedError, ConnectionError, aiohttp.ClientConnectionResetError):
        return "the server closed the connection"
    if find(aiohttp.ClientPayloadError):
        return "the reply broke off"
    if find(aiohttp.ClientResponseError):
        return "what came back is not HTTP: is this the right port?"
    if any(type(cause).__name__ == "TooManyRedirects" for cause in causes):
        return "the address redirects in a circle"
    if find(aiohttp.ConnectionTimeoutError):
        return "no connection in time: the host does not respond"
    if find(TimeoutError, asyncio.TimeoutError, aiohttp.ServerTimeoutError):
        return ""
    reason = next((cause.strerror for cause in causes if isinstance(cause, OSError) and cause.strerror), "")
    return f"the connection failed: {reason or causes[-1]}".removesuffix(": ")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception and those behind it, each library's own among them."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        inner = getattr(error, "os_error", None)
        if isinstance(inner, BaseException):
            yield inner
        error = error.__cause__ or error.__context__


def describe_body(raw: bytes) -> str:
    """Say what a body is that holds no reply, with its first words."""
    text = raw.decode("utf-8-sig", "replace").strip()
    if not text:
        return "an empty body"
    if _PAGE_START.match(text):
        return f"a web page: {page_text(text) or 'without text'}"
    if text.startswith(("data:", "event:")):
        return "an event stream, though none was asked for"
    try:
        value = json.loads(text)
    except ValueError:
        kind = "JSON that breaks off" if text.startswith(("{", "[")) else "text that is not JSON"
        return f"{kind}: {one_line(text, _SHOWN)}"
    if message := error_message(value):
        return f"an error: {message}"
    if isinstance(value, dict) and "choices" in value and not value["choices"]:
        return "no choices: the model returned nothing"
    return f"no usable reply: {one_line(text, _SHOWN)}"


def page_text(page: str) -> str:
    """Return the title of a web page and its first visible words."""
    page = page[:_PAGE]
    title = _TITLE.search(page)
    body = _MARKUP.sub(" ", _UNSEEN.sub(" ", _TITLE.sub(" ", page)))
    parts = (title.group(1) if title else "", body)
    return one_line(" – ".join(filter(None, map(_visible, parts))), _SHOWN)


def error_message(value: Any) -> str:
    """Return the message in an error's JSON, whose shape differs between servers; empty if there is none.

    Known are {"error": {"message": …}}, {"error": …}, {"message": …}, {"detail": …} (FastAPI, also as a list
    of {"loc": …, "msg": …}), problem details (RFC 9457), and lists of any of these.
    """
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, list):
        return "; ".join(filter(None, map(error_message, value[:3])))
    if not isinstance(value, dict):
        return ""
    # An error within the error comes first: beside it, "message" may only say that there is one.
    keys = ("error", *_MESSAGE_KEYS) if isinstance(value.get("error"), (dict, list)) else _MESSAGE_KEYS
    message = next((found for key in keys if (found := error_message(value.get(key)))), "")
    place = value.get("loc")
    if message and isinstance(place, list):
        return f"{'.'.join(map(str, place))}: {message}"
    return message


def _visible(text: str) -> str:
    return " ".join(html.unescape(text).split())
