"""The chat workflow beside the chat flow: the same requests, the same outputs, the same streams."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.flows.test_chat_flows import CHAT_RAG, ROWS, certain, load, sent_requests
from tests.rag.test_answer import SPEED, sample_folder  # noqa: F401 - a fixture
from tests.scripted_endpoint import scripted_endpoint
from tools.raft.errors import UserError
from tools.raft.files import PROJECT, read_log
from tools.raft.models.endpoint import Endpoint
from tools.raft.models.failed_calls import CallFailed, EndpointRefused
from tools.raft.models.streaming import StreamingClient
from tools.raft.rag.answer import PROMPTS
from tools.raft.rag.chat_retriever import ChatRetriever
from tools.raft.rag.citations import stream_answer
from tools.raft.rag.index_store import update_manifest

pytest.importorskip("agent_framework", reason="pip install --no-deps -r requirements-agents-dev.txt")

from workflows.chat import OUTPUTS, Turn, build_chat
from workflows.chat_client import EndpointChatClient

QUESTIONS = read_log(PROJECT / "data" / "questions.jsonl") + read_log(CHAT_RAG / "questions.jsonl")


def turn(row: dict[str, Any], **inputs: Any) -> Turn:
    return Turn(row["question"], row.get("chat_history") or [], **inputs)


def run(
    url: str, folder: Path, turns: list[Turn], *, model: str = "m", api: str = "chat", **options: Any
) -> list[Any]:
    """Run the workflow for each turn; return its outputs."""

    async def main() -> list[Any]:
        retriever = ChatRetriever(folder, embeddings=False)
        endpoint = Endpoint(base_url=url, model=model, api=api)  # type: ignore[arg-type]
        async with StreamingClient(endpoint, cache_dir=None, attempts=2) as client:
            outputs = []
            for each in turns:
                workflow = build_chat(retriever, EndpointChatClient(client), mode="lexical", **options)
                (output,) = (await workflow.run(each)).get_outputs()
                outputs.append(output)
            return outputs

    return asyncio.run(main())


def stream(url: str, folder: Path, each: Turn, attempts: int = 2) -> tuple[list[Any], list[Any]]:
    """Run the workflow streamed; return its intermediate outputs and its outputs."""

    async def main() -> tuple[list[Any], list[Any]]:
        retriever = ChatRetriever(folder, embeddings=False)
        endpoint = Endpoint(base_url=url, model="m")
        async with StreamingClient(endpoint, cache_dir=None, attempts=attempts) as client:
            workflow = build_chat(retriever, EndpointChatClient(client), mode="lexical")
            events = [event async for event in workflow.run(each, stream=True)]
        return tuple(
            [event.data for event in events if event.type == kind] for kind in ("intermediate", "output")
        )  # type: ignore[return-value]

    return asyncio.run(main())


# Faults of all replies or of none: which ones draw a fault depends on the whole body, and promptflow's has more fields.
@pytest.mark.parametrize("fault", ["", "untagged", "truncated"])
def test_the_workflow_gives_the_outputs_of_the_flow_to_the_sample_questions(
    fault: str,
    sample_folder: Path,  # noqa: F811
) -> None:
    rows = [*QUESTIONS, *ROWS] if not fault else ROWS
    with scripted_endpoint(faults={fault: 1.0} if fault else {}) as endpoint:
        flow = load(PROJECT, endpoint, sample_folder)
        expected = [
            flow(question=row["question"], chat_history=row.get("chat_history") or []) for row in rows
        ]
        requests = sent_requests(endpoint)
        endpoint.reset()
        outputs = run(endpoint.url, sample_folder, [turn(row) for row in rows])
        assert json.dumps(sent_requests(endpoint)) == json.dumps(requests)
    for output, one in zip(outputs, expected, strict=True):
        assert json.dumps(output) == json.dumps({name: one[name] for name in OUTPUTS})
    if fault:
        assert all(output["note"] for output in outputs)
    else:
        assert len(rows) > 30 and sum(bool(output["citations"]) for output in outputs) > 25


def test_each_variant_sends_the_requests_of_the_baseline_flow(sample_folder: Path, tmp_path: Path) -> None:  # noqa: F811
    from tests.conftest import merge_flow

    folder = merge_flow(CHAT_RAG, tmp_path)
    with scripted_endpoint() as endpoint:
        for variant in (*PROMPTS, "completion"):
            endpoint.reset()
            expected = load(folder, endpoint, sample_folder, variant)(**ROWS[1])
            (request,) = sent_requests(endpoint)
            endpoint.reset()
            options = {"api": "completion"} if variant == "completion" else {"prompt": variant}
            (output,) = run(endpoint.url, sample_folder, [turn(ROWS[1])], model=request["model"], **options)
            assert json.dumps(sent_requests(endpoint)) == json.dumps([request]), variant
            assert output == dict(expected), variant


def test_refusals_and_focus_are_those_of_the_flow(sample_folder: Path, tmp_path: Path) -> None:  # noqa: F811
    index = shutil.copytree(sample_folder, tmp_path / "index")
    update_manifest(index, answerability=certain(0.25))
    inputs = [{}, {"always_answer": True}, {"always_answer": True, "focus": True}]
    with scripted_endpoint() as endpoint:
        flow = load(PROJECT, endpoint, index)
        expected = [flow(**ROWS[0], **each) for each in inputs]
        requests = sent_requests(endpoint)
        endpoint.reset()
        outputs = run(endpoint.url, index, [turn(ROWS[0], **each) for each in inputs])
        assert json.dumps(sent_requests(endpoint)) == json.dumps(requests) and len(requests) == 2
        endpoint.reset()
        pieces, (refused,) = stream(endpoint.url, index, turn(ROWS[0]))
        assert not sent_requests(endpoint)
    assert outputs == list(map(dict, expected))
    assert "unlikely to hold an answer" in outputs[0]["refusal"]
    assert (pieces, refused) == ([], outputs[0]), "there is nothing to stream"


@pytest.mark.parametrize("thoughts", ["", "<think>\nIs it 50? ##begin_quote##Hm##end_quote##\n</think>\n"])
def test_a_stream_has_the_pieces_of_the_flow_and_ends_with_the_whole_answer(
    thoughts: str,
    sample_folder: Path,  # noqa: F811
) -> None:
    with scripted_endpoint(thoughts=thoughts) as endpoint:
        (whole,) = run(endpoint.url, sample_folder, [Turn(SPEED)])
        (head, *pieces), (output,) = stream(endpoint.url, sample_folder, Turn(SPEED))
        (request,) = endpoint.requests()[1:]
    assert request["stream"] is True
    assert output == whole
    assert len(pieces) > 5 and (head["note"], head["sources"]) == ("streamed", whole["sources"])
    assert "think" not in "".join(pieces)
    text = whole["reasoning"] + "\n<ANSWER>: " + whole["answer"]
    hits = ChatRetriever(sample_folder, embeddings=False).find(SPEED, 4, "lexical")
    assert "".join(pieces) == "".join(stream_answer([text], hits)), "as the flow's read_reply shows it"


def test_a_stream_that_breaks_off_says_so(sample_folder: Path) -> None:  # noqa: F811
    class Breaking(EndpointChatClient):
        def _inner_get_response(self, *, messages: Any, stream: bool, options: Any, **_: Any) -> Any:
            from agent_framework import ChatResponseUpdate, Content

            async def pieces() -> Any:
                yield ChatResponseUpdate(role="assistant", contents=[Content.from_text("50 kilo")])
                raise OSError

            return self._build_response_stream(pieces())

    async def main() -> list[Any]:
        client = Breaking(
            StreamingClient(Endpoint(base_url="http://127.0.0.1:9/v1", model="m"), cache_dir=None)
        )
        workflow = build_chat(ChatRetriever(sample_folder, embeddings=False), client, mode="lexical")
        events = [event async for event in workflow.run(Turn(SPEED), stream=True)]
        return [event.data for event in events if event.type == "intermediate"]

    _, *pieces = asyncio.run(main())
    assert "".join(pieces).startswith("50 kilo\n\nThe reply broke off here")


@pytest.mark.parametrize(
    ("given", "options", "error"),
    [
        (Turn("  "), {}, UserError),
        (Turn("and?", ["50"]), {}, UserError),  # type: ignore[list-item]
        (Turn(SPEED), {"key": "sk-right-0123456"}, EndpointRefused),
        (Turn(SPEED), {"block": "noctule"}, CallFailed),
    ],
    ids=["empty", "history", "key", "filter"],
)
def test_a_failure_keeps_its_reason(
    given: Turn,
    options: Any,
    error: type[Exception],
    sample_folder: Path,  # noqa: F811
) -> None:
    with scripted_endpoint(**options) as endpoint:
        with pytest.raises(error):
            run(endpoint.url, sample_folder, [given])
        with pytest.raises(error):
            stream(endpoint.url, sample_folder, given)


def test_a_stream_that_fails_before_its_first_piece_is_tried_again(sample_folder: Path) -> None:  # noqa: F811
    with scripted_endpoint(faults={"500": 0.5}, seed=2) as endpoint:
        for number in range(3):
            (head, *pieces), _ = stream(endpoint.url, sample_folder, Turn(f"{SPEED} ({number})"), attempts=8)
            assert head["note"] == "streamed" and "broke off" not in "".join(pieces)
        assert endpoint.stats()["faults"]["500"] > 0


@pytest.mark.slow
def test_the_embedded_model_answers_the_flow_and_the_workflow_alike(sample_folder: Path) -> None:  # noqa: F811
    from tools.raft.models.embedded import serving
    from tools.raft.models.endpoint import EMBEDDED_MODEL, resolve_endpoint

    # A server each: what it has in its cache of an earlier request changes the last digits of a later one.
    with serving(resolve_endpoint("embedded")) as endpoint:

        class Served:
            url = endpoint.base_url

        flow = load(CHAT_RAG.parent.parent, Served(), sample_folder)  # type: ignore[arg-type]
        flow.context.overrides["nodes.ask_model.inputs.model"] = EMBEDDED_MODEL
        expected = [flow(**row) for row in ROWS[:2]]
    with serving(resolve_endpoint("embedded")) as endpoint:
        outputs = run(endpoint.base_url, sample_folder, [turn(row) for row in ROWS[:2]], model=EMBEDDED_MODEL)
    for output, one in zip(outputs, expected, strict=True):
        assert json.dumps(output) == json.dumps({name: one[name] for name in OUTPUTS})
        assert output["answer"]
