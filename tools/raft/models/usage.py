"""Count calls and tokens."""

from __future__ import annotations

from dataclasses import asdict, dataclass

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
    failed: int = 0  # calls that ended in CallFailed
    unmetered: int = 0  # paid replies whose endpoint reported no tokens

    def add_paid(self, reply: Reply | Vectors) -> None:
        """Count a reply that was paid for now."""
        self.calls += 1
        self.prompt_tokens += reply.prompt_tokens
        self.completion_tokens += reply.completion_tokens
        self.unmetered += isinstance(reply, Reply) and not reply.prompt_tokens

    def add_cached(self, reply: Reply) -> None:
        """Count a reply that came from the cache, or from an identical call in flight."""
        self.cached_calls += 1
        self.cached_prompt_tokens += reply.prompt_tokens
        self.cached_completion_tokens += reply.completion_tokens

    def to_dict(self) -> dict[str, int]:
        """Return the counts by name, for a manifest."""
        return asdict(self)
