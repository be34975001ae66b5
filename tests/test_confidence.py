"""How sure a small model was, and what is refused where it was not."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tools.raft.answer import answer_again, answer_question
from tools.raft.ask import ask_about_target
from tools.raft.client import Client, Reply
from tools.raft.confidence import is_likely_answer, is_likely_wording, logprobs_after
from tools.raft.endpoint import Endpoint
from tools.raft.records import Draft, new_draft
from tools.raft.serve import embedded_server

from .conftest import BATS, make_chunk

TARGET = BATS.split(". ")[1] + "."
SPLIT_MARK = (("Answer", -9.0), (": a\nQues", -9.0), ("tion:", -9.0), (" Why", -1.0), ("?", -3.0))


def test_only_what_follows_the_mark_counts() -> None:
    assert logprobs_after("Question:", SPLIT_MARK) == [-1.0, -3.0]
    assert logprobs_after("Answer:", SPLIT_MARK[:1]) == []


def test_wording_has_to_be_likely_throughout() -> None:
    assert is_likely_wording([-0.5, -0.2, -1.2])
    assert not is_likely_wording([-0.9, -0.9]), "on average"
    assert not is_likely_wording([-0.1] * 9 + [-3.0]), "one far-fetched word"
    assert is_likely_wording([]) and is_likely_answer([]), "an endpoint that tells none is not refused for it"


class Says:
    """Stand in for a client of the embedded model: one reply, and what it was asked for."""

    def __init__(self, text: str, logprob: float) -> None:
        self.endpoint = SimpleNamespace(guided=True, model="m")
        self.reply = Reply(
            text, "stop", 1, 1, cached=False, logprobs=(*((t, 0.0) for t in text), ("", logprob))
        )
        self.prompts: list[str] = []

    async def ask(self, messages: list[dict[str, str]], **_: Any) -> Reply:
        self.prompts.append(messages[-1]["content"])
        return self.reply


def drafted(**fields: str) -> Draft:
    draft = new_draft("How much does an adult bat weigh?", "c")
    draft["target"], draft["expected"] = TARGET, "between five and nine grams"
    draft.update(fields)  # type: ignore[typeddict-item]
    return draft


@pytest.mark.parametrize(("logprob", "reason"), [(-99.0, "question is a guess"), (-0.1, "")])
def test_a_question_the_model_would_hardly_ask_is_refused(logprob: float, reason: str) -> None:
    draft = drafted()
    says: Any = Says("Answer: nine grams\nQuestion: How heavy?", logprob)
    asyncio.run(ask_about_target(draft, make_chunk(), says, seed=1, attempt=0))
    assert (draft["question"], draft["reason"]) == ("How heavy?", reason)


@pytest.mark.parametrize(("logprob", "reason"), [(-1.5, "answer is a guess"), (-0.1, "")])
def test_an_answer_the_model_doubts_is_refused(logprob: float, reason: str) -> None:
    draft = drafted()
    says: Any = Says(f"##begin_quote##{TARGET}##end_quote##\n<ANSWER>: nine grams", logprob)
    asyncio.run(answer_question(draft, make_chunk(), says, seed=1))
    assert draft["reason"] == reason
    assert draft["cot_answer"], "kept, to be looked at"


@pytest.mark.parametrize(
    ("again", "reason"), [("nine grams", "tries disagree on the answer"), ("An Adult.", "")]
)
def test_an_answer_that_changes_with_the_passage_is_refused(again: str, reason: str) -> None:
    draft = drafted(final_answer="an adult")
    says: Any = Says(f"##begin_quote##{TARGET}##end_quote##\n<ANSWER>: {again}", 0.0)
    asyncio.run(answer_again(draft, says))
    assert draft["reason"] == reason
    assert BATS not in says.prompts[0] and TARGET in says.prompts[0]


def test_the_served_model_tells_probabilities_and_the_cache_keeps_them(tmp_path: Path) -> None:
    async def ask(base_url: str) -> Reply:
        async with Client(Endpoint(base_url, "m"), cache_dir=tmp_path) as client:
            question = [{"role": "user", "content": "What is the capital of France?"}]
            return await client.ask(question, max_tokens=8, extra={"logprobs": True})  # type: ignore[arg-type]

    with embedded_server(slots=1) as base_url:
        paid = asyncio.run(ask(base_url))
    assert "".join(token for token, _ in paid.logprobs) == paid.text
    assert all(logprob <= 0 for _, logprob in paid.logprobs)
    kept = asyncio.run(ask(base_url))
    assert kept.cached and kept.logprobs == paid.logprobs
