"""compare: the same questions through several arms → scores, paired differences, costs, a report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tools.raft.rag.search import Mode
from tools.verbs.options import INCOMPLETE

if TYPE_CHECKING:
    from tools.raft.evaluate.arms import Role


def compare(
    questions: Annotated[
        Path,
        typer.Option(
            help='JSON lines with "question", "answer" or "answers", "source" or "chunk_id".',
            metavar="F.jsonl",
        ),
    ],
    index: Annotated[Path, typer.Option(help="Folder that `index` made.", metavar="DIR")],
    baseline: Annotated[str, typer.Option(help="Base model: CONNECTION[:MODEL] or URL:MODEL.")],
    out: Annotated[Path, typer.Option(help="Folder for answers, scores and comparison.", metavar="DIR")],
    raft: Annotated[
        str, typer.Option(help="Model tuned on RAFT rows: CONNECTION[:MODEL] or URL:MODEL.")
    ] = "",
    dsf: Annotated[str, typer.Option(help="Model tuned without documents.")] = "",
    judge: Annotated[str, typer.Option(help="Model that judges, 1 to 5; none if left out.")] = "",
    arms: Annotated[
        str,
        typer.Option(help="Of closed_book, few_shot, rag, dsf, dsf_rag, raft; the first is compared with."),
    ] = "rag,raft",
    k: Annotated[int, typer.Option(min=1, max=16, help="Documents given to the model.")] = 4,
    mode: Annotated[Mode, typer.Option(help="How documents are found.")] = "fused",
    distractor_questions: Annotated[
        int, typer.Option(min=0, help="Questions asked again with 0 to 10 distractors; 0 for none.")
    ] = 100,
    without_oracle: Annotated[
        bool,
        typer.Option("--without-oracle", help="Ask all again with the oracle taken out of the documents."),
    ] = False,
    similarity: Annotated[
        bool, typer.Option("--similarity/--no-similarity", help="Embed answers, and compare their meaning.")
    ] = True,
    dataset: Annotated[
        Path | None,
        typer.Option(
            help="Dataset that was trained on: its cost, and whether it holds the questions.", metavar="DIR"
        ),
    ] = None,
    training_cost: Annotated[
        float | None, typer.Option(min=0, help="Dollars that the training cost.")
    ] = None,
    prices: Annotated[Path | None, typer.Option(help="Your own price table.", metavar="F.json")] = None,
    baseline_price: Annotated[str, typer.Option(help="Name in the price table, if not the model's.")] = "",
    raft_price: Annotated[str, typer.Option(help="Name in the price table, if not the model's.")] = "",
    workers: Annotated[int, typer.Option(min=1, max=1000, help="Calls at a time.")] = 32,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds before a call is tried again.")] = 120.0,
    seed: Annotated[int, typer.Option(help="Of the intervals and the sample.")] = 42,
) -> None:
    """Compare models on the same questions, with the same documents, prompts and decoding.

    [bold]Examples[/bold]

      python -m tools compare --questions q.jsonl --index index --out out --baseline openai:gpt-4o --raft mine
      python -m tools compare … --arms rag,closed_book,few_shot,raft --judge azure_openai:gpt-4o

    The report is report.html, which needs nothing beside it, and report.md; all figures: comparison.json.
    Run it again after an interruption, or to score anew: replies that were paid for are not paid for twice.
    Exit status: 0 all well, 1 a mistake, 3 calls failed and rows are missing (run again), 130 interrupted.
    """
    from tools.connections import lookup
    from tools.raft.evaluate.arms import choose_arms
    from tools.raft.evaluate.run import ComparisonPlan, run_comparison
    from tools.raft.models.endpoint import resolve_endpoint
    from tools.raft.models.pricing import load_prices
    from tools.verbs.progress import bar
    from tools.verbs.show_comparison import show_comparison

    named: dict[Role, str] = {"baseline": baseline, "dsf": dsf, "raft": raft}
    chosen = choose_arms([name.strip() for name in arms.split(",") if name.strip()],
                         [role for role, spec in named.items() if spec])  # fmt: skip
    roles = sorted({arm.role for arm in chosen})
    plan = ComparisonPlan(
        questions, index, out, chosen,
        {role: resolve_endpoint(named[role], lookup=lookup) for role in roles},
        load_prices(prices),
        judge=resolve_endpoint(judge, lookup=lookup) if judge else None,
        k=k, mode=mode, distractor_questions=distractor_questions, without_oracle=without_oracle,
        similarity=similarity, dataset=dataset, training_cost=training_cost,
        price_names={"baseline": baseline_price, "raft": raft_price, "dsf": raft_price},
        workers=workers, timeout=timeout, seed=seed,
    )  # fmt: skip
    result = run_comparison(plan, lookup=lookup, progress=bar)
    show_comparison(result.comparison, result.report)
    if not result.complete:
        raise typer.Exit(INCOMPLETE)
