"""Ask the arms of a comparison all that it needs, and a judge about their answers, with progress shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools.verbs.answer import write_rows

if TYPE_CHECKING:
    from tools.raft.arms import Arm
    from tools.raft.client import Client
    from tools.raft.index import Hit
    from tools.raft.score import Gold, Scores

LADDER = (0, 1, 2, 4, 6, 8, 10)  # distractors beside the oracle

Row = dict[str, Any]


@dataclass
class Inputs:
    """What all arms are asked, and what is known of it."""

    questions: list[Row]
    ids: list[str]
    golds: list[Gold]
    hits: list[list[Hit]]  # as deep as the ladder needs
    k: int
    ladder: list[int]  # positions of the questions that the ladder is asked
    without_oracle: bool  # whether all are asked again with the oracle taken out

    @property
    def documents(self) -> list[list[Hit]]:
        return [hits[: self.k] for hits in self.hits]


@dataclass
class Asked:
    """What the arms answered, by name of the arm."""

    answers: dict[str, list[Row]] = field(default_factory=dict)
    climbed: dict[str, dict[int, list[Row]]] = field(default_factory=dict)  # by distractors beside the oracle
    bare: dict[str, list[Row]] = field(default_factory=dict)  # with the oracle taken out


async def ask_arms(arms: Sequence[Arm], inputs: Inputs, client: Client, out: Path, asked: Asked) -> None:
    """Ask one model for its arms; those with documents again as distractors grow and without the oracle."""
    from tools.raft.arms import ask_arm, read_rows

    async with client:
        for arm in arms:
            path = out / "answers" / f"{arm.name}.jsonl"
            with bar(f"asking {arm.name}", len(inputs.questions)) as on_answer:
                rows = await ask_arm(
                    arm, inputs.questions, inputs.ids, inputs.documents, client,
                    before=read_rows(path), on_answer=lambda: on_answer(1),
                )  # fmt: skip
            asked.answers[arm.name] = rows
            write_rows(rows, path)
            if arm.with_documents and inputs.ladder:
                asked.climbed[arm.name] = await _climb(arm, inputs, client)
            if arm.with_documents and inputs.without_oracle:
                path = out / "answers" / f"{arm.name}.without_oracle.jsonl"
                asked.bare[arm.name] = await _ask_bare(arm, inputs, client, read_rows(path))
                write_rows(asked.bare[arm.name], path)


async def _climb(arm: Arm, inputs: Inputs, client: Client) -> dict[int, list[Row]]:
    """Ask the questions of the ladder with a growing number of distractors: the same at each count."""
    from tools.raft.arms import with_distractors

    given = {
        at: with_distractors(inputs.hits[at], inputs.golds[at], LADDER, inputs.ids[at])
        for at in inputs.ladder
    }
    able = [at for at in inputs.ladder if given[at]]
    climbed = {}
    with bar(f"asking {arm.name} with distractors", len(able) * len(LADDER)) as on_answer:
        for step, count in enumerate(LADDER):
            climbed[count] = await _ask_some(
                arm, inputs, {at: given[at][step] for at in able}, client, on_answer
            )
    return climbed


async def _ask_bare(arm: Arm, inputs: Inputs, client: Client, before: Mapping[str, Row]) -> list[Row]:
    """Ask all questions that can be with as many documents, none of which holds the answer."""
    from tools.raft.arms import without_oracle

    given = {
        at: without_oracle(hits, gold, inputs.k)
        for at, (hits, gold) in enumerate(zip(inputs.hits, inputs.golds, strict=True))
    }
    given = {at: hits for at, hits in given.items() if hits}
    with bar(f"asking {arm.name} without the oracle", len(given)) as on_answer:
        return await _ask_some(arm, inputs, given, client, on_answer, before)


async def _ask_some(
    arm: Arm,
    inputs: Inputs,
    given: Mapping[int, Sequence[Hit]],
    client: Client,
    on_answer: Callable[[int], None],
    before: Mapping[str, Row] | None = None,
) -> list[Row]:
    from tools.raft.arms import ask_arm

    return await ask_arm(
        arm, [inputs.questions[at] for at in given], [inputs.ids[at] for at in given],
        list(given.values()), client, before=before, on_answer=lambda: on_answer(1),
    )  # fmt: skip


async def judge_arms(
    answers: Mapping[str, Sequence[Row]],
    scores: Mapping[str, Sequence[Scores]],
    inputs: Inputs,
    client: Client,
    out: Path,
) -> None:
    """Have all answers judged: the scores join the others, what the judge said goes to judged.jsonl."""
    from tools.raft.judge import ABOUT, judge_answers

    told = []
    async with client:
        for arm, rows in answers.items():
            with bar(f"judging {arm}", len(rows) * len(ABOUT)) as on_verdict:
                verdicts = await judge_answers(rows, inputs.golds, client, on_verdict=lambda: on_verdict(1))
            for id, scored, of in zip(inputs.ids, scores[arm], verdicts, strict=True):
                scored |= {f"judge_{name}": verdict.score for name, verdict in of.items()}
                told += [{"id": id, "arm": arm, "metric": name, "score": verdict.score, "said": verdict.said,
                          "error": verdict.error} for name, verdict in of.items()]  # fmt: skip
    write_rows(told, out / "judged.jsonl")


@contextmanager
def bar(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show how far something is, where someone looks."""
    from rich.console import Console
    from rich.progress import Progress

    # In a file a bar that came and went would leave an empty line.
    with Progress(transient=True, refresh_per_second=4, disable=not Console().is_terminal) as bar:
        task = bar.add_task(what, total=total)
        yield lambda count: bar.advance(task, count)
