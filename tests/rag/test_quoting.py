"""Under a grammar, quotes are sentences of the documents, whatever these contain; the real server reads it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.rag.test_answer import hit
from tests.rag.test_focus import GATES, OTTERS
from tests.scripted_endpoint import scripted_endpoint
from tools.raft.choices import Quotes
from tools.raft.models.client import Client
from tools.raft.models.embedded import serving
from tools.raft.models.endpoint import Endpoint, resolve_endpoint
from tools.raft.rag.answer import Row, answer_questions
from tools.raft.rag.citations import read_reply
from tools.raft.rag.quoting import constrain_quotes, fill_in, number_sentences, quotable, quote_grammar

ODD = 'He said "no\\yes" twice.\nA line break is inside. 共有十五名法官。'


def ask(endpoint: Endpoint, text: str, quotes: Quotes) -> Row:
    async def run() -> Row:
        async with Client(endpoint, cache_dir=None, concurrency=1) as client:
            question = {"question": "How many fish do otters eat a day?"}
            answers = await answer_questions([question], None, client, documents=[[hit(text)]], quotes=quotes)
            return answers.rows[0]

    return asyncio.run(run())


def test_only_sentences_that_are_shown_can_be_quoted() -> None:
    focused = {**hit(OTTERS), "focus": "… Otters eat eleven fish a day. …"}
    assert quotable([focused, hit("One gate. Two gates.")]) == [  # type: ignore[list-item]
        "Otters eat eleven fish a day.", "One gate.", "Two gates.",
    ]  # fmt: skip
    assert quotable([hit(GATES), hit(GATES)]) == quotable([hit(GATES)])


def test_what_a_sentence_contains_cannot_end_its_literal() -> None:
    (rule,) = (
        line for line in quote_grammar(quotable([hit(ODD)])).splitlines() if line.startswith("sentence")
    )
    assert rule == (
        r'sentence ::= "He said \"no\\yes\" twice." | "A line break is inside." | "共有十五名法官。"'
    )


@pytest.mark.parametrize(("quotes", "field"), [("gbnf", "grammar"), ("vllm", "structured_outputs")])
def test_the_request_has_what_the_server_takes(quotes: Quotes, field: str) -> None:
    with scripted_endpoint() as endpoint:
        ask(Endpoint(endpoint.url, "m"), GATES, quotes)
        ask(Endpoint(endpoint.url, "m"), GATES, "free")
        held, free = endpoint.requests()
    assert "A gap of 15 centimetres" in str(held.pop(field)) and held == free
    assert constrain_quotes([], quotes) == {}, "without documents there is nothing to quote"


def test_numbers_are_replaced_by_the_sentences() -> None:
    hits = [hit(OTTERS), hit(GATES)]
    shown = number_sentences(hits)
    assert shown[1].startswith("[6] The gate of the cave has bars.\n[7] A gap of 15 centimetres")
    reply = '{"reasoning": "The gate.", "sentences": [7, 99], "answer": "15 centimetres"}'
    answer = read_reply(fill_in(reply, hits), hits)
    assert (answer["answer"], answer["reasoning"].splitlines()[0]) == ("15 centimetres", "The gate.")
    (citation,) = answer["citations"]
    assert (citation["document"], citation["verbatim"]) == (2, True)
    refused = read_reply(
        fill_in('{"reasoning": "", "sentences": [], "answer": "The documents do not say."}', hits), hits
    )
    assert not refused["answered"] and not refused["citations"]
    for other in (
        "It eats fish.",
        "[1, 2]",
        '{"answer": "fish"}',
        '{"reasoning": 1, "sentences": ["x"], "answer": 2}',
    ):
        assert fill_in(other, hits) == other, "a server that ignores the schema"


def test_a_schema_is_sent_with_numbered_sentences() -> None:
    with scripted_endpoint() as endpoint:
        ask(Endpoint(endpoint.url, "m"), GATES, "schema")
        (body,) = endpoint.requests()
    schema = body["response_format"]["json_schema"]
    assert schema["strict"] and schema["schema"]["properties"]["sentences"]["items"]["enum"] == [1, 2, 3]
    assert "[2] A gap of 15 centimetres" in body["messages"][-1]["content"]


def test_the_embedded_model_quotes_verbatim_even_untrained(tmp_path: Path) -> None:
    with serving(resolve_endpoint("embedded")) as endpoint:
        row = ask(endpoint, OTTERS, "gbnf")
        odd = ask(endpoint, ODD, "gbnf")
        numbered = ask(endpoint, OTTERS, "schema")
    assert not row["error"] and not odd["error"], "the server parsed both grammars"
    assert all(citation["verbatim"] for citation in row["citations"] + odd["citations"])
    assert not numbered["error"] and (numbered["finish_reason"] == "length" or not numbered["note"])
