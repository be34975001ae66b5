"""Pick the questions that show a comparison best: the largest wins and losses, with all that was said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from ...raft_format import QUOTE
from ...rag.citations import cite
from ..compare import slices_of
from ..metrics import Scores
from ..score import Gold, from_oracle

MOST = 10  # wins, and as many losses, of an arm
# What a win is told by: the first of these that both arms have.
_BY = ("f1", "judge_similarity", "similarity", "correct_citation")

Row = Mapping[str, Any]
Piece = tuple[str, str]  # text, and what it is: "" plain, "verbatim" or "invented" for a quote


class Reply(TypedDict):
    """What an arm said to one question."""

    arm: str
    answer: str
    reasoning: list[Piece]
    score: float | None
    error: str


class Document(TypedDict):
    """A document that the arms were given, with what was quoted from it."""

    title: str
    source: str
    page: int | None
    oracle: bool
    text: list[Piece]


class Example(TypedDict):
    """One question with both arms' replies; `difference` is the arm's score less the baseline's."""

    id: str
    question: str
    golds: list[str]
    arm: str
    outcome: str  # "win" or "loss"
    metric: str
    difference: float
    slices: dict[str, str]
    replies: list[Reply]
    documents: list[Document]


def pick_examples(
    ids: Sequence[str],
    questions: Sequence[Row],
    golds: Sequence[Gold],
    answers: Mapping[str, Sequence[Row]],
    scores: Mapping[str, Sequence[Scores]],
    *,
    baseline: str,
    most: int = MOST,
) -> list[Example]:
    """Pick of each arm the `most` largest wins over the baseline and the `most` largest losses.

    ApiError by F1, or by what there is where no gold answers are. Of equal differences the earlier question
    comes first; a question that only one of them answered is neither a win nor a loss.
    """
    examples: list[Example] = []
    for arm in scores:
        metric = told_by(scores, baseline, arm)
        if arm == baseline or not metric:
            continue
        rows = slices_rows(questions, golds, answers[arm], answers[baseline])
        pairs = []
        for at, (ours, theirs) in enumerate(zip(scores[arm], scores[baseline], strict=True)):
            mine, other = ours.get(metric), theirs.get(metric)
            if mine is not None and other is not None and mine != other:
                pairs.append((mine - other, at))
        wins = sorted((pair for pair in pairs if pair[0] > 0), key=lambda pair: (-pair[0], pair[1]))[:most]
        losses = sorted((pair for pair in pairs if pair[0] < 0), key=lambda pair: (pair[0], pair[1]))[:most]
        for difference, at in (*wins, *losses):
            both = {name: (answers[name][at], scores[name][at].get(metric)) for name in (baseline, arm)}
            examples.append(
                {
                    "id": ids[at],
                    "question": str(questions[at]["question"]),
                    "golds": list(golds[at].answers or ()),
                    "arm": arm,
                    "outcome": _outcome(difference, 0.0),
                    "metric": metric,
                    "difference": difference,
                    "slices": rows[at],
                    "replies": [_reply(name, row, score) for name, (row, score) in both.items()],
                    "documents": _documents([row for row, _ in both.values()], golds[at]),
                }
            )
    return examples


def tabulate(
    ids: Sequence[str],
    questions: Sequence[Row],
    golds: Sequence[Gold],
    answers: Mapping[str, Sequence[Row]],
    scores: Mapping[str, Sequence[Scores]],
    *,
    baseline: str,
) -> list[dict[str, Any]]:
    """Give a row for each question: its gold answers, slices, each arm's answer, and who won."""
    metrics = {arm: told_by(scores, baseline, arm) for arm in scores}
    slices = slices_rows(questions, golds, *answers.values())
    rows = []
    for at, id in enumerate(ids):
        replies, outcomes = [], []
        for arm, metric in metrics.items():
            score, other = scores[arm][at].get(metric), scores[baseline][at].get(metric)
            row = answers[arm][at]
            replies.append({"arm": arm, "answer": row["answer"], "score": score, "error": row["error"]})
            if arm != baseline:
                outcomes.append(_outcome(score, other))
        rows.append(
            {
                "id": id,
                "question": str(questions[at]["question"]),
                "golds": list(golds[at].answers or ()),
                "slices": slices[at],
                "replies": replies,
                "outcomes": list(dict.fromkeys(outcomes)),
            }
        )
    return rows


def _outcome(score: float | None, other: float | None) -> str:
    if score is None or other is None:
        return "missing"
    return "same" if score == other else "win" if score > other else "loss"


def told_by(scores: Mapping[str, Sequence[Scores]], baseline: str, arm: str) -> str:
    """Name the metric by which wins and losses are told; empty where the two share none."""
    for name in _BY:
        if all(any(row.get(name) is not None for row in scores[of]) for of in (baseline, arm)):
            return name
    return ""


def slices_rows(
    questions: Sequence[Row], golds: Sequence[Gold], *answers: Sequence[Row]
) -> list[dict[str, str]]:
    """Give each question its slices; the documents are those of the first arm that got any."""
    given: list[Sequence[Any]] = [
        next((of["documents"] for of in rows if of["documents"]), []) for rows in zip(*answers, strict=True)
    ]
    slices = slices_of(questions, golds, given)
    return [dict(zip(slices, values, strict=True)) for values in zip(*slices.values(), strict=True)]


def _reply(arm: str, row: Row, score: float | None) -> Reply:
    return {
        "arm": arm,
        "answer": row["answer"],
        "reasoning": cut_quotes(row["reasoning"], row["documents"]),
        "score": score,
        "error": row["error"],
    }


def cut_quotes(reasoning: str, documents: Sequence[Any]) -> list[Piece]:
    """Cut a reasoning into its quotes and what stands between, the markers left out."""
    pieces: list[Piece] = []
    end = 0
    for match in QUOTE.finditer(reasoning):
        quote = match.group(1).strip()
        kind = "verbatim" if cite(quote, documents)["verbatim"] else "invented"
        pieces += [(reasoning[end : match.start()], ""), (quote, kind)]
        end = match.end()
    return [piece for piece in (*pieces, (reasoning[end:], "")) if piece[0]]


def _documents(rows: Sequence[Row], gold: Gold) -> list[Document]:
    """Give the documents of a question, each once, what any of the replies quotes marked in them."""
    quotes = [citation["quote"] for row in rows for citation in row["citations"] if citation["verbatim"]]
    hits: Sequence[Any] = next((row["documents"] for row in rows if row["documents"]), [])
    return [
        {
            "title": hit["title"],
            "source": hit["source"],
            "page": hit["page"],
            "oracle": from_oracle(hit, gold),
            "text": mark_quotes(hit["text"], quotes),
        }
        for hit in hits
    ]


def mark_quotes(text: str, quotes: Sequence[str]) -> list[Piece]:
    """Cut a text where quotes stand in it; overlapping ones are one."""
    spans: list[list[int]] = []
    for start, end in sorted((at, at + len(quote)) for quote in quotes if (at := text.find(quote)) >= 0):
        if spans and start <= spans[-1][1]:
            spans[-1][1] = max(spans[-1][1], end)
        else:
            spans.append([start, end])
    pieces: list[Piece] = []
    at = 0
    for start, end in spans:
        pieces += [(text[at:start], ""), (text[start:end], "verbatim")]
        at = end
    return [piece for piece in (*pieces, (text[at:], "")) if piece[0]]
