"""Verify questions and answers; nothing unverified gets into a dataset.

The reason for a rejection is returned in a few words, an empty string if there is none.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..raft_format import Answer, FormatError, parse_answer
from ..records import Chunk, Draft
from ..text.answers import answers_agree
from ..text.normalise import fold
from ..text.quotes import anchor_quotes
from .question_list import count_question_marks, ends_in_question_mark

# Questions that only make sense beside their passage: lower case, in the languages most common in use.
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
# Scripts without question marks: Thai, Lao, Tibetan, Myanmar, Khmer; and Japanese questions in か。
_NO_MARK = re.compile(r"[\u0e00-\u0eff\u0f00-\u109f\u1780-\u17ff]|か[。．]?$|何ですか")
_UNANSWERABLE = re.compile(r"^\W*UNANSWERABLE\W*$", re.IGNORECASE)
_CALL = re.compile(r"[A-Za-z_][\w.]*(?=\()")
_MAX_QUESTION = 400  # characters; anything longer is a paragraph, not a question


def verify_draft(draft: Draft, chunk: Chunk, others: Sequence[Chunk] = ()) -> Answer | None:
    """Verify an answered draft: set its reason, or its answer in canonical form, which is returned.

    others: the further oracles of its question. A draft that is rejected already stays unchanged.
    """
    if draft["reason"]:
        return None
    answer = verify_answer(
        draft["cot_answer"],
        draft["finish_reason"],
        chunk,
        expected=draft.get("expected", ()),
        others=others,
    )
    if isinstance(answer, str):
        draft["reason"] = str(answer)
        return None
    draft["cot_answer"], draft["final_answer"] = answer.text, answer.final
    return answer


def verify_question(draft: Draft, chunk: Chunk) -> str:
    """Verify that a question is a single one and can be understood without its passage.

    For a question given by a user only the length is checked. A task for an API needs no question mark.
    """
    question = draft["question"]
    if sum(character.isalnum() for character in question) < 2:
        return "empty question"
    if len(question) > _MAX_QUESTION:
        return "question too long"
    if draft["origin"] == "given":
        return ""
    if count_question_marks(question) > 1:
        return "several questions in one"
    if chunk["kind"] == "text" and not ends_in_question_mark(question) and not _NO_MARK.search(question):
        return "not a question"
    if _ABOUT_CONTEXT.search(fold(question).lower()):
        return "talks about its context"
    if chunk["kind"] == "api" and any(call in question for call in _CALL.findall(chunk["text"])):
        return "task names the call"
    return ""


def verify_answer(
    reply: str,
    finish_reason: str,
    chunk: Chunk,
    *,
    expected: Sequence[str] = (),
    others: Sequence[Chunk] = (),
) -> Answer | str:
    """Verify a chain-of-thought answer against its oracle chunk, or several, each of which it has to quote.

    Return the answer with its quotes in the document's own characters, or the reason for rejecting it.
    The final answer must agree with one of those `expected`, if any are known.
    """
    if finish_reason == "length":
        return FormatError.TRUNCATED if reply.strip() else FormatError.THOUGHT_ONLY
    answer = parse_answer(reply)
    if isinstance(answer, str):
        return answer
    if _UNANSWERABLE.match(answer.final):
        return "not answered by its chunks" if others else "not answered by its chunk"
    answer = anchor_quotes(answer, chunk["text"], *(other["text"] for other in others))
    if isinstance(answer, str):
        return answer
    calls = {call for oracle in (chunk, *others) for call in _CALL.findall(oracle["text"])}
    if chunk["kind"] == "api" and calls.isdisjoint(_CALL.findall(answer.final)):
        return "answer does not name the call"
    if expected and not any(answers_agree(answer.final, known) for known in expected):
        return "disagrees with the expected answer"
    return answer
