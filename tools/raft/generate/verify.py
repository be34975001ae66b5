"""Verify questions and answers; nothing unverified gets into a dataset.

The reason for a rejection is returned in a few words, an empty string if there is none.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..raft_format import Answer, FormatError, parse_answer
from ..records import Chunk, Draft
from ..text.answers import answers_agree
from ..text.api_calls import call_field, documented_call, read_calls
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
# A task may speak of a text, since that is what the call is for, but not of the documentation.
_ABOUT_ENTRY = re.compile(r"\b(?:the|this|provided|given|above|following)\s+(?:api\s+)?documentation\b")
# Scripts without question marks: Thai, Lao, Tibetan, Myanmar, Khmer; and Japanese questions in か。
_NO_MARK = re.compile(r"[\u0e00-\u0eff\u0f00-\u109f\u1780-\u17ff]|か[。．]?$|何ですか")
_UNANSWERABLE = re.compile(r"^\W*UNANSWERABLE\W*$", re.IGNORECASE)
_CALL = re.compile(r"[A-Za-z_][\w.]*(?=\()")
_IS_CODE = re.compile(r"\w[._]\w|\d|[a-z][A-Z]")  # "hub.load", "slow_r50", "AutoModel"; but not "pipeline"
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
    about = _ABOUT_ENTRY if chunk["kind"] == "api" else _ABOUT_CONTEXT
    if about.search(fold(question).lower()):
        return "talks about its context"
    if chunk["kind"] == "api" and _names_call(question, chunk["text"]):
        return "task names the call"
    return ""


def _names_call(task: str, document: str) -> bool:
    """Return whether a task names the function that an entry documents, or any in its text if it names none.

    A name that is also a word, such as "model" or "pipeline", counts if a bracket follows it.
    """
    functions = _CALL.findall(call_field(document)) or _CALL.findall(document)
    return any(
        re.search(
            rf"(?<![\w.]){re.escape(name)}{'(?![A-Za-z0-9_])' if _IS_CODE.search(name) else '[(]'}", task
        )
        for name in functions
    )


def is_unanswerable(final: str) -> bool:
    """Return whether a final answer says what the prompts ask for where documents do not answer."""
    return bool(_UNANSWERABLE.match(final))


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
    if is_unanswerable(answer.final):
        return "not answered by its chunks" if others else "not answered by its chunk"
    answer = anchor_quotes(answer, chunk["text"], *(other["text"] for other in others))
    if isinstance(answer, str):
        return answer
    if chunk["kind"] == "api":
        flaws = [_find_call_flaw(answer.final, oracle["text"]) for oracle in (chunk, *others)]
        if all(flaws):
            return flaws[0]
    if expected and not any(answers_agree(answer.final, known) for known in expected):
        return "disagrees with the expected answer"
    return answer


def _find_call_flaw(answer: str, document: str) -> str:
    """Return why an answer is not a call of the API that an entry documents, or an empty string if it is.

    Options may differ from the documented ones, since a task needs its own. Where the entry has no call to
    compare, the answer repeats what it has instead, such as a command, or names a function in its text.
    """
    documented = documented_call(document)
    if documented is None:
        command = " ".join(call_field(document).split())
        repeated = bool(command) and command in " ".join(answer.split())
        names_one = bool(set(_CALL.findall(answer)) & set(_CALL.findall(document)))
        return "" if repeated or names_one else "answer does not name the call"
    calls = list(read_calls(answer))
    if not calls:
        return "no call in the answer"
    call = next((call for call in calls if call.function == documented.function), None)
    return "" if call and call.same_api(documented) else "answer calls another API"
