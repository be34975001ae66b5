"""Parse a model's reply: the final answer, the reasoning, and the document each quote comes from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypedDict

from ..raft_format import MARKER, QUOTE, TAG, Answer, FormatError, parse_answer, refusal
from ..text.normalise import normalise
from ..text.quotes import find_quote
from ..text.thoughts import AnswerOnly, drop_thoughts

if TYPE_CHECKING:
    from .index import Hit

_NO_ANSWER = "The model gave no answer."
_BY_MODEL, _EMPTY = "the model found no answer in the documents", "the model's reply is empty"


class Citation(TypedDict):
    """One quote of an answer; without a document if none of those given contains it."""

    quote: str
    verbatim: bool
    document: int | None  # its number among the documents of the prompt, from 1
    id: str  # of the chunk
    title: str
    source: str
    page: int | None


class CitedAnswer(TypedDict):
    """A reply, parsed."""

    answer: str
    reasoning: str  # quote markers included
    citations: list[Citation]
    answered: bool  # False: the reply is empty or a refusal
    refusal: str  # why it was not answered, in a sentence; empty if it was
    note: str  # what is wrong with the reply's format, in a few words; usually empty


class Source(TypedDict):
    """A document that the model was given."""

    id: str  # of the chunk, with which its text is found in the index
    title: str
    source: str
    page: int | None


def read_reply(reply: str, hits: Sequence[Hit]) -> CitedAnswer:
    """Parse a reply to a question that was asked with these documents.

    A reply without an answer tag is taken as the answer; `note` says what is wrong with the format of
    a reply. A quote is verbatim if a document contains it, disregarding differences in white space and
    in the style of quotation marks and dashes.

    What a reasoning model thought first is no part of the reply.
    """
    reply, thought = drop_thoughts(reply)
    parsed = parse_answer(reply)
    if isinstance(parsed, Answer):
        reasoning, final, note = parsed.reasoning, parsed.final, ""
    else:
        first, *rest = TAG.split(reply.strip())
        reasoning, note = first.strip() if rest else "", parsed.value
        if thought and not reply:
            note = FormatError.THOUGHT_ONLY.value
        final = MARKER.sub("", rest[-1] if rest else first).strip().strip("*").strip()
    quotes = [match.group(1).strip() for match in QUOTE.finditer(reply)]
    return {
        "answer": final,
        "reasoning": reasoning,
        "citations": [cite(quote, hits) for quote in dict.fromkeys(quotes) if quote],
        "answered": bool(final) and not is_refusal(final),
        "refusal": "" if final and not is_refusal(final) else _BY_MODEL if final else _EMPTY,
        "note": note,
    }


def refuse(reason: str) -> CitedAnswer:
    """Return the answer to a question that the model is not asked, because of the documents found."""
    return {
        "answer": refusal().final,
        "reasoning": "",
        "citations": [],
        "answered": False,
        "refusal": reason,
        "note": "",
    }


def cite(quote: str, hits: Sequence[Hit]) -> Citation:
    """Find the best-ranked document that contains a quote."""
    for number, hit in enumerate(hits, start=1):
        found = find_quote(quote, hit["text"])
        if found:
            return {
                "quote": found,
                "verbatim": True,
                "document": number,
                "id": hit["id"],
                "title": hit["title"],
                "source": hit["source"],
                "page": hit["page"],
            }
    return {
        "quote": quote,
        "verbatim": False,
        "document": None,
        "id": "",
        "title": "",
        "source": "",
        "page": None,
    }


def is_refusal(final: str) -> bool:
    """Return whether a final answer is one of those the prompts ask for if there is no answer."""
    return normalise(final) in (_normalised_refusal(), "i do not know", "unanswerable")


@lru_cache(maxsize=1)
def _normalised_refusal() -> str:
    return normalise(refusal().final)


def show_answer(answer: CitedAnswer, hits: Sequence[Hit]) -> str:
    """Format an answer for people, followed by the sources of its quotes or, without any, all documents."""
    text = answer["answer"] or _NO_ANSWER
    if answer["refusal"] not in ("", _BY_MODEL, _EMPTY):
        text += f" ({answer['refusal']})"
    sources = show_sources(answer["citations"], hits)
    return f"{text}\n\n{sources}" if sources else text


def list_sources(hits: Sequence[Hit]) -> list[Source]:
    """List the documents that a model was given, without their texts."""
    return [
        {"id": hit["id"], "title": hit["title"], "source": hit["source"], "page": hit["page"]} for hit in hits
    ]


def show_sources(citations: Sequence[Citation], hits: Sequence[Hit]) -> str:
    """List the sources of quotes or, without quotes, all documents; an empty string without either."""
    lines = []
    for citation in citations:
        place = _place(citation) if citation["verbatim"] else "in none of the documents"
        lines.append(f"- {place}: “{citation['quote']}”")
    title = "Sources" if lines else "Documents looked at"
    lines = lines or [f"- {_place(hit)}" for hit in hits]
    return "\n".join([f"{title}:", *lines]) if lines else ""


class ShownReply:
    """A reply that is shown as it arrives: the reasoning before the answer, and its sources at the end."""

    def __init__(self, hits: Sequence[Hit]) -> None:
        self._hits = hits
        self._reply = ""
        self._answer = AnswerOnly()

    def add(self, piece: str) -> Iterator[str]:
        """Yield what is to be shown of a piece of the reply."""
        if shown := self._answer.add(piece):
            self._reply += shown
            yield shown

    def end(self, *, broken: bool = False) -> Iterator[str]:
        """Yield what is shown after the last piece; `broken`: the endpoint failed before the reply's end."""
        if broken:  # too late for an error status: it has been sent already
            yield "\n\nThe reply broke off here: the model's endpoint failed."
        elif left := self._answer.end():
            self._reply += left
            yield left
        if not self._reply.strip():
            yield _NO_ANSWER
        if sources := show_sources(read_reply(self._reply, self._hits)["citations"], self._hits):
            yield f"\n\n{sources}"


def stream_answer(pieces: Iterable[str], hits: Sequence[Hit]) -> Iterator[str]:
    """Yield a reply as it arrives, the reasoning before the answer, and its sources at the end."""
    shown, broken = ShownReply(hits), False
    try:
        for piece in pieces:
            yield from shown.add(piece)
    except Exception:
        broken = True
    yield from shown.end(broken=broken)


def present_reply(text: str, hits: Sequence[Hit], refusal: str = "") -> dict[str, Any]:
    """Return all that a chat flow says of a reply: its parts, `reply` for people, and the `sources`.

    refusal: why the model was not asked, so that there is no reply.
    """
    answer = refuse(refusal) if refusal else read_reply(text, hits)
    return {**answer, "reply": show_answer(answer, hits), "sources": list_sources(hits)}


def present_stream(hits: Sequence[Hit]) -> dict[str, Any]:
    """Return what a chat flow says of a reply that is being streamed: all but the `reply` itself."""
    unknown = {"refusal": "", "note": "streamed"}
    return {**read_reply("", hits), **unknown, "sources": list_sources(hits)}


def _place(passage: Citation | Hit) -> str:
    title = f"{passage['title']} ({passage['source']})" if passage["title"] else passage["source"]
    return f"{title}, page {passage['page']}" if passage["page"] else title
