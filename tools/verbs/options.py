"""Options that several verbs share, and the endpoint they resolve to."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tools.raft.choices import Api, Negatives, NoOracle, Order, Quotes
from tools.raft.errors import CallsFailed, UserError

if TYPE_CHECKING:
    from tools.raft.ingest.read import ReadOptions
    from tools.raft.models.batcher import Batcher
    from tools.raft.models.budget import Budget
    from tools.raft.models.endpoint import Endpoint
    from tools.raft.models.pricing import Price

log = logging.getLogger(__name__)

# Exit status: rows are missing as calls failed; running again may complete them.
INCOMPLETE = CallsFailed.status


Connection = Annotated[
    list[str] | None,
    typer.Option(
        help="A connection of connections/ or of promptflow, NAME:MODEL, URL:MODEL, or an adapter F.gguf; "
        "repeat it for several endpoints of one model.",
        metavar="NAME",
    ),
]
Hedge = Annotated[
    bool,
    typer.Option(
        "--hedge",
        help="At the end, ask free endpoints what slow ones have not answered: for those paid by the hour.",
    ),
]
Model = Annotated[str, typer.Option(help="Model name; on Azure OpenAI the deployment name.")]
BaseUrl = Annotated[
    str, typer.Option(help="An OpenAI-compatible URL instead of a connection; its key in RAFT_API_KEY.")
]
ApiKind = Annotated[
    Api | None, typer.Option(help="The API to call; by default inferred from the URL, else chat.")
]
Timeout = Annotated[
    float,
    typer.Option(min=1, help="Seconds before a call is aborted and retried; the embedded model has 900."),
]
Batch = Annotated[
    bool,
    typer.Option("--batch", help="Have calls answered in batches, within 24 hours at half the price."),
]
BatchFiles = Annotated[
    Path | None,
    typer.Option(
        help="Write the calls to files in this folder, for `vllm run-batch`, and read the replies there.",
        metavar="DIR",
    ),
]
MaxCost = Annotated[
    float | None,
    typer.Option(
        min=0,
        help="Dollars that may be paid now; run again with more for what is missing then.",
        metavar="DOLLARS",
    ),
]
MaxCalls = Annotated[int | None, typer.Option(min=0, help="Calls that may be paid now.")]
Prices = Annotated[
    Path | None,
    typer.Option(help="Your own price table; see tools/raft/models/prices.json.", metavar="F.json"),
]
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
MlflowOption = Annotated[
    bool,
    typer.Option(
        "--mlflow",
        help="Log settings, metrics and figures to MLflow: at MLFLOW_TRACKING_URI, or in mlflow.db here.",
    ),
]
MlflowDocuments = Annotated[
    bool,
    typer.Option("--mlflow-documents", help="The same, and the report's questions, answers and documents."),
]
MorePaths = Annotated[list[str] | None, typer.Argument(hidden=True, metavar="[PATH]…")]


def named_endpoints(
    connections: Sequence[str] | None,
    model: str,
    base_url: str,
    api: Api | None,
    *,
    embedded_model: str = "",
) -> list[Endpoint]:
    """Return the endpoints that the options name, by default the embedded model.

    Raise UserError if one of them cannot be called; warn if they are of different models.
    """
    from tools.connections import lookup_without_file
    from tools.raft.models.endpoint import EMBEDDED_MODEL, resolve_endpoint

    return check_pool(
        [
            resolve_endpoint(
                connection or None,
                model=model or None,
                base_url=base_url or None,
                api=api,
                lookup=lookup_without_file,
                embedded_model=embedded_model or EMBEDDED_MODEL,
            )
            for connection in connections or [""]
        ]
    )


def check_pool(endpoints: list[Endpoint]) -> list[Endpoint]:
    """Return the endpoints, each once; warn if they are of different models."""
    pool = list(dict.fromkeys(endpoints))
    if len(models := dict.fromkeys(endpoint.model for endpoint in pool)) > 1:
        log.warning(
            "%s are asked as one model, by their names they are several: each row says which gave it",
            " and ".join(models),
        )
    return pool


def make_batcher(
    endpoints: Sequence[Endpoint], cache: Path | None, *, batch: bool, batch_files: Path | None
) -> Batcher | None:
    """Return what puts calls into batches, if the options ask for it. Raise UserError if it cannot be."""
    from tools.raft.models.batch_service import BatchFiles, HostedBatches
    from tools.raft.models.batcher import FOLDER, Batcher
    from tools.verbs.progress import console

    if not batch and not batch_files:
        return None
    if batch and batch_files:
        raise UserError("--batch and --batch-files exclude each other: give one of them")
    if len(endpoints) > 1:
        raise UserError(f"a batch is for one endpoint, and {len(endpoints)} are named: name one")
    endpoint = endpoints[0]
    service = BatchFiles(endpoint, batch_files) if batch_files else HostedBatches(endpoint)
    folder = (cache or Path(".cache")) / FOLDER
    return Batcher(service, folder, on_status=lambda line: console.print(line, markup=False, soft_wrap=True))


def make_budget(
    max_cost: float | None, max_calls: int | None, prices: Mapping[str, Price], endpoints: Iterable[Endpoint]
) -> Budget | None:
    """Return the budget that the options set. Raise UserError if a price is not known that it needs."""
    from tools.raft.models.budget import Budget

    if max_cost is None and max_calls is None:
        return None
    budget = Budget(max_dollars=max_cost, max_calls=max_calls, prices=prices)
    budget.check(endpoints)
    return budget


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
