"""Show what a training will take, and ask before it spends money or much time."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from tools.raft.errors import UserError

if TYPE_CHECKING:
    from tools.raft.finetune.backend import Backend, FineTuneSpec

ASK_SECONDS = 15 * 60  # a local training that takes longer is confirmed first


def confirm_training(
    jobs: Mapping[Path, tuple[Backend, FineTuneSpec]],
    console: Any,
    *,
    yes: bool,
    dry_run: bool,
    paid: bool,
    max_cost: float | None = None,
) -> None:
    """Print the estimate of each job and ask for confirmation of those that will be submitted now.

    Raises UserError if they may cost more than max_cost dollars, or nobody confirms.
    """
    from tools.raft.finetune.job import read_record
    from tools.raft.models.pricing import show_dollars
    from tools.raft.progress import describe_duration
    from tools.verbs.progress import bar

    total: float | None = 0.0
    new, seconds = 0, 0.0
    for folder, (service, spec) in jobs.items():
        with bar("estimating tokens and time", 0):
            estimate = service.estimate(spec)
        record = read_record(folder)
        submitted = record is not None and record["state"] not in ("failed", "cancelled", "refused")
        new += not submitted
        if not submitted:
            service.check_life(spec)
            seconds += estimate.seconds or 0.0
            total = None if total is None or estimate.dollars is None else total + estimate.dollars
        rate = "" if spec.learning_rate is None else f", learning rate {spec.learning_rate:g}"
        price = "" if not paid else f", {show_dollars(estimate.dollars, spec.model)}"
        state = f" (already {record['state']})" if submitted and record else ""
        epochs = "1 epoch" if spec.epochs == 1 else f"{spec.epochs:g} epochs"
        console.print(
            f"{spec.model}, {epochs}{rate}: about {estimate.tokens:,} tokens trained{price} "
            f"({estimate.basis}){state}",
            markup=False,
        )
    if new and paid and max_cost is not None and (total is None or total > max_cost):
        amount = "an amount that is not known" if total is None else f"about ${total:,.2f}"
        raise UserError(
            f"{new} job{'s' * (new > 1)} would cost {amount}: more than --max-cost ${max_cost:,.2f}"
        )
    if not new or dry_run or yes:
        return
    if not paid:
        asks = seconds > ASK_SECONDS and sys.stdin.isatty()
        if asks and not typer.confirm(f"Train here for about {describe_duration(seconds)}?"):
            raise UserError("not confirmed: nothing was trained; --minutes N cuts the time")
        return
    if not sys.stdin.isatty():
        raise UserError(
            "this costs money and there is no terminal to confirm on: see --dry-run, then add --yes"
        )
    amount = "an unknown amount" if total is None else f"about ${total:,.2f}"
    if not typer.confirm(f"Submit {new} job{'s' * (new > 1)} for {amount}?"):
        raise UserError("not confirmed: nothing was submitted")
