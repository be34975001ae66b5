"""Check questions and answers; nothing unverified gets into a dataset.

Every function gives the reason for a refusal in a few words, or an empty string.
"""

from __future__ import annotations

import re
from collections import Counter

from .check_guided import agrees, fits
from .parse import Answer, anchor_quotes, count_marks, is_marked, normalise, parse_answer
from .records import Chunk, Draft
from .safe import fold

# Questions that only make sense beside their passage. Lower case; languages the default prompts meet most.
_ABOUT_CONTEXT = re.compile(
    r"\b(?:the|this|provided|given|above|following)\s+(?:context|passage|excerpt|snippet|paragraph)s?\b"
    r"|\b(?:according to|based on|in|from|of|does|by)\s+(?:the|this)\s+(?:provided |given |above )?"
    r"(?:text|document|article|author|section|information)(?:\b(?!\s+(?:of|that|for|about)\b))"
    r"|\b(?:the|this)\s+(?:text|document|article|author)\s+(?:say|state|mention|describe|discuss)"
    r"|\b(?:provided|given|above)\s+(?:text|document|article|information)\b"
    r"|\b(?:im|laut|dem|diesem)\s+(?:obigen |vorliegenden )?(?:kontext|text|abschnitt|dokument)\b"
    r"|\b(?:le|du|ce)\s+(?:contexte|passage|texte|document)\b"
    r"|\b(?:el|del|este)\s+(?:contexto|pasaje|texto|documento)\b"
    r"|(?:上下文|文中|本文|这段|该文|文章中|文档中|根据文|この文|本文)"
)
# Scripts that set no question mark: Thai, Lao, Tibetan, Myanmar, Khmer; and Japanese questions in か。
_NO_MARK = re.compile(r"[\u0e00-\u0eff\u0f00-\u109f\u1780-\u17ff]|か[。．]?$|何ですか")
_UNANSWERABLE = re.compile(r"^\W*UNANSWERABLE\W*$", re.IGNORECASE)
_CALL = re.compile(r"[A-Za-z_][\w.]*(?=\()")
_MAX_QUESTION = 400  # characters; a longer one is a paragraph, not a question


def check_draft(draft: Draft, chunk: Chunk) -> None:
    """Check an answered draft: give it its reason, or its answer in canonical form.

    A draft that was refused before its answer stays as it is.
    """
    if draft["reason"]:
        return
    answer = check_answer(
        draft["cot_answer"], draft["finish_reason"], chunk, expected=draft.get("expected", "")
    )
    if isinstance(answer, str):
        draft["reason"] = answer
        return
    if "target" in draft:
        draft["reason"] = agrees(draft, chunk, answer)
    draft["cot_answer"], draft["final_answer"] = answer.text, answer.final


def check_question(draft: Draft, chunk: Chunk) -> str:
    """Check one question by itself: it is one question, and it stands without its passage.

    A question that a person gave is only checked for being there. A task for an API needs no mark.
    """
    question = draft["question"]
    if sum(character.isalnum() for character in question) < 2:
        return "empty question"
    if len(question) > _MAX_QUESTION:
        return "question too long"
    if draft["origin"] == "given":
        return ""
    if count_marks(question) > 1:
        return "several questions in one"
    if chunk["kind"] == "text" and not is_marked(question) and not _NO_MARK.search(question):
        return "not a question"
    if _ABOUT_CONTEXT.search(fold(question).lower()):
        return "talks about its context"
    if chunk["kind"] == "api" and any(call in question for call in _CALL.findall(chunk["text"])):
        return "task names the call"
    return fits(draft, chunk) if "target" in draft else ""


def check_answer(reply: str, finish_reason: str, chunk: Chunk, *, expected: str = "") -> Answer | str:
    """Check one chain-of-thought answer against its oracle chunk.

    Gives the answer with its quotes in the document's own characters, or the reason for refusing it.
    `expected` is an answer known beforehand, which the final answer has to agree with.
    """
    if finish_reason == "length":
        return "truncated answer"
    answer = parse_answer(reply)
    if isinstance(answer, str):
        return answer
    if _UNANSWERABLE.match(answer.final):
        return "not answered by its chunk"
    answer = anchor_quotes(answer, chunk["text"])
    if isinstance(answer, str):
        return answer
    if chunk["kind"] == "api" and not set(_CALL.findall(answer.final)) & set(_CALL.findall(chunk["text"])):
        return "answer does not name the call"
    if expected and not answers_agree(answer.final, expected):
        return "disagrees with the expected answer"
    return answer


def answers_agree(answer: str, expected: str, *, threshold: float = 0.5) -> bool:
    """Tell whether two answers say the same: one holds the other, or their token F1 reaches the threshold.

    Numbers must agree wherever both have some. Token F1 as in SQuAD (Rajpurkar et al. 2016), by
    characters for scripts that set no blanks.
    """
    ours, theirs = normalise(answer), normalise(expected)
    if not ours or not theirs:
        return False
    ours_numbers, their_numbers = set(re.findall(r"\d+", ours)), set(re.findall(r"\d+", theirs))
    if ours_numbers and their_numbers and not (ours_numbers & their_numbers):
        return False
    if f" {theirs} " in f" {ours} " or f" {ours} " in f" {theirs} ":
        return True
    return token_f1(ours, theirs) >= threshold or (
        _is_unspaced(theirs) and (theirs in ours or ours in theirs)
    )


def token_f1(answer: str, expected: str) -> float:
    """Compute the token F1 of two normalised texts, 0 to 1."""
    ours, theirs = _tokens(answer), _tokens(expected)
    common = sum((Counter(ours) & Counter(theirs)).values())
    return 2 * common / (len(ours) + len(theirs)) if common else 0.0


def _tokens(text: str) -> list[str]:
    return [token for word in text.split() for token in (word if _is_unspaced(word) else [word])]


def _is_unspaced(text: str) -> bool:
    return bool(re.search(r"[\u0e00-\u0eff\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]", text))
