"""Show people what is going on: progress, tables, and a last line that says what was made and where."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tools.raft.errors import UserError
from tools.raft.generate.estimate import estimate_generation, prompt_overhead
from tools.raft.generate.pipeline import BuildResult, DatasetSettings
from tools.raft.ingest.corpus import Corpus
from tools.raft.models.endpoint import Endpoint
from tools.raft.models.pricing import Price, show_dollars
from tools.raft.rag.index_store import IndexManifest

console = Console(highlight=False)


def corpus(corpus: Corpus, endpoint: Endpoint, given: Sequence[object]) -> None:
    """Say what was read, what was left out, and which model will be asked."""
    tokens = sum(chunk["tokens"] for chunk in corpus.chunks)
    console.print(f"{corpus.documents} documents, {len(corpus.chunks)} chunks, {tokens:,} tokens")
    left_out(corpus)
    if given:
        console.print(f"{len(given)} questions of your own")
    if endpoint.constrained:
        console.print(
            "Model: the embedded teacher, small and trained to ask and quote; many of its rows are refused.\n"
            "  For a dataset of your own, name a large one: --connection or --base-url."
        )
    else:
        console.print(f"Model: {escape(str(endpoint))}")


def left_out(corpus: Corpus) -> None:
    """Say which documents were left out, and why."""
    for row in corpus.rejected:
        if row["stage"] == "document":
            console.print(
                f"  [yellow]left out[/yellow] {escape(str(row['source']))}: {escape(str(row['reason']))}"
            )


def index(manifest: IndexManifest, out: Path) -> None:
    """Say what changed in an index; the last line says where it is."""
    changes = manifest["changes"]
    console.print(", ".join(f"{count:,} {name}" for name, count in changes.items()), style="dim")
    if manifest["cut"]:
        console.print(
            f"[yellow]note[/yellow] {manifest['cut']:,} chunks are longer than {escape(manifest['model'])} "
            "reads, their vectors are of their beginning: a smaller --chunk-size avoids that",
            soft_wrap=True,
        )
    search = "exact search" if manifest["kind"] == "exact" else "approximate search"
    console.print(
        f"Index: {manifest['chunks']:,} chunks of {manifest['sources']:,} sources in {out} "
        f"({escape(manifest['model'])}, {manifest['dimensions']} dimensions, {search})",
        soft_wrap=True,
    )


def estimate(
    corpus: Corpus, endpoint: Endpoint, settings: DatasetSettings, *, given: int, prices: Mapping[str, Price]
) -> None:
    """Print what a generation would take: chunks, calls, tokens and dollars."""
    result = estimate_generation(
        (chunk["tokens"] for chunk in corpus.chunks),
        questions=settings.questions,
        prompt_overhead_tokens=prompt_overhead(endpoint, {chunk["kind"] for chunk in corpus.chunks}),
        given=given,
        model=endpoint.model,
        prices=prices,
    )
    table = Table(title="Dry run: nothing was called", show_header=False)
    table.add_row("chunks", f"{len(corpus.chunks):,}")
    table.add_row("calls", f"{result.calls:,}")
    table.add_row("tokens in, about", f"{result.prompt_tokens:,}")
    table.add_row("tokens out, about", f"{result.completion_tokens:,}")
    table.add_row("cost, about", show_dollars(result.dollars, endpoint.model))
    console.print(table)


def dataset(result: BuildResult, manifest: Mapping[str, Any], out: Path) -> None:
    """Show three rows, counts, refusals by reason, time and cost; the last line says where the dataset is."""
    for row in sample_rows(out / "raft.jsonl"):
        show_row(row)
    counts = manifest["counts"]
    table = Table(title="Dataset", show_header=False)
    table.add_row("documents, chunks", f"{counts['documents']}, {counts['chunks']}")
    table.add_row("rows", str(result.counts.rows))
    for split, rows in sorted(counts["rows_by_split"].items()):
        table.add_row(f"  {split}", str(rows))
    table.add_row("  questions of the model", str(counts["rows_by_origin"].get("generated", 0)))
    table.add_row("  questions of people", str(counts["rows_by_origin"].get("given", 0)))
    table.add_row("  with the oracle among the documents", str(counts["rows_with_oracle"]))
    console.print(table)
    if result.rejected:
        refused = Table("refused because", "rows", title="Not in the dataset, kept in rejected.jsonl")
        for reason, count in result.rejected.most_common():
            refused.add_row(escape(reason), str(count))
        console.print(refused)
    for note in result.notes:
        console.print(f"[yellow]note[/yellow] {escape(note)}")
    usage = result.usage
    console.print(
        f"{usage.calls} calls paid now, {usage.cached_calls} out of the cache, {usage.retries} retries; "
        f"tokens in {usage.prompt_tokens + usage.cached_prompt_tokens:,}, "
        f"out {usage.completion_tokens + usage.cached_completion_tokens:,}; "
        f"cost {show_dollars(manifest['cost_dollars'], manifest['models']['teacher'])}; {result.seconds:.1f} s"
    )
    if result.counts.missing:
        console.print(
            f"[red]{result.counts.missing} rows are missing, calls failed: run the same command again[/red]"
        )
    console.print(f"Dataset: {result.counts.rows} rows in {out}", soft_wrap=True)


def sample_rows(path: Path, count: int = 3) -> list[dict[str, Any]]:
    """Pick rows from the start, the middle and the end of a dataset, one of each origin at least."""
    offsets: dict[str, list[int]] = {}
    with path.open("rb") as file:
        at = 0
        for line in file:
            offsets.setdefault(json.loads(line)["origin"], []).append(at)
            at += len(line)
        generated, given = offsets.get("generated", []), offsets.get("given", [])
        wanted = given[len(given) // 2 :][: 1 if generated else count]
        rest = count - len(wanted)
        wanted += [generated[len(generated) * i // rest] for i in range(min(rest, len(generated)))]
        rows = []
        for start in sorted(set(wanted)):
            file.seek(start)
            rows.append(json.loads(file.readline()))
    return rows


def show_row(row: Mapping[str, Any]) -> None:
    """Show one record: question, where it comes from, documents and answer."""
    page = f", page {row['page']}" if row["page"] else ""
    documents = len(row["distractor_ids"]) + row["has_oracle"]
    place = f"the oracle is number {row['oracle_index'] + 1}" if row["has_oracle"] else "without the oracle"
    who = "a person's question" if row["origin"] == "given" else "the model's question"
    table = Table(
        show_header=False, title=f"{escape(row['source'])}{page}", title_justify="left", expand=True
    )
    table.add_column(width=9)
    table.add_column(ratio=1)
    table.add_row("question", f"{escape(row['question'])}  [dim]({who})[/dim]")
    table.add_row("documents", f"{documents}, {place}")
    table.add_row("answer", escape(row["cot_answer"]))
    console.print(table)


def tuned(record: Mapping[str, Any], folder: Path) -> None:
    """Say what a training here came to. Raises UserError where it failed."""
    if record["state"] != "succeeded":
        raise UserError(f"the training {record['state']}: {record['message']}; run the same command again")
    metrics = record["result"]["metrics"]
    console.print(
        f"Tuned model: {metrics['tokens']:,} tokens in {metrics['seconds']:.0f} s, "
        f"adapter in {folder / 'adapter.gguf'}",
        soft_wrap=True,
    )


def answers(base: Sequence[Mapping[str, Any]], tuned: Sequence[Mapping[str, Any]]) -> None:
    """Show what the demo's questions got: the answer of each chat flow, and where it comes from."""
    from tools.raft.rag.citations import show_answer

    for row, raft in zip(base, tuned, strict=True):
        table = Table(show_header=False, title=escape(row["question"]), title_justify="left", expand=True)
        table.add_column(width=10)
        table.add_column(ratio=1)
        for flow, told in (("chat_rag", row), ("RAFT", raft)):
            said = told["error"] or show_answer(told, told["documents"])  # type: ignore[arg-type]
            table.add_row(flow, escape(said))
        console.print(table)
    console.print(
        "Both chat flows were given the same documents. chat_rag asked the embedded model as it comes, RAFT "
        "the one tuned on a few dozen rows: enough to see the form, far too few to learn the subject."
    )
    console.print(
        f"Answers: {sum(row['answered'] for row in base)} of {len(base)} by chat_rag, "
        f"{sum(row['answered'] for row in tuned)} of {len(tuned)} by RAFT"
    )
