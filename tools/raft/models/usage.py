"""Count calls and tokens."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from .reply import Reply, Vectors


@dataclass
class Usage:
    """Totals of calls: those paid for now, and those answered from the cache."""

    calls: int = 0  # replies paid for now
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_calls: int = 0
    cached_prompt_tokens: int = 0
    cached_completion_tokens: int = 0
    retries: int = 0
    throttled: int = 0  # 429s, included in the retries
    failed: int = 0  # calls that ended in CallFailed; of an endpoint: attempts without a usable reply
    unmetered: int = 0  # paid replies whose endpoint reported no tokens
    batch_prompt_tokens: int = 0  # of all tokens, those of batches, now or when the cache was filled
    batch_completion_tokens: int = 0

    def add_paid(self, reply: Reply | Vectors, *, batched: bool = False) -> None:
        """Count a reply that was paid for now; `batched`: at the price of batches."""
        self._add_batched(reply, batched)
        self.calls += 1
        self.prompt_tokens += reply.prompt_tokens
        self.completion_tokens += reply.completion_tokens
        self.unmetered += isinstance(reply, Reply) and not reply.prompt_tokens

    def add_cached(self, reply: Reply, *, batched: bool = False) -> None:
        """Count a reply that came from the cache, or from an identical call in flight."""
        self._add_batched(reply, batched)
        self.cached_calls += 1
        self.cached_prompt_tokens += reply.prompt_tokens
        self.cached_completion_tokens += reply.completion_tokens

    def _add_batched(self, reply: Reply | Vectors, batched: bool) -> None:
        self.batch_prompt_tokens += batched * reply.prompt_tokens
        self.batch_completion_tokens += batched * reply.completion_tokens

    def to_dict(self) -> dict[str, int]:
        """Return the counts by name, for a manifest."""
        return asdict(self)


def merge_accounts(
    usage: Usage,
    accounts: Iterable[Mapping[str, Any]],
    others: Sequence[Mapping[str, Any]],
    *,
    seconds: float,
) -> tuple[Usage, list[dict[str, Any]]]:
    """Add what the same endpoints did for other workers, within so many seconds, as `Lane.account` has it."""
    total, merged = replace(usage), []
    counts = [count.name for count in fields(Usage)]
    for own in accounts:
        account = dict(own)
        same = [
            other
            for other in others
            if other["endpoint"] == own["endpoint"] and other["model"] == own["model"]
        ]
        for name in counts:
            more = sum(other[name] for other in same)
            account[name] += more
            setattr(total, name, getattr(total, name) + more)
        if same and seconds:
            account["tokens_per_second"] = round(account["completion_tokens"] / seconds, 1)
        account["refusal"] = own["refusal"] or next(
            (other["refusal"] for other in same if other["refusal"]), ""
        )
        merged.append(account)
    return total, merged
