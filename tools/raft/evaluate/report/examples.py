"""Pick the largest wins and losses of a comparison, and tabulate all answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from ...raft_format import QUOTE
from ...rag.citations import cite
from ..compare import slices_of
from ..metrics import Scores
from ..score import Gold, from_oracle

MAX_EXAMPLES = 10  # wins, and as many losses, per arm
# Wins and losses are decided by the first of these metrics that both arms have.
_DECIDING_METRICS = ("f1", "judge_similarity", "similarity", "correct_citation")

Row = Mapping[str, Any]
Piece = tuple[str, str]  # text and kind: "" for plain text, "verbatim" or "invented" for a quote


class Reply(TypedDict):
    """An arm's reply to one question."""

    arm: str
    answer: str
    reasoning: list[Piece]
    score: float | None
    error: str


class Document(TypedDict):
    """A document that the arms were given, with the quotes from it marked."""

    title: str
    source: str
    page: int | None
    oracle: bool
    text: list[Piece]


class Example(TypedDict):
    """One question with both arms' replies; `difference` is the arm's score minus the baseline's."""

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
    limit: int = MAX_EXAMPLES,
) -> list[Example]:
    """Pick each arm's `limit` largest wins over the baseline and its `limit` largest losses.

    They are decided by F1, or by another metric if there are no gold answers. If differences are equal, the
    earlier question comes first; a question that only one of the two answered is neither a win nor a loss.
    """
    examples: list[Example] = []
    for arm in scores:
        metric = deciding_metric(scores, baseline, arm)
        if arm == baseline or not metric:
            continue
        slices = slices_by_question(questions, golds, answers[arm], answers[baseline])
        pairs = []
        for i, (arm_scores, baseline_scores) in enumerate(zip(scores[arm], scores[baseline], strict=True)):
            score, baseline_score = arm_scores.get(metric), baseline_scores.get(metric)
            if score is not None and baseline_score is not None and score != baseline_score:
                pairs.append((score - baseline_score, i))
        wins = sorted((pair for pair in pairs if pair[0] > 0), key=lambda pair: (-pair[0], pair[1]))[:limit]
        losses = sorted((pair for pair in pairs if pair[0] < 0), key=lambda pair: (pair[0], pair[1]))[:limit]
        for difference, i in (*wins, *losses):
            rows = {name: answers[name][i] for name in (baseline, arm)}
            examples.append(
                {
                    "id": ids[i],
                    "question": str(questions[i]["question"]),
                    "golds": list(golds[i].answers or ()),
                    "arm": arm,
                    "outcome": _outcome(difference, 0.0),
                    "metric": metric,
                    "difference": difference,
                    "slices": slices[i],
                    "replies": [_reply(name, row, scores[name][i].get(metric)) for name, row in rows.items()],
                    "documents": _documents(list(rows.values()), golds[i]),
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
    """Build a row for each question: its gold answers, slices, each arm's answer, and the outcomes."""
    metrics = {arm: deciding_metric(scores, baseline, arm) for arm in scores}
    slices = slices_by_question(questions, golds, *answers.values())
    rows = []
    for i, id in enumerate(ids):
        replies, outcomes = [], []
        for arm, metric in metrics.items():
            score, baseline_score = scores[arm][i].get(metric), scores[baseline][i].get(metric)
            row = answers[arm][i]
            replies.append({"arm": arm, "answer": row["answer"], "score": score, "error": row["error"]})
            if arm != baseline:
                outcomes.append(_outcome(score, baseline_score))
        rows.append(
            {
                "id": id,
                "question": str(questions[i]["question"]),
                "golds": list(golds[i].answers or ()),
                "slices": slices[i],
                "replies": replies,
                "outcomes": list(dict.fromkeys(outcomes)),
            }
        )
    return rows


def _outcome(score: float | None, baseline_score: float | None) -> str:
    if score is None or baseline_score is None:
        return "missing"
    return "same" if score == baseline_score else "win" if score > baseline_score else "loss"


def deciding_metric(scores: Mapping[str, Sequence[Scores]], baseline: str, arm: str) -> str:
    """Return the metric that decides wins and losses; empty if the two arms have none in common."""
    for name in _DECIDING_METRICS:
        if all(any(row.get(name) is not None for row in rows) for rows in (scores[baseline], scores[arm])):
            return name
    return ""


def slices_by_question(
    questions: Sequence[Row], golds: Sequence[Gold], *answers: Sequence[Row]
) -> list[dict[str, str]]:
    """Return the slices of each question; the documents are those of the first arm that was given any."""
    documents: list[Sequence[Any]] = [
        next((row["documents"] for row in rows if row["documents"]), [])
        for rows in zip(*answers, strict=True)
    ]
    slices = slices_of(questions, golds, documents)
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
    """Split a reasoning into its quotes and the text between them, without the markers."""
    pieces: list[Piece] = []
    end = 0
    for match in QUOTE.finditer(reasoning):
        quote = match.group(1).strip()
        kind = "verbatim" if cite(quote, documents)["verbatim"] else "invented"
        pieces += [(reasoning[end : match.start()], ""), (quote, kind)]
        end = match.end()
    return [piece for piece in (*pieces, (reasoning[end:], "")) if piece[0]]


def _documents(rows: Sequence[Row], gold: Gold) -> list[Document]:
    """Return the documents of a question, with what any of the replies quotes marked in them."""
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
    """Split a text into its quoted and unquoted parts; overlapping quotes are merged."""
    spans: list[list[int]] = []
    matches = ((start, start + len(quote)) for quote in quotes if (start := text.find(quote)) >= 0)
    for start, end in sorted(matches):
        if spans and start <= spans[-1][1]:
            spans[-1][1] = max(spans[-1][1], end)
        else:
            spans.append([start, end])
    pieces: list[Piece] = []
    position = 0
    for start, end in spans:
        pieces += [(text[position:start], ""), (text[start:end], "verbatim")]
        position = end
    return [piece for piece in (*pieces, (text[position:], "")) if piece[0]]
