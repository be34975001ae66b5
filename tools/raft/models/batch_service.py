"""Have files of requests answered: by a batch service, or by whoever runs them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ..errors import UserError
from ..files import write_text
from .endpoint import Endpoint
from .service import Service, Unreachable

WINDOW = "24h"  # within which a batch is answered; what is not, expires and costs nothing
_ENDED = ("completed", "expired", "failed", "cancelled")
_STARTED = ("validating", "in_progress", "finalizing", "completed", "expired")


@dataclass(frozen=True)
class Progress:
    """How far a batch is."""

    state: str
    done: int = 0
    failed: int = 0

    @property
    def ended(self) -> bool:
        """Whether no more replies will come."""
        return self.state in _ENDED


class BatchService(Protocol):
    """What answers files of requests. A file's name tells its content, so that it is never answered twice."""

    most_requests: int  # in a file
    most_bytes: int

    def path(self) -> str:
        """Return the path that each request of a file names."""

    async def start(self, file: Path) -> str:
        """Have a file answered, unless that has been asked for already; return the id of its batch."""

    async def progress(self, batch: str) -> Progress:
        """Return how far a batch is."""

    async def replies(self, batch: str) -> bytes:
        """Return the lines of a batch that has ended, errors among them."""


class HostedBatches:
    """Batches at OpenAI, Azure OpenAI, or any service with /files and /batches.

    Source of formats and limits: https://platform.openai.com/docs/guides/batch and
    https://learn.microsoft.com/azure/ai-foundry/openai/how-to/batch.
    """

    most_bytes = 200_000_000

    def __init__(self, endpoint: Endpoint) -> None:
        if endpoint.kind == "embedded":
            raise UserError("the embedded model has no batches: leave out --batch")
        self.endpoint = endpoint
        self.azure = endpoint.kind == "azure_openai"
        self.most_requests = 100_000 if self.azure else 50_000
        self._service = Service(endpoint)

    def path(self) -> str:
        """Return the path that each request names: Azure's has no version."""
        call = "/chat/completions" if self.endpoint.api == "chat" else "/completions"
        return call if self.azure else f"/v1{call}"

    async def start(self, file: Path) -> str:
        """Upload a file and create its batch, each unless the service has it already."""
        uploaded, _ = await self._service.upload(file.name, file.read_bytes(), "batch")
        id = uploaded.id
        while self.azure and uploaded.status not in ("processed", "error"):
            await asyncio.sleep(2)
            uploaded = await self._service.call(lambda sdk: sdk.files.retrieve(id))
        if uploaded.status == "error":
            raise UserError(f"{self.endpoint.base_url} refused the batch file {file.name}")

        async def create(sdk: Any) -> Any:
            return await sdk.batches.create(
                input_file_id=id,
                endpoint=self.path(),
                completion_window=WINDOW,
                metadata={"raft_file": file.name},
            )

        for last in (False, True):
            if known := await self._find(id):
                return known
            try:
                return str((await self._service.call(create, retries=0)).id)
            except Unreachable:  # the request may have arrived, its reply lost
                if last:
                    raise
        raise AssertionError("unreachable")

    async def _find(self, file: str) -> str | None:
        async def search(sdk: Any) -> str | None:
            async for batch in sdk.batches.list(limit=100):  # newest first
                if batch.input_file_id == file and batch.status in _STARTED:
                    return str(batch.id)
            return None

        return await self._service.call(search)

    async def progress(self, batch: str) -> Progress:
        """Return state and counts. Raises UserError if the service refused the batch as a whole."""
        found = await self._retrieve(batch)
        if found.status == "failed":
            errors = found.errors.data if found.errors and found.errors.data else []
            reason = "; ".join(self._service.clean(error.message or "") for error in errors[:3])
            raise UserError(
                f"{self.endpoint.base_url} refused batch {batch}: {reason or 'no reason is given'}"
            )
        counts = found.request_counts
        return Progress(found.status, counts.completed if counts else 0, counts.failed if counts else 0)

    async def replies(self, batch: str) -> bytes:
        """Return the lines of output and error file."""
        found = await self._retrieve(batch)
        contents = []
        for file in filter(None, (found.output_file_id, found.error_file_id)):

            async def download(sdk: Any, file: str = file) -> bytes:
                return bytes((await sdk.files.content(file)).content)

            content = await self._service.call(download, only_json=False)
            contents.append(content if content.endswith(b"\n") or not content else content + b"\n")
        return b"".join(contents)

    async def _retrieve(self, batch: str) -> Any:
        return await self._service.call(lambda sdk: sdk.batches.retrieve(batch))


class BatchFiles:
    """Files of requests in a folder, which somebody else answers, as with `vllm run-batch`."""

    most_requests = 50_000
    most_bytes = 200_000_000

    def __init__(self, endpoint: Endpoint, folder: Path) -> None:
        self.endpoint, self.folder = endpoint, folder

    def path(self) -> str:
        """Return the path that each request names."""
        return "/v1/chat/completions" if self.endpoint.api == "chat" else "/v1/completions"

    async def start(self, file: Path) -> str:
        """Write the file into the folder. Raises UserError, with what to do, if it is not answered yet."""
        self.folder.mkdir(parents=True, exist_ok=True)
        requests = self.folder / file.name
        if not requests.exists():
            write_text(requests, file.read_text(encoding="utf-8"))
        replies = self._answered(file.name)
        if not replies.exists():
            raise UserError(
                f"{requests} has requests to answer: run `vllm run-batch -i {requests} -o {replies} --model "
                f"{self.endpoint.model}`, then the same command again"
            )
        return file.name

    async def progress(self, batch: str) -> Progress:
        """Return that it has been answered: else it would not have started."""
        return Progress("completed")

    async def replies(self, batch: str) -> bytes:
        """Return the lines of the file of replies."""
        return self._answered(batch).read_bytes()

    def _answered(self, name: str) -> Path:
        return self.folder / f"{Path(name).stem}.replies.jsonl"
