"""Hold a model's quotes to the sentences of its documents, where its server can constrain a reply.

A quote is then verbatim by construction, and a whole sentence. Under a grammar the model writes it out, under
a JSON schema it gives its number, and the text is filled in. The reasoning around it stays free.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..choices import Quotes
from ..raft_format import ANSWER_TAG, BEGIN_QUOTE, END_QUOTE
from ..text.sanitize import defuse_roles, sanitize
from ..text.sentences import sentence_spans

if TYPE_CHECKING:
    from .index import Hit


MOST_QUOTES = 8
LONGEST_TEXT = 500  # characters before, between and after quotes
PROMPT = "numbered_answer.jinja2"  # in place of the others, for replies under a JSON schema


def quotable(hits: Sequence[Hit]) -> list[str]:
    """Return the sentences of the documents that the model is shown, each once, in order."""
    return list(dict.fromkeys(sentence for hit in hits for sentence in _shown(hit)))


def _shown(hit: Hit) -> list[str]:
    text = hit["text"]
    sentences = (text[start:end] for start, end, _ in sentence_spans(text))
    return [sanitize(sentence) for sentence in sentences if sentence in hit.get("focus", text)]


def number_sentences(hits: Sequence[Hit]) -> list[str]:
    """Return the documents as the model is shown them, each sentence on a line after its number.

    The numbers are those of `quotable`, from 1.
    """
    numbers = {sentence: number for number, sentence in enumerate(quotable(hits), start=1)}
    return ["\n".join(f"[{numbers[sentence]}] {sentence}" for sentence in _shown(hit)) for hit in hits]


def fill_in(reply: str, hits: Sequence[Hit]) -> str:
    """Write a reply under the schema as a RAFT answer, its numbers replaced by the sentences.

    A reply that is no such object, as from a server that ignores the schema, is returned as it is.
    """
    try:
        parsed = json.loads(reply)
        reasoning, answer = str(parsed["reasoning"]).strip(), str(parsed["answer"]).strip()
        chosen = [int(number) for number in parsed["sentences"]]
    except (ValueError, TypeError, KeyError):
        return reply
    sentences = quotable(hits)
    quotes = [f"{BEGIN_QUOTE}{sentences[n - 1]}{END_QUOTE}" for n in chosen if 0 < n <= len(sentences)]
    return "\n".join([*filter(None, [defuse_roles(reasoning)]), *quotes, f"{ANSWER_TAG} {answer}"])


def quote_grammar(sentences: Sequence[str]) -> str:
    """Build the GBNF grammar of a RAFT answer whose quotes are among the sentences.

    Quotes and the text around them are bounded: a small model that is held to a grammar and knows no way on
    repeats itself until its tokens are used up, and never answers.

    Source of the notation: grammars/README.md of llama.cpp, which vLLM's xgrammar shares.
    """
    begin, end, tag = _literal(BEGIN_QUOTE), _literal(END_QUOTE), _literal(f"{ANSWER_TAG} ")
    quotes = f"(text quote){{0,{min(len(sentences), MOST_QUOTES)}}} " if sentences else ""
    rules = [f"root ::= {quotes}text? {tag} [^\\n<#]+", f"text ::= [^<#]{{1,{LONGEST_TEXT}}}"]
    if sentences:
        rules.append(f"quote ::= {begin} sentence {end}")
        rules.append(f"sentence ::= {' | '.join(map(_literal, sentences))}")
    return "\n".join(rules)


def _literal(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r")
    return f'"{escaped}"'


def constrain_quotes(hits: Sequence[Hit], quotes: Quotes) -> dict[str, Any]:
    """Return what a request needs beside its messages so that quotes are held to the documents' sentences.

    "gbnf" is for llama.cpp's server, "vllm" for vLLM's from version 0.12 on, "schema" for whatever supports
    structured outputs. With "free", or without documents, nothing is held.
    """
    if quotes == "free" or not (sentences := quotable(hits)):
        return {}
    if quotes == "schema":
        return {"response_format": {"type": "json_schema", "json_schema": _schema(len(sentences))}}
    grammar = quote_grammar(sentences)
    return {"grammar": grammar} if quotes == "gbnf" else {"structured_outputs": {"grammar": grammar}}


def _schema(count: int) -> dict[str, Any]:
    """Build the schema of a reply; all keys are required, as OpenAI's strict mode wants."""
    numbers = {"type": "array", "items": {"type": "integer", "enum": list(range(1, count + 1))}}
    properties = {"reasoning": {"type": "string"}, "sentences": numbers, "answer": {"type": "string"}}
    return {
        "name": "answer",
        "strict": True,
        "schema": {
            "type": "object",
            "properties": properties,
            "required": list(properties),
            "additionalProperties": False,
        },
    }
