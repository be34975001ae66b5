"""Score answers against gold answers and oracles, without asking a model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..questions import gold_answers, named_oracles
from ..raft_format import FormatError
from ..text.answers import answer_f1, answer_tokens, exact_match
from ..text.sanitize import sanitize_name
from .metrics import Scores, check_metrics

if TYPE_CHECKING:
    from ..models.embed import Embedder

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Gold:
    """What is known about a question in advance."""

    answers: tuple[str, ...] | None = None  # None: unknown; (): unanswerable, so a refusal is correct
    relevant: frozenset[str] = frozenset()  # ids or sources of the oracle; empty: unknown
    language: str = "en"
    oracles: tuple[str, ...] = ()  # those of several oracles that are all needed; empty: any will do


def read_gold(row: Row) -> Gold:
    """Read the gold answers and the oracle from a question's row, under any of the usual names.

    The answers are read by `gold_answers`. The oracle is in `oracles` (ids or sources, all of them needed),
    `relevant` (any of them will do), `chunk_id` or `source`. Raises UserError for an answer that is no text.
    """
    needed = named_oracles(row)
    relevant = needed or row.get("relevant") or row.get("chunk_id") or row.get("source") or ()
    relevant = [relevant] if isinstance(relevant, str) else relevant
    names = frozenset(sanitize_name(str(name)) for name in relevant)
    several = tuple(dict.fromkeys(map(sanitize_name, needed))) if len(names) > 1 else ()
    return Gold(gold_answers(row), names, str(row.get("language") or "en"), several)


def score_answer(row: Row, gold: Gold) -> Scores:
    """Score one answer, as `answer_questions` and the chat flows return it.

    A row with an `error` has no answer: the metrics that would apply to it are None. `documents`, if present,
    show whether the oracle was retrieved; if it is empty, no quotes are expected.
    """
    documents = row.get("documents")
    names = _applicable(gold, oracle_found(documents, gold), documents)
    if row.get("error"):
        return dict.fromkeys((*names, *_MEASURED))
    refused = not row["answered"]
    citations = row["citations"]
    scores: Scores = {}
    if gold.answers:
        answer = "" if refused else row["answer"]
        scores["exact_match"] = exact_match(answer, gold.answers, gold.language)
        scores["f1"] = answer_f1(answer, gold.answers, gold.language)
    elif gold.answers is not None:
        scores["exact_match"] = scores["f1"] = float(refused)
    note = row.get("note", "")
    # The note of a truncated reply does not show whether it had a tag: without one it has no reasoning.
    cut_before_tag = note in (FormatError.TRUNCATED, FormatError.THOUGHT_ONLY) and not row["reasoning"]
    scores["tagged"] = float(note != FormatError.MISSING_TAG and not cut_before_tag)
    if "quoted" in names:
        scores |= score_quotes(citations, gold, refused=refused)
    if "correct_refusal" in names:
        scores["correct_refusal"] = float(refused)
    if "false_refusal" in names:
        scores["false_refusal"] = float(refused)
    words = len(answer_tokens(row["answer"], ""))
    scores["answer_words"] = float(words)
    scores["reply_words"] = float(words + len(answer_tokens(row["reasoning"], "")))
    for name in ("prompt_tokens", "completion_tokens", "seconds"):
        if name in row:  # 0 tokens means that the endpoint does not report them
            scores[name] = float(row[name]) if row[name] else None
    return scores


_MEASURED = ("tagged", "answer_words", "reply_words", "prompt_tokens", "completion_tokens", "seconds")


def _applicable(gold: Gold, found: bool | None, documents: Sequence[Row] | None) -> list[str]:
    """Return the metrics that apply to any reply to this question, in addition to the measured ones."""
    names = ["exact_match", "f1"] if gold.answers is not None else []
    if documents is None or documents:
        names += ["quoted", "quotes_verbatim"]
        names += ["oracle_quoted", "distractor_quoted", "correct_citation"] if gold.relevant else []
    if gold.answers == () or found is False:
        names.append("correct_refusal")
    elif gold.answers:
        names.append("false_refusal")
    return names


def oracle_found(documents: Sequence[Row] | None, gold: Gold) -> bool | None:
    """Return whether the oracle is among the documents; None if it is unknown or there are no documents.

    Of several oracles that are all needed, all have to be there.
    """
    if not documents or not gold.relevant:
        return None
    if gold.oracles:
        return _has_each_oracle(documents, gold)
    return any(from_oracle(document, gold) for document in documents)


def _has_each_oracle(items: Sequence[Row], gold: Gold) -> bool:
    """Return whether each of several oracles has a document or a citation."""
    names = {name for item in items for name in (item.get("id"), item.get("source"))}
    return names.issuperset(gold.oracles)


def from_oracle(item: Row, gold: Gold) -> bool:
    """Return whether a document or a citation is from an oracle, by its id or its source."""
    return item.get("id") in gold.relevant or item.get("source") in gold.relevant


def score_quotes(citations: Sequence[Row], gold: Gold, *, refused: bool) -> Scores:
    """Score the quotes of an answer: whether there are any, whether verbatim and from the oracle.

    A correct citation of several oracles that are all needed quotes each of them.
    """
    scores: Scores = {"quoted": float(bool(citations))}
    verbatim = [citation for citation in citations if citation["verbatim"]]
    if citations:
        scores["quotes_verbatim"] = len(verbatim) / len(citations)
    if not gold.relevant:
        return scores
    correct = sum(from_oracle(citation, gold) for citation in verbatim)
    if verbatim:
        scores["oracle_quoted"] = correct / len(verbatim)
    scores["distractor_quoted"] = float(correct < len(verbatim))
    if not refused:  # a refusal needs no citation
        cited = _has_each_oracle(verbatim, gold) if gold.oracles else bool(verbatim)
        scores["correct_citation"] = float(cited and correct == len(verbatim))
    return scores


def score_similarity(rows: Sequence[Row], golds: Sequence[Gold], embedder: Embedder) -> list[float | None]:
    """Compute for each answer the cosine, -1 to 1, of its embedding and that of the closest gold answer.

    None if there is no answer or no gold answer. Every distinct text is embedded once.
    """
    import numpy as np

    pairs = [
        (i, row["answer"], gold_answer)
        for i, (row, gold) in enumerate(zip(rows, golds, strict=True))
        if not row.get("error")
        for gold_answer in gold.answers or ()
    ]
    best: list[float | None] = [None] * len(rows)
    if not pairs:
        return best
    texts = list(dict.fromkeys(text for _, answer, gold_answer in pairs for text in (answer, gold_answer)))
    index = {text: i for i, text in enumerate(texts)}
    vectors = embedder.embed(texts)
    answers = vectors[[index[answer] for _, answer, _ in pairs]]
    gold_answers = vectors[[index[gold_answer] for _, _, gold_answer in pairs]]
    # In float32 a cosine can exceed 1 slightly.
    cosines = np.clip(np.einsum("ij,ij->i", answers, gold_answers), -1.0, 1.0)
    for (i, _, _), cosine in zip(pairs, cosines.tolist(), strict=True):
        previous = best[i]
        best[i] = cosine if previous is None else max(previous, cosine)
    return best


def score_answers(
    rows: Sequence[Row],
    golds: Sequence[Gold],
    *,
    embedder: Embedder | None = None,
    only: Iterable[str] = (),
) -> list[Scores]:
    """Score many answers, with an embedder their similarity too; `only` restricts the metrics."""
    wanted = check_metrics(only)
    scores = [score_answer(row, gold) for row, gold in zip(rows, golds, strict=True)]
    if embedder is not None and (not wanted or "similarity" in wanted):
        for row, gold, cosine in zip(scores, golds, score_similarity(rows, golds, embedder), strict=True):
            if gold.answers:
                row["similarity"] = cosine
    if wanted:
        return [{name: value for name, value in row.items() if name in wanted} for row in scores]
    return scores
