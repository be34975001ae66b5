"""Score answers against what is known of their questions; no model is asked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from ..raft_format import FormatError
from ..text.answers import answer_f1, answer_tokens, exact_match
from .metrics import Scores, check_metrics

if TYPE_CHECKING:
    from ..models.embed import Embedder

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Gold:
    """What is known of a question beforehand."""

    answers: tuple[str, ...] | None = None  # None: not known; (): there is none, it should be refused
    relevant: frozenset[str] = frozenset()  # ids or sources of the oracle; empty: not known
    language: str = "en"


def read_gold(row: Row) -> Gold:
    """Read what is known out of a row of questions, under any of the usual names.

    Answers stand in `answers`, `answer`, `gold` or `final_answer` (as `test.jsonl` has it), one or a list;
    an empty one, or `answerable: false`, says that there is none. The oracle stands in `relevant`
    (ids or sources), `chunk_id` or `source`. Raises UserError for an answer that is no text.
    """
    named = next((row[name] for name in ("answers", "answer", "gold", "final_answer") if name in row), None)
    if isinstance(named, Mapping):  # SQuAD's own form
        named = named.get("text")
    answers = None
    if named is not None:
        listed = [named] if isinstance(named, str) else named
        if not isinstance(listed, (list, tuple)) or not all(isinstance(one, str) for one in listed):
            raise UserError(
                f"question {str(row.get('question'))[:60]!r}: its answer is no text and no list of texts"
            )
        answers = tuple(one for one in listed if one.strip())
    if row.get("answerable") is False:
        answers = ()
    relevant = row.get("relevant") or row.get("chunk_id") or row.get("source") or ()
    relevant = [relevant] if isinstance(relevant, str) else relevant
    return Gold(answers, frozenset(map(str, relevant)), str(row.get("language") or "en"))


def score_answer(row: Row, gold: Gold) -> Scores:
    """Score one answer, as `answer_questions` and the chat flows give it.

    A row with an `error` has no answer: what would apply to it is None. `documents`, where they are
    there, say whether the oracle was among them; without any, quotes are not asked for.
    """
    documents = row.get("documents")
    found = oracle_found(documents, gold)
    names = _applicable(gold, found, documents)
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
    # Of a truncated reply the note tells no more; there was a tag if it had a reasoning and an answer.
    cut_before = note == FormatError.TRUNCATED and not row["reasoning"]
    scores["tagged"] = float(note != FormatError.MISSING_TAG and not cut_before)
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
        if name in row:  # 0 tokens is an endpoint that does not count them
            scores[name] = float(row[name]) if row[name] else None
    return scores


_MEASURED = ("tagged", "answer_words", "reply_words", "prompt_tokens", "completion_tokens", "seconds")


def _applicable(gold: Gold, found: bool | None, documents: Sequence[Row] | None) -> list[str]:
    """Name the metrics that any reply to this question would have, beyond the measured ones."""
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
    """Tell whether the oracle is among the documents; None where that is not known, or none were given."""
    if not documents or not gold.relevant:
        return None
    return any(from_oracle(document, gold) for document in documents)


def from_oracle(found: Row, gold: Gold) -> bool:
    """Tell whether a document or a citation is of the oracle, by its id or its source."""
    return found.get("id") in gold.relevant or found.get("source") in gold.relevant


def score_quotes(citations: Sequence[Row], gold: Gold, *, refused: bool) -> Scores:
    """Score the quotes of an answer: whether there are any, verbatim, and from the right document."""
    scores: Scores = {"quoted": float(bool(citations))}
    verbatim = [citation for citation in citations if citation["verbatim"]]
    if citations:
        scores["quotes_verbatim"] = len(verbatim) / len(citations)
    if not gold.relevant:
        return scores
    right = sum(from_oracle(citation, gold) for citation in verbatim)
    if verbatim:
        scores["oracle_quoted"] = right / len(verbatim)
    scores["distractor_quoted"] = float(right < len(verbatim))
    if not refused:  # who says nothing need not cite
        scores["correct_citation"] = float(bool(verbatim) and right == len(verbatim))
    return scores


def score_similarity(rows: Sequence[Row], golds: Sequence[Gold], embedder: Embedder) -> list[float | None]:
    """Compute for each answer the cosine, -1 to 1, with the gold answer that is closest in meaning.

    None where there is no answer, or no gold answer to compare it with. Every text is embedded once.
    """
    import numpy as np

    pairs = [
        (number, row["answer"], gold)
        for number, (row, known) in enumerate(zip(rows, golds, strict=True))
        if not row.get("error")
        for gold in known.answers or ()
    ]
    best: list[float | None] = [None] * len(rows)
    if not pairs:
        return best
    texts = list(dict.fromkeys(text for _, ours, gold in pairs for text in (ours, gold)))
    place = {text: at for at, text in enumerate(texts)}
    vectors = embedder.embed(texts)
    ours = vectors[[place[answer] for _, answer, _ in pairs]]
    theirs = vectors[[place[gold] for _, _, gold in pairs]]
    cosines = np.clip(np.einsum("ij,ij->i", ours, theirs), -1.0, 1.0)  # float32 comes out a little above 1
    for (number, _, _), cosine in zip(pairs, cosines.tolist(), strict=True):
        before = best[number]
        best[number] = cosine if before is None else max(before, cosine)
    return best


def score_answers(
    rows: Sequence[Row],
    golds: Sequence[Gold],
    *,
    embedder: Embedder | None = None,
    only: Iterable[str] = (),
) -> list[Scores]:
    """Score many answers; with an embedder their similarity too, `only` some metrics where named."""
    wanted = check_metrics(only)
    scores = [score_answer(row, gold) for row, gold in zip(rows, golds, strict=True)]
    if embedder is not None and (not wanted or "similarity" in wanted):
        for row, gold, cosine in zip(scores, golds, score_similarity(rows, golds, embedder), strict=True):
            if gold.answers:
                row["similarity"] = cosine
    if wanted:
        return [{name: value for name, value in row.items() if name in wanted} for row in scores]
    return scores
