"""A ceiling of dollars or calls stops a run before it is passed, and the run goes on when it is raised."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.models.test_pool import ask, at, serving
from tools.raft.errors import UserError
from tools.raft.models.budget import Budget, BudgetSpent
from tools.raft.models.pricing import Price
from tools.raft.models.reply import Reply

PRICES = {"m": Price("m", input=10.0, output=40.0), "dear": Price("dear", input=100.0, output=400.0)}


def test_dollars_are_not_passed_and_all_of_them_can_be_used(tmp_path: Path) -> None:
    with serving({"latency": 0.05}, {"latency": 0.05}) as served:
        budget = Budget(max_dollars=0.10, prices=PRICES)
        replies, client, _ = ask(at(*served), 100, cache=tmp_path, budget=budget)
        paid = (10 * client.usage.prompt_tokens + 40 * client.usage.completion_tokens) / 1e6
        assert budget.spent == pytest.approx(paid)
        assert 0.08 < paid <= 0.10
        answered = [reply for reply in replies if isinstance(reply, Reply)]
        refused = [reply for reply in replies if isinstance(reply, BudgetSpent)]
        assert len(answered) == client.usage.calls and len(refused) == 100 - len(answered) > 10
        reason = "the ceiling of $0.10 (--max-cost) is reached: raise it and run the same command again"
        assert {str(error) for error in refused} == {reason}
        # With more, the rest is paid for and nothing twice.
        replies, client, _ = ask(
            at(*served), 100, cache=tmp_path, budget=Budget(max_dollars=9, prices=PRICES)
        )
        assert all(isinstance(reply, Reply) for reply in replies)
        assert client.usage.calls == len(refused)
        assert sum(one.stats()["paid_twice"] for one in served) == 0


def test_calls_are_counted_exactly_and_those_from_the_cache_are_free(tmp_path: Path) -> None:
    with serving({"latency": 0.01}) as served:
        ask(at(*served), 5, cache=tmp_path)
        replies, client, _ = ask(at(*served), 30, cache=tmp_path, budget=Budget(max_calls=12))
        assert (client.usage.calls, client.usage.cached_calls, client.usage.failed) == (12, 5, 13)
        assert "--max-calls" in str(next(reply for reply in replies if isinstance(reply, BudgetSpent)))
        _, client, _ = ask(at(*served), 30, cache=tmp_path, budget=Budget(max_calls=0))
        assert client.usage.calls == 0
        assert served[0].stats()["calls"] == 17


def test_a_budget_is_shared_by_clients() -> None:
    with serving({}) as served:
        budget = Budget(max_calls=10)
        for expected in (7, 3, 0):
            _, client, _ = ask(at(*served), 7, budget=budget)
            assert client.usage.calls == expected


def test_a_price_that_is_not_known_is_an_error_for_dollars_only() -> None:
    known, unknown = at("http://127.0.0.1:9/v1", model="m"), at("http://127.0.0.1:9/v1", model="ours")
    Budget(max_dollars=1, prices=PRICES).check(known)
    Budget(max_calls=1, prices=PRICES).check(unknown)
    with pytest.raises(UserError, match="needs the price of ours, which is not in the table.*--max-calls"):
        Budget(max_dollars=1, prices=PRICES).check([*known, *unknown])


def test_a_call_that_may_go_to_a_dear_model_sets_its_price_aside() -> None:
    with serving({}, {}) as served:
        pool = [*at(served[0], model="m"), *at(served[1], model="dear")]
        budget = Budget(max_dollars=0.5, prices=PRICES)
        _, client, _ = ask(pool, 60, budget=budget)
    cheap, dear = (lane.usage for lane in client.lanes)
    paid = (10 * cheap.prompt_tokens + 40 * cheap.completion_tokens) / 1e6
    paid += (100 * dear.prompt_tokens + 400 * dear.completion_tokens) / 1e6
    assert budget.spent == pytest.approx(paid) and paid <= 0.5
