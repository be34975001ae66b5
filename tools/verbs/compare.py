"""compare: several arms' answers to the same questions → scores, paired differences, costs and a report."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tools.raft.choices import FOCUS_SHARE, Mode
from tools.raft.errors import UserError
from tools.verbs.options import (
    INCOMPLETE,
    AlwaysAnswer,
    Batch,
    FocusOption,
    FocusShare,
    Hedge,
    MaxCalls,
    MaxCost,
    MlflowDocuments,
    MlflowOption,
    MorePaths,
    Prices,
    QuotesOption,
    Timeout,
    make_batcher,
    make_budget,
    named_endpoints,
)

if TYPE_CHECKING:
    from tools.raft.evaluate.arms import Role
    from tools.raft.models.batcher import Batcher
    from tools.raft.models.endpoint import Endpoint


def compare(
    out: Annotated[Path, typer.Option(help="Folder for answers, scores and comparison.", metavar="DIR")],
    questions: Annotated[
        Path | None,
        typer.Option(
            help='JSON lines with "question", "answer" or "answers", "source" or "chunk_id"; "oracles" lists '
            "several that are all needed.",
            metavar="F.jsonl",
        ),
    ] = None,
    index: Annotated[Path | None, typer.Option(help="Folder that `index` wrote.", metavar="DIR")] = None,
    baseline: Annotated[
        list[str] | None,
        typer.Option(
            help="Base model: CONNECTION[:MODEL] or URL:MODEL. Like the other models, repeat it for several "
            "endpoints of one.",
            metavar="MODEL",
        ),
    ] = None,
    raft: Annotated[
        list[str] | None, typer.Option(help="Model fine-tuned on RAFT rows.", metavar="MODEL")
    ] = None,
    student: Annotated[
        list[str] | None,
        typer.Option(
            help="Model fine-tuned on RAFT rows of other documents: data/student/student.gguf.",
            metavar="MODEL",
        ),
    ] = None,
    dsf: Annotated[
        list[str] | None, typer.Option(help="Model fine-tuned without documents.", metavar="MODEL")
    ] = None,
    runs: Annotated[
        list[str] | None,
        typer.Option(
            help="Instead of asking: promptflow runs of flows/evaluate, by name or folder; the first is the "
            "baseline.",
            metavar="RUN RUN…",
        ),
    ] = None,
    more: MorePaths = None,
    judge: Annotated[
        list[str] | None,
        typer.Option(help="Judge model, scores 1 to 5; no judge if omitted.", metavar="MODEL"),
    ] = None,
    arms: Annotated[
        str,
        typer.Option(
            help="Of closed_book, few_shot, rag, student, dsf, dsf_rag, raft; the first is the baseline."
        ),
    ] = "rag,raft",
    k: Annotated[int, typer.Option(min=1, max=16, help="Documents retrieved per question.")] = 4,
    mode: Annotated[Mode, typer.Option(help="Retrieval mode.")] = "fused",
    focus: FocusOption = False,
    focus_share: FocusShare = FOCUS_SHARE,
    always_answer: AlwaysAnswer = False,
    quotes: QuotesOption = "free",
    distractor_questions: Annotated[
        int, typer.Option(min=0, help="Questions repeated with 0 to 10 distractors; 0 skips this.")
    ] = 100,
    without_oracle: Annotated[
        bool,
        typer.Option(
            "--without-oracle", help="Repeat all questions with the oracle removed from the documents."
        ),
    ] = False,
    similarity: Annotated[
        bool,
        typer.Option(
            "--similarity/--no-similarity", help="Score semantic similarity with an embedding model."
        ),
    ] = True,
    dataset: Annotated[
        Path | None,
        typer.Option(
            help="The training dataset, for its cost and to detect leaked questions.", metavar="DIR"
        ),
    ] = None,
    training_cost: Annotated[
        float | None, typer.Option(min=0, help="Cost of the training in dollars.")
    ] = None,
    prices: Prices = None,
    baseline_price: Annotated[str, typer.Option(help="Name in the price table, if not the model name.")] = "",
    raft_price: Annotated[str, typer.Option(help="Name in the price table, if not the model name.")] = "",
    workers: Annotated[int, typer.Option(min=1, max=1000, help="Maximum concurrent calls.")] = 32,
    timeout: Timeout = 120.0,
    hedge: Hedge = False,
    batch: Batch = False,
    max_cost: MaxCost = None,
    max_calls: MaxCalls = None,
    seed: Annotated[int, typer.Option(help="Seed of the intervals and of the sample.")] = 42,
    mlflow: MlflowOption = False,
    mlflow_documents: MlflowDocuments = False,
) -> None:
    """Compare models on the same questions, with the same documents, prompts and decoding.

    [bold]Examples[/bold]

      python -m tools compare --questions q.jsonl --index index --out out
      --baseline openai:gpt-6-luna --raft mine
      python -m tools compare … --arms rag,closed_book,few_shot,raft --judge azure_openai:gpt-5.6-luna
      python -m tools compare --runs rag-scores raft-scores --out out

    Writes report.html (self-contained), report.md and, with all figures, comparison.json.
    Run it again to resume after an interruption, or to rescore: no reply is paid for twice.
    Exit status: 0 success, 1 user error, 3 calls failed, rows are missing (run again), 130 interrupted.
    """
    from tools.connections import lookup_without_file
    from tools.raft.evaluate.arms import choose_arms
    from tools.raft.evaluate.run import ComparisonPlan, run_comparison
    from tools.raft.models.cache import cache_directory
    from tools.raft.models.pricing import load_prices
    from tools.raft.share.tracking import open_tracker
    from tools.verbs.progress import bar
    from tools.verbs.show_comparison import show_comparison

    tracker = open_tracker() if mlflow or mlflow_documents else None
    if runs:
        from tools.batch_runs import find_scored_run
        from tools.raft.evaluate.compare_runs import compare_runs

        if questions or index or baseline:
            raise UserError("--runs asks no questions: leave out --questions, --index and --baseline")
        result = compare_runs(
            [find_scored_run(name) for name in (*runs, *(more or ()))],
            out,
            prices=load_prices(prices),
            price_names=(baseline_price, raft_price),
            dataset=dataset,
            training_cost=training_cost,
            seed=seed,
        )
        show_comparison(result.comparison, result.report)
        if tracker:
            print(tracker.log_comparison(result.comparison, out, dataset=dataset, texts=mlflow_documents))
        return
    if more:
        raise UserError(f"unexpected argument {more[0]!r}")
    if questions is None or index is None or not baseline:
        raise UserError("nothing to compare: give --questions, --index, --baseline and --raft, or --runs A B")
    models: dict[Role, list[str]] = {
        "baseline": baseline, "student": student or [], "dsf": dsf or [], "raft": raft or [],
    }  # fmt: skip
    chosen = choose_arms([name.strip() for name in arms.split(",") if name.strip()],
                         [role for role, model in models.items() if model])  # fmt: skip
    roles = sorted({arm.role for arm in chosen})

    def batcher_for(own: Sequence[Endpoint]) -> Batcher | None:
        return make_batcher(own, cache_directory(out), batch=batch, batch_files=None)

    table = load_prices(prices)
    endpoints = {role: named_endpoints(models[role], "", "", None) for role in roles}
    judges = named_endpoints(judge, "", "", None) if judge else []
    for own in filter(None, (*endpoints.values(), judges)):
        batcher_for(own)  # raises before anything is paid
    plan = ComparisonPlan(
        questions, index, out, chosen, endpoints, table, judge=judges,
        make_batcher=batcher_for,
        budget=make_budget(max_cost, max_calls, table, [*chain(*endpoints.values()), *judges]),
        k=k, mode=mode, focus=focus, focus_share=focus_share, always_answer=always_answer, quotes=quotes,
        distractor_questions=distractor_questions, without_oracle=without_oracle,
        similarity=similarity, dataset=dataset, training_cost=training_cost,
        price_names={
            "baseline": baseline_price, "student": raft_price, "dsf": raft_price, "raft": raft_price,
        },
        workers=workers, timeout=timeout, hedge=hedge, seed=seed,
    )  # fmt: skip
    result = run_comparison(plan, lookup=lookup_without_file, progress=bar)
    show_comparison(result.comparison, result.report, endpoints=result.endpoints)
    if tracker:
        print(tracker.log_comparison(result.comparison, out, dataset=dataset, texts=mlflow_documents))
    if not result.complete:
        raise typer.Exit(INCOMPLETE)
