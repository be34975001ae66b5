"""The command that serves the chat workflow: python -m workflows.serve."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING, Annotated

import typer

from tools.raft.choices import Prompt
from tools.verbs.options import BaseUrl, Connection, Model, Timeout
from workflows.options import IndexOption, K, ModeOption, choose_endpoints, choose_index, run_command

if TYPE_CHECKING:
    from tools.raft.models.endpoint import Endpoint
    from tools.raft.rag.chat_retriever import ChatRetriever
    from workflows.session import ChatSettings

WARM_UP = "What are these documents about?"
_TRACES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


def serve(
    connection: Connection = None,
    model: Model = "",
    base_url: BaseUrl = "",
    index: IndexOption = "",
    prompt: Annotated[Prompt, typer.Option(help="Prompt template.")] = "chain_of_thought",
    k: K = 4,
    mode: ModeOption = "fused",
    workers: Annotated[
        int, typer.Option(min=1, max=1000, help="Calls of the model at a time.", envvar="THREADS")
    ] = 64,
    timeout: Timeout = 300.0,
    host: Annotated[
        str, typer.Option(help="Address to listen at; 0.0.0.0 for all.", envvar="HOST")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port; 0 picks a free one.", envvar="PORT")
    ] = 8080,
) -> None:
    """Serve the chat: POST /score, GET /health, a page at /, as `pf flow serve` does; stop it with Ctrl-C.

    [bold]Examples[/bold]

      python -m workflows.serve
      python -m workflows.serve --connection azure_openai:gpt-5.6-luna --port 8080

    The model is called once and a question asked before it listens; RAFT_CHECK=off spares both.
    """
    from tools.raft.models.embedded import serving_each
    from tools.verbs.progress import bar
    from workflows.session import ChatSettings, open_retriever

    _trace()
    endpoints = choose_endpoints(connection, model, base_url)
    with bar("opening the index", 0):
        retriever = open_retriever(choose_index(index), mode)
    with serving_each(endpoints, bar) as live:
        settings = ChatSettings(prompt, k, mode)
        asyncio.run(_serve(retriever, live, settings, workers, timeout, host, port))


async def _serve(
    retriever: ChatRetriever,
    endpoints: list[Endpoint],
    settings: ChatSettings,
    workers: int,
    timeout: float,
    host: str,
    port: int,
) -> None:
    """Check, listen, and stop on a signal once the requests under way are answered."""
    from aiohttp import web

    from tools.raft.models.check import model_answers, wants_check
    from workflows.server import create_app
    from workflows.session import open_session

    checked = wants_check(os.environ) and await model_answers(endpoints[0], "--connection names another")
    async with open_session(retriever, endpoints, settings, workers=workers, timeout=timeout) as session:
        if checked:
            await _warm_up(session)
        # A client that has gone wants no answer: its call is cancelled.
        runner = web.AppRunner(create_app(session), handler_cancellation=True, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port, backlog=1024).start()
            where = runner.addresses[0]
            print(f"serving {endpoints[0]} at http://{where[0]}:{where[1]}", flush=True)
            await _stopped()
        finally:
            await runner.cleanup()


async def _warm_up(session: object) -> None:
    """Answer a question. Raises UserError if it has no answer."""
    from tools.raft.errors import UserError
    from tools.raft.models.failed_calls import CallFailed
    from workflows.chat import Turn

    try:
        await session.answer(Turn(WARM_UP))  # type: ignore[attr-defined]
    except CallFailed as error:
        raise UserError(f"the workflow has no answer: {error.reason}") from None


async def _stopped() -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    try:
        for each in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(each, stop.set)
    except NotImplementedError:  # Windows: Ctrl-C raises KeyboardInterrupt
        pass
    await stop.wait()


def _trace() -> None:
    """Send Agent Framework's spans to an OTLP collector if OpenTelemetry's variables name one."""
    if any(os.environ.get(name) for name in _TRACES):
        from agent_framework.observability import configure_otel_providers

        # The exporter of requirements-agents.txt; Agent Framework's default is the one for gRPC.
        os.environ.setdefault("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
        configure_otel_providers(service_name=os.environ.get("OTEL_SERVICE_NAME", "raft-chat"))


if __name__ == "__main__":
    run_command(serve)
