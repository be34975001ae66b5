"""serve: the embedded model as an OpenAI-compatible endpoint on localhost."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tools.raft.models.endpoint import SERVE_SLOTS


def serve(
    model: Annotated[Path | None, typer.Option(help="GGUF model; by default the embedded one.")] = None,
    lora: Annotated[Path | None, typer.Option(help="GGUF LoRA adapter for it.")] = None,
    teacher: Annotated[
        bool,
        typer.Option("--teacher", help="Serve the teacher: the embedded model with its shipped adapter."),
    ] = False,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0 picks a free one.")
    ] = 8081,
    slots: Annotated[
        int, typer.Option(min=1, max=64, help="Server slots: requests answered concurrently.")
    ] = SERVE_SLOTS,
) -> None:
    """Serve the embedded model on localhost with an OpenAI-compatible API; stop it with Ctrl-C.

    [bold]Examples[/bold]

      python -m tools serve
      python -m tools serve --lora out/adapter.gguf --port 8082
    """
    from tools.raft.errors import UserError
    from tools.raft.models.embedded import serve as run
    from tools.raft.models.endpoint import TEACHER_MODEL
    from tools.raft.models.merge_lora import merged_model
    from tools.raft.models.weights import teacher_adapter
    from tools.verbs.progress import bar

    if teacher and (model or lora):
        raise UserError("--teacher cannot be combined with --model or --lora: leave them out")
    if teacher:
        merged, _ = merged_model(teacher_adapter(), bar)
        run(model=merged, port=port, slots=slots, alias=TEACHER_MODEL, progress=bar)
    else:
        run(model=model, lora=lora, port=port, slots=slots, progress=bar)
