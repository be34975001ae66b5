"""Options that several verbs share, and the endpoint they resolve to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tools.raft.choices import Api, Negatives, NoOracle, Order, Quotes
from tools.raft.errors import CallsFailed

if TYPE_CHECKING:
    from tools.raft.ingest.read import ReadOptions
    from tools.raft.models.endpoint import Endpoint

# Exit status: rows are missing as calls failed; running again may complete them.
INCOMPLETE = CallsFailed.status


Connection = Annotated[
    str,
    typer.Option(
        help="A connection of connections/ or of promptflow, NAME:MODEL, URL:MODEL, or an adapter F.gguf."
    ),
]
Model = Annotated[str, typer.Option(help="Model name; on Azure OpenAI the deployment name.")]
BaseUrl = Annotated[
    str, typer.Option(help="An OpenAI-compatible URL instead of a connection; its key in RAFT_API_KEY.")
]
ApiKind = Annotated[
    Api | None, typer.Option(help="The API to call; by default inferred from the URL, else chat.")
]
Timeout = Annotated[float, typer.Option(min=1, help="Seconds before a call is aborted and retried.")]
FocusOption = Annotated[
    bool, typer.Option("--focus", help="Cut the documents to the sentences that matter for the question.")
]
FocusShare = Annotated[
    float,
    typer.Option(
        min=0.01,
        max=1,
        help="Share of the sentences' scores that focus keeps; 0.6 if one fact will do.",
    ),
]
QuotesOption = Annotated[
    Quotes,
    typer.Option(
        help="Hold quotes to sentences of the documents: by a grammar (gbnf: llama.cpp) or a schema."
    ),
]
AlwaysAnswer = Annotated[
    bool,
    typer.Option("--always-answer", help="Ask the model even where the index's threshold says to refuse."),
]
NegativesOption = Annotated[Negatives, typer.Option(help="Distractors by retrieval or at random.")]
NoOracleOption = Annotated[
    NoOracle, typer.Option(help="Rows without the oracle: keep its answer, or refuse.")
]
OrderOption = Annotated[
    Order, typer.Option(help="Order of a row's documents: at random, or as the retriever ranks them.")
]
ChunkSize = Annotated[int, typer.Option(min=16, help="Maximum tokens per chunk.")]
Strict = Annotated[
    bool,
    typer.Option(
        "--strict",
        help="Stop at the first document that is unreadable or loses over a tenth of its text.",
    ),
]
Ocr = Annotated[
    str,
    typer.Option(help="Recognise text on scanned pages, in languages such as eng+deu.", metavar="LANGUAGES"),
]
MaxFileMb = Annotated[int, typer.Option(min=1, help="Largest file to read, in MiB.")]
ParseSeconds = Annotated[
    float, typer.Option(min=1, help="Processor time to parse a page, or a file without pages.")
]
ParseMemory = Annotated[int, typer.Option(min=256, help="Memory to parse a file, in MiB.")]
MorePaths = Annotated[list[str] | None, typer.Argument(hidden=True, metavar="[PATH]…")]


def named_endpoint(
    connection: str, model: str, base_url: str, api: Api | None, *, embedded_model: str = ""
) -> Endpoint:
    """Return the endpoint that the options name. Raise UserError if they name none."""
    from tools.connections import lookup_without_file
    from tools.raft.models.endpoint import EMBEDDED_MODEL, resolve_endpoint

    return resolve_endpoint(
        connection or None,
        model=model or None,
        base_url=base_url or None,
        api=api,
        lookup=lookup_without_file,
        embedded_model=embedded_model or EMBEDDED_MODEL,
    )


def read_options(
    strict: bool, ocr: str, max_file_mb: int, parse_seconds: float, parse_memory: int
) -> ReadOptions:
    """Return how documents are read, from the options in their units on the command line."""
    from tools.raft.ingest.read import ReadOptions

    return ReadOptions(
        strict=strict,
        ocr=ocr,
        max_bytes=max_file_mb * 1024**2,
        parse_seconds=parse_seconds,
        parse_memory=parse_memory * 1024**2,
    )
