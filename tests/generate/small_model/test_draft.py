"""The embedded teacher: replies it is unsure of are rejected, and the name of its address has no effect."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.conftest import BATS, make_chunk
from tests.scripted_endpoint import scripted_endpoint
from tools.raft.files import PROJECT
from tools.raft.generate.draft import choose_teacher, draft_rows
from tools.raft.generate.small_model.draft import ConstrainedTeacher
from tools.raft.models.client import Client
from tools.raft.models.embedded import embedded_server
from tools.raft.models.endpoint import TEACHER_MODEL, Endpoint, resolve_endpoint
from tools.raft.models.reply import Reply
from tools.raft.records import Draft, new_draft

TARGET = BATS.split(". ")[1] + "."
TEACHER = ConstrainedTeacher()


class FakeClient:
    """Stand in for a client of the embedded model: always return one reply, and record the prompts."""

    def __init__(self, text: str, logprob: float) -> None:
        self.endpoint = SimpleNamespace(model="m")
        self.reply = Reply(
            text, "stop", 1, 1, cached=False, logprobs=(*((t, 0.0) for t in text), ("", logprob))
        )
        self.prompts: list[str] = []

    async def ask(self, messages: list[dict[str, str]], **_: Any) -> Reply:
        self.prompts.append(messages[-1]["content"])
        return self.reply


def drafted(**fields: str) -> Draft:
    draft = new_draft("How much does an adult bat weigh?", "c")
    draft["target"], draft["expected"] = TARGET, ["between five and nine grams"]
    draft.update(fields)  # type: ignore[typeddict-item]
    return draft


def test_asks_nothing_about_an_api_entry_since_it_cannot_write_the_call() -> None:
    client: Any = FakeClient("Answer: nine grams\nQuestion: How heavy?", 0.0)
    chunk = make_chunk("Call: bats.load('noctule')\nDescription: Loads the recording of a bat.", kind="api")
    (draft,) = asyncio.run(TEACHER.ask_questions(chunk, client, n=5, seed=1))
    assert (draft["reason"], draft["count"]) == ("the embedded teacher writes no API calls", 5)
    assert not client.prompts


@pytest.mark.parametrize(("logprob", "reason"), [(-99.0, "question is a guess"), (-0.1, "")])
def test_rejects_a_question_with_unlikely_tokens(logprob: float, reason: str) -> None:
    draft = drafted()
    client: Any = FakeClient("Answer: nine grams\nQuestion: How heavy?", logprob)
    asyncio.run(TEACHER._ask_question(draft, make_chunk(), client, seed=1, attempt=0))
    assert (draft["question"], draft["reason"]) == ("How heavy?", reason)


@pytest.mark.parametrize(("logprob", "reason"), [(-1.5, "answer is a guess"), (-0.1, "")])
def test_rejects_an_answer_with_unlikely_tokens(logprob: float, reason: str) -> None:
    draft = drafted()
    client: Any = FakeClient(f"##begin_quote##{TARGET}##end_quote##\n<ANSWER>: nine grams", logprob)
    asyncio.run(TEACHER.answer_question(draft, make_chunk(), client, seed=1))
    assert draft["reason"] == reason
    assert draft["cot_answer"], "kept for inspection"


@pytest.mark.parametrize(
    ("again", "reason"), [("nine grams", "tries disagree on the answer"), ("An Adult.", "")]
)
def test_rejects_an_answer_that_changes_with_the_passage(again: str, reason: str) -> None:
    draft = drafted(final_answer="an adult")
    client: Any = FakeClient(f"##begin_quote##{TARGET}##end_quote##\n<ANSWER>: {again}", 0.0)
    asyncio.run(TEACHER._answer_again(draft, client))
    assert draft["reason"] == reason
    assert BATS not in client.prompts[0] and TARGET in client.prompts[0]


def test_the_served_model_returns_log_probabilities_and_the_cache_stores_them(tmp_path: Path) -> None:
    async def ask(base_url: str) -> Reply:
        async with Client(Endpoint(base_url, "m"), cache_dir=tmp_path) as client:
            messages = [{"role": "user", "content": "What is the capital of France?"}]
            return await client.ask(messages, max_tokens=8, extra={"logprobs": True})  # type: ignore[arg-type]

    with embedded_server(slots=1) as base_url:
        paid = asyncio.run(ask(base_url))
    assert "".join(token for token, _ in paid.logprobs) == paid.text
    assert all(logprob <= 0 for _, logprob in paid.logprobs)
    cached = asyncio.run(ask(base_url))
    assert cached.cached and cached.logprobs == paid.logprobs


def test_an_endpoint_behaves_the_same_under_any_name() -> None:
    chunk = make_chunk()
    for model in (TEACHER_MODEL, "m"):
        sent = []
        for name in ("embedded", "mine", ""):
            with scripted_endpoint() as endpoint:

                async def ask(url: str = endpoint.url, name: str = name, model: str = model) -> None:
                    async with Client(Endpoint(url, model, name=name), cache_dir=None) as client:
                        await draft_rows(chunk, client, n=2, seed=1)

                asyncio.run(ask())
                sent.append(endpoint.requests())
        assert sent[0] == sent[1] == sent[2]
        assert all(("grammar" in body) is (model == TEACHER_MODEL) for body in sent[0])


def test_rejects_a_students_adapter_before_reading_anything(tmp_path: Path) -> None:
    adapter = tmp_path / "adapter.gguf"
    adapter.write_bytes(b"GGUF")
    command = ["generate", "--docs", "data/documents", "--out", tmp_path / "out", "--connection", adapter]
    done = subprocess.run(
        [sys.executable, "-m", "tools", *map(str, command)], cwd=PROJECT, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "is a fine-tuned student, which cannot write a dataset" in done.stderr
    assert not (tmp_path / "out").exists()
    assert choose_teacher(resolve_endpoint(str(adapter), model=TEACHER_MODEL, env={})).sequential
