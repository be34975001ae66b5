"""Read a model's reply: the final answer, the reasoning, and where each quote stands."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, TypedDict

from ..raft_format import MARKER, QUOTE, TAG, Answer, parse_answer, refusal
from ..text.normalise import normalise
from ..text.quotes import find_quote

if TYPE_CHECKING:
    from .index import Hit

_NO_ANSWER = "The model gave no answer."


class Citation(TypedDict):
    """One quote of an answer; without a document where it stands in none of those given."""

    quote: str
    verbatim: bool
    document: int | None  # its number among the documents of the prompt, from 1
    id: str  # of the chunk
    title: str
    source: str
    page: int | None


class CitedAnswer(TypedDict):
    """What a reply says, taken apart."""

    answer: str
    reasoning: str  # quote markers included
    citations: list[Citation]
    answered: bool  # False: nothing was said, or that the documents do not hold the answer
    note: str  # what is wrong with the reply's form, in a few words; mostly empty


def read_reply(reply: str, hits: Sequence[Hit]) -> CitedAnswer:
    """Read a reply to a question that was asked with these documents.

    A reply without a final line is all answer; `note` says so, as it says why a reply could not be
    taken apart. A quote is verbatim if it stands in a document word for word, white space and the
    forms of quotation marks and dashes aside.
    """
    parsed = parse_answer(reply)
    if isinstance(parsed, Answer):
        reasoning, final, note = parsed.reasoning, parsed.final, ""
    else:
        first, *rest = TAG.split(reply.strip())
        reasoning, note = first.strip() if rest else "", parsed.value
        final = MARKER.sub("", rest[-1] if rest else first).strip().strip("*").strip()
    quotes = [match.group(1).strip() for match in QUOTE.finditer(reply)]
    return {
        "answer": final,
        "reasoning": reasoning,
        "citations": [cite(quote, hits) for quote in dict.fromkeys(quotes) if quote],
        "answered": bool(final) and not is_refusal(final),
        "note": note,
    }


def cite(quote: str, hits: Sequence[Hit]) -> Citation:
    """Find the document that a quote stands in, the best-ranked first."""
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
    """Tell whether a final answer is one that the prompts ask for when there is none."""
    return normalise(final) in (_refused(), "i do not know", "unanswerable")


@lru_cache(maxsize=1)
def _refused() -> str:
    return normalise(refusal().final)


def show_answer(answer: CitedAnswer, hits: Sequence[Hit]) -> str:
    """Write an answer for people, below it the places of its quotes, or else all it was given."""
    said = answer["answer"] or _NO_ANSWER
    sources = show_sources(answer["citations"], hits)
    return f"{said}\n\n{sources}" if sources else said


def show_sources(citations: Sequence[Citation], hits: Sequence[Hit]) -> str:
    """List the places of quotes, or without quotes all documents; empty where there are none."""
    lines = []
    for citation in citations:
        where = _place(citation) if citation["verbatim"] else "in none of the documents"
        lines.append(f"- {where}: “{citation['quote']}”")
    title = "Sources" if lines else "Documents looked at"
    lines = lines or [f"- {_place(hit)}" for hit in hits]
    return "\n".join([f"{title}:", *lines]) if lines else ""


def stream_answer(pieces: Iterable[str], hits: Sequence[Hit]) -> Iterator[str]:
    """Pass a reply on as it comes, the reasoning before the answer, and its sources at the end."""
    said = ""
    try:
        for piece in pieces:
            said += piece
            if piece:
                yield piece
    except Exception:  # too late for an error of its own: the client has its status and a part
        yield "\n\nThe reply broke off here: the model's endpoint failed."
    if not said.strip():
        yield _NO_ANSWER
    sources = show_sources(read_reply(said, hits)["citations"], hits)
    if sources:
        yield f"\n\n{sources}"


def _place(found: Citation | Hit) -> str:
    title = f"{found['title']} ({found['source']})" if found["title"] else found["source"]
    return f"{title}, page {found['page']}" if found["page"] else title
