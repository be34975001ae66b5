"""Call the management side of an OpenAI-style service: its files, its batches and its jobs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from ..errors import UserError
from .endpoint import Endpoint
from .openai_sdk import ApiError, classify_error, clean, open_sdk

_TIMEOUT = 120.0  # seconds; long enough to upload a large file

# OpenAI's code, and that of Azure's ErrorCode (Azure/azure-rest-api-specs, AzureOpenAI/authoring 2024-10-21).
_NO_QUOTA = ("insufficient_quota", "quotaExceeded")

_T = TypeVar("_T")


class Unreachable(UserError):
    """The service cannot be reached or is failing for now; what it already has continues."""


class Refused(UserError):
    """The service understood a request and will not do it: another one may succeed, not the same again."""


class Service:
    """The service at an endpoint's address."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint

    async def call(
        self, call: Callable[[Any], Awaitable[_T]], *, retries: int = 2, only_json: bool = True
    ) -> _T:
        """Make a call with the SDK. Raises a one-line UserError, `Unreachable` if the problem may pass."""
        try:
            async with open_sdk(self.endpoint, _TIMEOUT, only_json=only_json) as sdk:
                return await call(sdk.with_options(max_retries=retries))
        except Exception as error:
            exception = self._to_exception(classify_error(error))
        raise exception  # outside the handler: its context would hold what the server echoed

    async def files(self, purpose: str) -> list[Any]:
        """List the files of a purpose that can be used."""

        async def search(sdk: Any) -> list[Any]:
            return [
                file
                async for file in sdk.files.list(purpose=purpose)
                if file.status not in ("error", "deleted")
            ]

        return await self.call(search)

    async def upload(self, name: str, content: bytes, purpose: str) -> tuple[Any, bool]:
        """Upload a file, unless one of that name exists, which must tell its content; return it, and whether.

        A lost reply to an upload is no reason to upload twice: the name is looked up before each.
        """

        async def create(sdk: Any) -> Any:
            return await sdk.files.create(file=(name, content), purpose=purpose)

        for last in (False, True):
            for file in await self.files(purpose):
                if file.filename == name:
                    return file, False
            try:
                return await self.call(create, retries=0), True
            except Unreachable:
                if last:
                    raise
        raise AssertionError("unreachable")

    def clean(self, text: str) -> str:
        """Return a server's message as one short line, without the key or parts of it."""
        return clean(text, self.endpoint.key)

    def _to_exception(self, error: ApiError) -> UserError:
        url, message = self.endpoint.base_url, self.clean(error.message)
        reply = f"HTTP {error.status}: {message}"
        if error.kind in ("timeout", "connection"):
            reason = message or f"no reply within {_TIMEOUT:g} s"
            return Unreachable(f"nothing answers at {url} ({reason}): run the same command again to resume")
        if error.kind != "status":
            return UserError(f"{url} cannot be called: {message}")
        if error.status == 429 and error.code in _NO_QUOTA:
            return UserError(f"{url} has no quota left for this ({reply}): check plan, quota and billing")
        if error.status in (401, 403):
            return UserError(f"{url} refused the call ({reply}): {self._sign_in_again()}")
        if error.status in (408, 409, 429) or error.status >= 500:
            return Unreachable(f"{url} is failing ({reply}): run the same command again to resume")
        return Refused(f"{url} refused the call ({reply})")

    def _sign_in_again(self) -> str:
        """Return what to do about a sign-in that is not accepted."""
        if self.endpoint.kind == "azure_openai" and not self.endpoint.key:
            return "sign in again (`az login`), with the role Foundry User or OpenAI Contributor"
        return f"check {self.endpoint.key_from or 'the key'} and its permissions"
