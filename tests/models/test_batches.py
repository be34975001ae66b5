"""Batches: the same replies and files as single calls, nothing submitted twice whatever happens."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.generate.test_pipeline import CHUNKS, build, files
from tests.models.test_client import prompt
from tests.scripted_batches import KEY, Batches, scripted_batches
from tests.scripted_endpoint import scripted_endpoint, write_reply
from tools.raft.errors import UserError
from tools.raft.generate.pipeline import BuildResult, build_dataset
from tools.raft.generate.settings import DatasetSettings
from tools.raft.ingest.corpus import Corpus
from tools.raft.models import batcher as batcher_module
from tools.raft.models.batch_service import BatchFiles, HostedBatches
from tools.raft.models.batcher import Batcher
from tools.raft.models.budget import Budget
from tools.raft.models.client import Client
from tools.raft.models.endpoint import Endpoint
from tools.raft.models.failed_calls import CallFailed
from tools.raft.models.pricing import Price
from tools.raft.models.reply import Reply


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batcher_module, "QUIET", 0.05)


def endpoint_of(service: Batches) -> Endpoint:
    if service.azure:
        return Endpoint(service.url.replace("/v1", "/openai/v1"), "m", kind="azure_openai", key=KEY)
    return Endpoint(service.url, "m", key=KEY)


def batched(service: Batches, out: Path, **settings: Any) -> BuildResult:
    """Build the dataset of `build`, in batches."""
    endpoint = endpoint_of(service)
    batcher = Batcher(HostedBatches(endpoint), out / ".cache" / "batches", poll=0.01)
    return build_dataset(
        Corpus(chunks=list(CHUNKS), documents=5), endpoint, out, DatasetSettings(**settings), batcher=batcher
    )


def ask(
    service: Batches,
    folder: Path,
    count: int,
    *,
    cache: bool = True,
    lines: list[str] | None = None,
    **options: Any,
) -> tuple[list[Reply | BaseException], Client]:
    endpoint = endpoint_of(service)
    said = lines if lines is not None else []
    batcher = Batcher(HostedBatches(endpoint), folder / "batches", poll=0.01, on_status=said.append)

    async def main() -> tuple[list[Reply | BaseException], Client]:
        async with Client(
            endpoint, cache_dir=folder if cache else None, batcher=batcher, **options
        ) as client:
            calls = (client.ask(prompt(number), max_tokens=200) for number in range(count))
            return await asyncio.gather(*calls, return_exceptions=True), client

    return asyncio.run(main())


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, bytes]]:
    """The files that single calls write."""
    out = tmp_path_factory.mktemp("alone")
    with scripted_endpoint() as endpoint:
        build(endpoint.url, out)
    yield files(out)


@pytest.mark.parametrize("azure", [False, True])
def test_a_dataset_is_the_same_as_by_single_calls(
    azure: bool, alone: dict[str, bytes], tmp_path: Path
) -> None:
    with scripted_batches(azure=azure) as service:
        result = batched(service, tmp_path)
        assert files(tmp_path) == alone
        assert len(service.batches) == 2, "the questions, then their answers"
        assert result.usage.calls == sum(service.answered.values()) and not service.paid_twice
        again = batched(service, tmp_path)
        assert (again.usage.calls, len(service.batches)) == (0, 2)
    assert result.usage.batch_prompt_tokens == result.usage.prompt_tokens > 0
    assert again.usage.batch_completion_tokens == again.usage.cached_completion_tokens > 0


@pytest.mark.parametrize("fault", ["lost", "upload", "batch", "expire", "lines", "junk"])
def test_faults_change_nothing_and_nothing_is_submitted_twice(
    fault: str, alone: dict[str, bytes], tmp_path: Path
) -> None:
    with scripted_batches() as service:
        service.faults[fault] = 1
        batched(service, tmp_path)
        assert files(tmp_path) == alone
        assert not service.paid_twice
        assert service.faults[fault] == 0, "the fault came"
        inputs = [file["filename"] for file in service.files.values() if file["purpose"] == "batch"]
        assert len(inputs) == len(set(inputs)) == len(service.batches)
        assert len(service.batches) == 2 + (fault in ("expire", "lines", "junk"))


def test_a_run_killed_while_it_waits_finds_its_batch_again(tmp_path: Path) -> None:
    with scripted_batches(states=("validating", *["in_progress"] * 40, "completed")) as service:
        endpoint = endpoint_of(service)

        async def killed() -> None:
            batcher = Batcher(HostedBatches(endpoint), tmp_path / "batches", poll=0.02)
            async with Client(endpoint, cache_dir=tmp_path, batcher=batcher) as client:
                calls = [asyncio.ensure_future(client.ask(prompt(n), max_tokens=200)) for n in range(10)]
                while not service.batches:
                    await asyncio.sleep(0.02)
                for call in calls:
                    call.cancel()
                await asyncio.gather(*calls, return_exceptions=True)

        asyncio.run(killed())
        # More is asked now than before: what waits already is awaited, the rest is a batch of its own.
        replies, client = ask(service, tmp_path, 14)
        assert all(isinstance(reply, Reply) for reply in replies)
        assert [len(batch["lines"]) for batch in service.batches.values()] == [10, 4]
        assert client.usage.calls == 14 and not service.paid_twice


def test_replies_that_are_here_are_used_even_if_the_cache_is_not(tmp_path: Path) -> None:
    with scripted_batches() as service:
        first, _ = ask(service, tmp_path, 5, cache=False)
        again, _ = ask(service, tmp_path, 5, cache=False)
        assert [reply.text for reply in first] == [reply.text for reply in again]  # type: ignore[union-attr]
        assert len(service.batches) == 1


def test_a_request_that_always_fails_fails_alone(tmp_path: Path) -> None:
    with scripted_batches() as service:
        service.faults["lines"] = 9
        replies, client = ask(service, tmp_path, 6)
        failed = [reply for reply in replies if isinstance(reply, CallFailed)]
        assert 0 < len(failed) < 3 and client.usage.failed == len(failed)
        assert "no usable reply in 3 batches, the last: HTTP 500: The server had an error." in str(failed[0])
        service.faults.clear()
        replies, _ = ask(service, tmp_path, 6)
        assert all(isinstance(reply, Reply) for reply in replies) and not service.paid_twice


def test_a_refused_batch_ends_the_run_and_is_submitted_again_by_the_next(tmp_path: Path) -> None:
    with scripted_batches() as service:
        service.faults["refuse"] = 1
        replies, _ = ask(service, tmp_path, 3)
        assert all(isinstance(reply, UserError) for reply in replies)
        assert "refused batch batch_1: The enqueued token limit is reached." in str(replies[0])
        replies, _ = ask(service, tmp_path, 3)
        assert all(isinstance(reply, Reply) for reply in replies)
        assert len([name for name in service.files if service.files[name]["purpose"] == "batch"]) == 1


def test_files_keep_to_the_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HostedBatches, "most_bytes", 5000)
    said: list[str] = []
    with scripted_batches() as service:
        replies, _ = ask(service, tmp_path, 20, lines=said)
        sizes = [len(service.contents[batch["body"]["input_file_id"]]) for batch in service.batches.values()]
    assert all(isinstance(reply, Reply) for reply in replies)
    assert len(sizes) > 4 and max(sizes) <= 5000
    assert said[0] == f"round 1: 20 requests in {len(sizes)} batch file(s)"
    assert any("completed" in line for line in said)


def test_a_wrong_key_is_one_line_without_the_key(tmp_path: Path) -> None:
    with scripted_batches() as service:
        endpoint = Endpoint(service.url, "m", key="sk-wrong-123456789", key_from="THE_KEY")
        batcher = Batcher(HostedBatches(endpoint), tmp_path, poll=0.01)

        async def main() -> None:
            async with Client(endpoint, cache_dir=None, batcher=batcher) as client:
                await client.ask(prompt(), max_tokens=50)

        with pytest.raises(UserError, match="refused the call .*check THE_KEY") as caught:
            asyncio.run(main())
    assert "sk-wrong-123456789" not in str(caught.value)


def test_a_budget_counts_the_price_of_batches(tmp_path: Path) -> None:
    prices = {"m": Price("m", input=10.0, output=40.0)}
    with scripted_batches() as service:
        budget = Budget(max_dollars=0.1, prices=prices)
        replies, client = ask(service, tmp_path, 60, budget=budget)
    usage = client.usage
    whole = (10 * usage.prompt_tokens + 40 * usage.completion_tokens) / 1e6
    assert budget.spent == pytest.approx(whole / 2) and budget.spent <= 0.1
    assert 0 < usage.calls < 60 == len(replies)


def test_files_are_written_for_someone_else_to_answer(tmp_path: Path) -> None:
    """As `vllm run-batch -i … -o …`, whose lines are those of OpenAI's batches."""
    import json

    endpoint = Endpoint("http://127.0.0.1:9/v1", "m")

    def run() -> Reply:
        batcher = Batcher(BatchFiles(endpoint, tmp_path / "shared"), tmp_path / "batches", poll=0.01)

        async def main() -> Reply:
            async with Client(endpoint, cache_dir=tmp_path, batcher=batcher) as client:
                return await client.ask(prompt(), max_tokens=50)

        return asyncio.run(main())

    with pytest.raises(UserError, match="run `vllm run-batch -i .* --model m`, then the same command again"):
        run()
    (requests,) = (tmp_path / "shared").glob("*.jsonl")
    line = json.loads(requests.read_text(encoding="utf-8"))
    assert (line["method"], line["url"], line["body"]["model"]) == ("POST", "/v1/chat/completions", "m")
    text = write_reply("\n".join(message["content"] for message in line["body"]["messages"]))
    body = {"choices": [{"message": {"content": text}, "finish_reason": "stop"}]}
    reply = {"id": "vllm-1", "custom_id": line["custom_id"], "response": {"request_id": "1", "status_code": 200,
             "body": body}, "error": None}  # fmt: skip
    requests.with_name(f"{requests.stem}.replies.jsonl").write_text(json.dumps(reply), encoding="utf-8")
    assert run().text == text
