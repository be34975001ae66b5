"""Terminal output of the verbs: tables, notes, and a last line with what was written and where."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tools.raft.errors import AGAIN, UserError
from tools.raft.generate.estimate import estimate_generation, prompt_overhead
from tools.raft.generate.pipeline import BuildResult
from tools.raft.generate.row_lengths import Forecast
from tools.raft.generate.settings import DatasetSettings
from tools.raft.ingest.account import LARGE_SHARE, describe_reasons, total_account
from tools.raft.ingest.corpus import Corpus
from tools.raft.models.endpoint import Endpoint
from tools.raft.models.pricing import Price, show_dollars
from tools.raft.rag.index_store import IndexManifest
from tools.verbs.show_endpoints import show_endpoints
from tools.verbs.show_pairs import show_pairs

console = Console(highlight=False)
_MOST_NAMED = 20  # files, of those that lost much of their text


def corpus(corpus: Corpus, endpoint: Endpoint, given: Sequence[object]) -> None:
    """Print what was read, what was left out, and which model will be called."""
    tokens = sum(chunk["tokens"] for chunk in corpus.chunks)
    console.print(f"{corpus.documents} documents, {len(corpus.chunks)} chunks, {tokens:,} tokens")
    account(corpus)
    if given:
        console.print(f"{len(given)} questions of your own")
    if endpoint.constrained:
        console.print(
            "Model: the embedded teacher: small, trained to ask and quote; many of its rows are rejected.\n"
            "  For a dataset of your own, choose a large model with --connection or --base-url."
        )
    else:
        console.print(f"Model: {escape(str(endpoint))}")


def account(corpus: Corpus) -> None:
    """Print what was left out, and what became of the characters of the documents.

    Files that lost more than LARGE_SHARE of their characters are named.
    """
    for row in corpus.rejected:
        if row["stage"] == "document":
            _left_out(str(row["source"]), str(row["reason"]))
    large = [item for item in corpus.accounts if item.share_lost > LARGE_SHARE]
    for item in large[:_MOST_NAMED]:
        _left_out(item.source, item.describe_loss())
    if len(large) > _MOST_NAMED:
        _left_out(
            f"{len(large) - _MOST_NAMED} more files", "over a tenth of their characters; see manifest.json"
        )
    total = total_account(corpus.accounts)
    reasons = f"; left out: {describe_reasons(total.left_out)}" if total.left_out else ", nothing left out"
    console.print(
        f"  {total.seen:,} letters and digits seen, {total.kept:,} kept{escape(reasons)}",
        style="dim",
        soft_wrap=True,
    )


def _left_out(source: str, reason: str) -> None:
    console.print(f"  [yellow]left out[/yellow] {escape(source)}: {escape(reason)}", soft_wrap=True)


def index(manifest: IndexManifest, out: Path, *, dropped: bool = False) -> None:
    """Print what changed in an index; the last line says where it is.

    dropped: the chunks are not those any more that `calibrate` fitted when to refuse for.
    """
    changes = manifest["changes"]
    console.print(", ".join(f"{count:,} {name}" for name, count in changes.items()), style="dim")
    if manifest["cut"]:
        console.print(
            f"[yellow]note[/yellow] {manifest['cut']:,} chunks are longer than the input of "
            f"{escape(manifest['model'])}, which truncates them: a smaller --chunk-size avoids that",
            soft_wrap=True,
        )
    if dropped:
        console.print(
            "[yellow]note[/yellow] the chunks have changed, so nothing is refused any more: "
            "run `calibrate` again"
        )
    search = "exact search" if manifest["kind"] == "exact" else "approximate search"
    console.print(
        f"Index: {manifest['chunks']:,} chunks from {manifest['sources']:,} sources in {out} "
        f"({escape(manifest['model'])}, {manifest['dimensions']} dimensions, {search})",
        soft_wrap=True,
    )


def replaced(documents: Sequence[str]) -> None:
    """Print which documents of an index are replaced."""
    for document in documents[:_MOST_NAMED]:
        console.print(f"  replaced {escape(document)}", soft_wrap=True)
    if len(documents) > _MOST_NAMED:
        console.print(f"  replaced {len(documents) - _MOST_NAMED} more documents")


def estimate(
    corpus: Corpus,
    endpoint: Endpoint,
    settings: DatasetSettings,
    *,
    given: int,
    prices: Mapping[str, Price],
    share: float = 1.0,
) -> None:
    """Print the estimate of a generation: chunks, calls, tokens and dollars.

    share: of the list price that is paid, as for batches.
    """
    result = estimate_generation(
        (chunk["tokens"] for chunk in corpus.chunks),
        questions=settings.questions,
        prompt_overhead_tokens=prompt_overhead(endpoint, {chunk["kind"] for chunk in corpus.chunks}),
        given=given,
        # About as many pairs as chunks: how many exactly is known once they are linked.
        pairs=sum(chunk["kind"] == "text" for chunk in corpus.chunks) if settings.hops > 1 else 0,
        model=endpoint.model,
        prices=prices,
    )
    table = Table(title="Dry run: no calls were made", show_header=False)
    table.add_row("chunks", f"{len(corpus.chunks):,}")
    table.add_row("calls", f"{result.calls:,}")
    table.add_row("tokens in, estimated", f"{result.prompt_tokens:,}")
    table.add_row("tokens out, estimated", f"{result.completion_tokens:,}")
    cost = None if result.dollars is None else share * result.dollars
    in_batches = f" in batches, {share:.0%} of the list price" if share < 1 else ""
    table.add_row("cost, estimated", f"{show_dollars(cost, endpoint.model)}{in_batches}")
    console.print(table)


def forecast(forecast: Forecast) -> None:
    """Print the longest row to come, or a warning if some will be too long."""
    if warning := forecast.check():
        console.print(f"[yellow]note[/yellow] {escape(warning)}", soft_wrap=True)
    else:
        console.print(f"Lengths: {escape(forecast.describe())}", soft_wrap=True)


def dataset(result: BuildResult, manifest: Mapping[str, Any], out: Path) -> None:
    """Print sample rows, counts, rejections, time and cost; the last line says where the dataset is."""
    for row in sample_rows(out / "raft.jsonl"):
        show_row(row)
    counts = manifest["counts"]
    table = Table(title="Dataset", show_header=False)
    table.add_row("documents, chunks", f"{counts['documents']}, {counts['chunks']}")
    table.add_row("rows", str(result.counts.rows))
    for split, rows in sorted(counts["rows_by_split"].items()):
        table.add_row(f"  {split}", str(rows))
    table.add_row("  generated questions", str(counts["rows_by_origin"].get("generated", 0)))
    table.add_row("  given questions", str(counts["rows_by_origin"].get("given", 0)))
    if result.counts.several:
        table.add_row("  questions that need several documents", str(result.counts.several))
    table.add_row("  with the oracle among the documents", str(counts["rows_with_oracle"]))
    console.print(table)
    if result.rejected:
        table = Table("reason", "rows", title="Rejected, see rejected.jsonl")
        for reason, count in result.rejected.most_common():
            table.add_row(escape(reason), str(count))
        console.print(table)
    show_pairs(result.files, console)
    for note in result.notes:
        console.print(f"[yellow]note[/yellow] {escape(note)}")
    usage = result.usage
    console.print(
        f"{usage.calls} calls paid, {usage.cached_calls} cache hits, {usage.retries} retries; "
        f"tokens in {usage.prompt_tokens + usage.cached_prompt_tokens:,}, "
        f"out {usage.completion_tokens + usage.cached_completion_tokens:,}; "
        f"cost {show_dollars(manifest['cost_dollars'], manifest['models']['teacher'])}; "
        f"{result.seconds:.1f} s"
    )
    show_endpoints(result.endpoints, console)
    if result.counts.missing:
        console.print(
            f"{result.counts.missing} rows are missing, as calls failed: {describe_failure(result)}",
            style="red",
            markup=False,
            soft_wrap=True,
        )
    console.print(f"Dataset: {result.counts.rows} rows in {out}", soft_wrap=True)


def describe_failure(result: BuildResult) -> str:
    """Say why the last call failed, and what to do."""
    reason = result.counts.failure.removeprefix("call failed: ")
    return reason if AGAIN in reason else f"{reason}; {AGAIN}"


def sample_rows(path: Path, count: int = 3) -> list[dict[str, Any]]:
    """Pick rows from the start, the middle and the end of a dataset, at least one of each origin."""
    offsets: dict[str, list[int]] = {}
    with path.open("rb") as file:
        offset = 0
        for line in file:
            offsets.setdefault(json.loads(line)["origin"], []).append(offset)
            offset += len(line)
        generated, given = offsets.get("generated", []), offsets.get("given", [])
        chosen = given[len(given) // 2 :][: 1 if generated else count]
        rest = count - len(chosen)
        chosen += [generated[len(generated) * i // rest] for i in range(min(rest, len(generated)))]
        rows = []
        for start in sorted(set(chosen)):
            file.seek(start)
            rows.append(json.loads(file.readline()))
    return rows


def show_row(row: Mapping[str, Any]) -> None:
    """Print one record: question, source, documents and answer."""
    page = f", page {row['page']}" if row["page"] else ""
    indices = row.get("oracle_indices") or ([row["oracle_index"]] if row["has_oracle"] else [])
    documents = len(row["distractor_ids"]) + len(indices)
    numbers = " and ".join(str(index + 1) for index in indices)
    oracle = f"the oracle is number {numbers}" if indices else "without the oracle"
    origin = "given" if row["origin"] == "given" else "generated"
    table = Table(
        show_header=False, title=f"{escape(row['source'])}{page}", title_justify="left", expand=True
    )
    table.add_column(width=9)
    table.add_column(ratio=1)
    table.add_row("question", f"{escape(row['question'])}  [dim]({origin})[/dim]")
    table.add_row("documents", f"{documents}, {oracle}")
    table.add_row("answer", escape(row["cot_answer"]))
    console.print(table)


def tuned(record: Mapping[str, Any], folder: Path) -> None:
    """Print the result of a local training. Raise UserError if it failed."""
    if record["state"] != "succeeded":
        raise UserError(f"the training {record['state']}: {record['message']}; run the same command again")
    metrics = record["result"]["metrics"]
    console.print(
        f"Tuned model: {metrics['tokens']:,} tokens in {metrics['seconds']:.0f} s, "
        f"adapter in {folder / 'adapter.gguf'}",
        soft_wrap=True,
    )


def answers(base: Sequence[Mapping[str, Any]], tuned: Sequence[Mapping[str, Any]]) -> None:
    """Print the answer of each chat flow to the demo's questions, with its sources."""
    from tools.raft.rag.citations import show_answer

    for row, raft in zip(base, tuned, strict=True):
        table = Table(show_header=False, title=escape(row["question"]), title_justify="left", expand=True)
        table.add_column(width=10)
        table.add_column(ratio=1)
        for flow, answered in (("chat_rag", row), ("RAFT", raft)):
            text = answered["error"] or show_answer(answered, answered["documents"])  # type: ignore[arg-type]
            table.add_row(flow, escape(text))
        console.print(table)
    console.print(
        "Both chat flows were given the same documents. chat_rag used the base model, RAFT the one tuned on "
        "a few dozen rows: enough to learn the answer format, far too few to learn the subject."
    )
    console.print(
        f"Answers: {sum(row['answered'] for row in base)} of {len(base)} by chat_rag, "
        f"{sum(row['answered'] for row in tuned)} of {len(tuned)} by RAFT"
    )
