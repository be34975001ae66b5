"""index: documents or chunks → a FAISS index."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tools.raft.errors import UserError
from tools.verbs.options import (
    ChunkSize,
    MaxCalls,
    MaxCost,
    MaxFileMb,
    MorePaths,
    Ocr,
    ParseMemory,
    ParseSeconds,
    Prices,
    Strict,
    make_budget,
    read_options,
)

if TYPE_CHECKING:
    from tools.raft.records import Chunk


def index(
    out: Annotated[Path, typer.Option(help="Folder for the index.", metavar="DIR")],
    docs: Annotated[
        list[str] | None, typer.Option(help="Files, folders or globs; may be repeated.", metavar="PATH…")
    ] = None,
    more: MorePaths = None,
    chunks: Annotated[
        Path | None,
        typer.Option(help="A chunks.jsonl that `generate` wrote, instead of documents.", metavar="F.jsonl"),
    ] = None,
    embedding_model: Annotated[
        str,
        typer.Option(
            help="A sentence-transformers model by name or folder, CONNECTION:MODEL, or URL:MODEL with its "
            "key in RAFT_API_KEY; by default the embedded one."
        ),
    ] = "",
    chunk_size: ChunkSize = 512,
    sentences: Annotated[
        bool | None,
        typer.Option(
            "--sentences/--no-sentences",
            help="Index the sentences, too: focus then costs a question nothing. By default as it was.",
        ),
    ] = None,
    append: Annotated[
        bool,
        typer.Option(
            "--append",
            help="Add to the index in --out: documents of the same name are replaced, others stay.",
        ),
    ] = False,
    max_cost: MaxCost = None,
    max_calls: MaxCalls = None,
    prices: Prices = None,
    strict: Strict = False,
    ocr: Ocr = "",
    max_file_mb: MaxFileMb = 50,
    parse_seconds: ParseSeconds = 60.0,
    parse_memory: ParseMemory = 2048,
) -> None:
    """Build an index of documents, or of the chunks of a dataset, for retrieval.

    [bold]Examples[/bold]

      python -m tools index --docs data/documents --out index
      python -m tools index --chunks out/chunks.jsonl --out index
      python -m tools index --docs manuals --out index --embedding-model azure_openai:text-embedding-3-small
      python -m tools index --docs manuals/new.pdf --out index --append

    The index holds exactly the given documents. Run it again with more documents, or after an
    interruption: only new texts are embedded, and documents no longer given are removed. With --append all
    others stay.
    """
    from tools.connections import lookup_without_file
    from tools.raft.ingest.chunks import read_chunks
    from tools.raft.ingest.corpus import collect_chunks
    from tools.raft.models.embed import DEFAULT
    from tools.raft.models.embed_endpoint import open_embedder
    from tools.raft.models.endpoint import resolve_endpoint
    from tools.raft.models.pricing import load_prices
    from tools.raft.on_disk import RowFile
    from tools.raft.rag.append import append_chunks
    from tools.raft.rag.build_index import build_index
    from tools.raft.rag.index_store import read_manifest
    from tools.verbs import progress, show

    paths = [*(docs or []), *(more or [])]
    if bool(paths) == bool(chunks):
        raise UserError("nothing to index: give either --docs PATH… or --chunks F.jsonl")
    before = read_manifest(out)  # fails early if the folder holds something else
    if append and before and embedding_model not in ("", before["model"]):
        raise UserError(
            f"{out} was built with {before['model']}: omit --embedding-model, or --append to build it anew"
        )
    model = before["model"] if append and before else embedding_model
    model = "" if model == DEFAULT else model
    budget = None
    if max_cost is not None or max_calls is not None:
        paid = [resolve_endpoint(model, lookup=lookup_without_file)] if ":" in model else []
        budget = make_budget(max_cost, max_calls, load_prices(prices), paid)
    embedder = open_embedder(model, lookup=lookup_without_file, budget=budget)
    documents: list[dict[str, Any]] = []
    if chunks:
        rows: list[Chunk] | RowFile = RowFile.of(read_chunks(chunks))
    else:
        options = read_options(strict, ocr, max_file_mb, parse_seconds, parse_memory)
        with progress.reading() as on_page:
            corpus = collect_chunks(
                paths, chunk_size=chunk_size, reading=options, on_disk=True, on_page=on_page
            )
        show.account(corpus)
        rows = corpus.chunks
        documents = [account.to_dict() for account in corpus.accounts]
    given: Iterable[Chunk] = rows
    if append and before:
        given, documents, replaced = append_chunks(out, before, rows, documents)
        show.replaced(replaced)
    with progress.embedding() as on_batch:
        manifest = build_index(
            given, out, embedder, documents=documents, sentences=sentences, on_batch=on_batch
        )
    show.index(manifest, out, dropped="answerability" in (before or {}) and "answerability" not in manifest)
