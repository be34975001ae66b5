"""Serve the embedded model on loopback, with an OpenAI-compatible interface.

The server runs in a process of its own, `python -m tools.raft.models.embedded`, so that it can be stopped at
any moment. It ends with the process that started it, even if that is killed.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from ..child import free_processors, start_child
from ..errors import UserError, one_line
from ..progress import Progress, no_progress
from .endpoint import EMBEDDED_URL, SLOTS, Endpoint
from .merge_lora import merged_model
from .weights import check_gguf, default_model, teacher_adapter

HOST = "127.0.0.1"
CONTEXT = 4096  # tokens per slot: a question with ten distractors, and the reply


@contextmanager
def serving(endpoint: Endpoint, progress: Progress = no_progress) -> Iterator[Endpoint]:
    """Serve the embedded model while the block runs; yield any other endpoint unchanged.

    The model is served with the endpoint's adapter, with the teacher's if the endpoint names the teacher, or
    untuned. Yields the endpoint with its address and a revision that identifies the weights.
    """
    if endpoint.kind != "embedded":
        yield endpoint
        return
    adapter = Path(endpoint.adapter) if endpoint.adapter else None
    if endpoint.constrained:
        adapter = adapter or teacher_adapter()
    model, revision = merged_model(adapter, progress) if adapter else (None, "untuned")
    with embedded_server(model=model, slots=SLOTS, alias=endpoint.model, progress=progress) as base_url:
        yield replace(endpoint, base_url=base_url, revision=revision)


@contextmanager
def serving_each(endpoints: Sequence[Endpoint], progress: Progress = no_progress) -> Iterator[list[Endpoint]]:
    """Serve the embedded model for each endpoint that is one, as `serving` does."""
    with ExitStack() as stack:
        yield [stack.enter_context(serving(endpoint, progress)) for endpoint in endpoints]


@contextmanager
def embedded_server(
    *,
    model: Path | None = None,
    lora: Path | None = None,
    port: int = 0,
    slots: int = 4,
    threads: int | None = None,
    alias: str = "",
    progress: Progress = no_progress,
) -> Iterator[str]:
    """Serve a GGUF model until the block ends; yield its base URL, http://127.0.0.1:PORT/v1.

    model: the embedded one by default. port: 0 for a free one. slots: requests served at the same time.
    threads: by default as many as there are free processors. alias: the model's name in the API, by default
    that of its file.
    Raises UserError if a file is missing or not GGUF, the port is taken or the runtime is not installed.
    """
    model = model or default_model()
    with _running_server(model, lora, port, slots, threads, alias, progress) as (_, base_url):
        yield base_url


@contextmanager
def _running_server(
    model: Path,
    lora: Path | None,
    port: int,
    slots: int,
    threads: int | None,
    alias: str,
    progress: Progress,
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    for path in (model, lora):
        if path:
            check_gguf(path)
    if importlib.util.find_spec("xllamacpp") is None:
        raise UserError("xllamacpp is not installed; run: pip install -r requirements.txt")
    if port:
        _check_free(port)
    settings = {
        "model": str(model.resolve()),
        "lora": str(lora.resolve()) if lora else "",
        "port": port,
        "slots": slots,
        # A thread that shares its processor holds all others up, hundreds of times per token.
        "threads": threads or free_processors(),
        "alias": alias or model.stem,
    }
    process = start_child(
        "tools.raft.models.embedded",
        json.dumps(settings),
        # Threads wait for each other hundreds of times per token. Spinning forever makes them several times
        # slower as soon as anything else runs; never spinning, a third slower (108 tokens/s instead of 162).
        env={"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "20000", **os.environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert process.stdout is not None
        with progress(f"starting the server of {settings['alias']}", 0):
            address = process.stdout.readline().strip()
        if not address.startswith("http"):
            served = f"{model.name} with {lora.name}" if lora else model.name
            raise UserError(
                f"{served} cannot be served ({address or 'the server exited'}): is the file complete?"
            )
        yield process, f"{address}/v1"
    finally:
        process.kill()
        process.communicate()


def serve(
    *,
    model: Path | None = None,
    lora: Path | None = None,
    port: int = 8081,
    slots: int = 4,
    alias: str = "",
    progress: Progress = no_progress,
) -> None:
    """Serve until Ctrl-C, and print the address. Raises UserError if the server exits."""
    model = model or default_model()
    with _running_server(model, lora, port, slots, None, alias, progress) as (process, base_url):
        try:
            print(f"serving {model.name} at {base_url} (press Ctrl-C to stop)", flush=True)
            if base_url != EMBEDDED_URL:
                port = urlsplit(base_url).port or port
                print(
                    f"promptflow reaches it after: python -m tools connect embedded --port {port}", flush=True
                )
            status = process.wait()
        except KeyboardInterrupt:
            return
        raise UserError(f"the server of {model.name} exited unexpectedly (status {status}); start it again")


def _check_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            raise UserError(f"port {port} is taken; choose another with --port") from None


def _run(model: str, lora: str, port: int, slots: int, threads: int, alias: str) -> None:
    """Start the server, print its address, and exit when standard input closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent process handles Ctrl-C
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = model
    params.model_alias = {alias}
    params.hostnames = [HOST]
    params.port = port
    params.n_parallel = slots
    params.n_ctx = CONTEXT * slots
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.warmup = False
    params.verbosity = -1
    if lora:
        adapter = xllamacpp.CommonAdapterLoraInfo()
        adapter.path, adapter.scale = lora, 1.0
        params.lora_adapters = [adapter]
    try:
        server = xllamacpp.Server(params)
    except RuntimeError as error:
        print(one_line(error), flush=True)
        return
    print(server.listening_address, flush=True)
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    _run(**json.loads(sys.argv[1]))
