"""Account for the characters of a file: how many it has, how many are in the chunks, why others are not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

LOST = "lost in conversion"
LARGE_SHARE = 0.1  # of the characters of a file; a larger loss is reported by name


@dataclass
class Account:
    """The characters (letters and digits) of a file; `left_out` counts by reason those kept nowhere."""

    source: str
    documents: int = 0
    seen: int = 0
    left_out: Counter[str] = field(default_factory=Counter)

    @property
    def kept(self) -> int:
        """Return the number of characters that are in a document or, after chunking, in a chunk."""
        return self.seen - self.left_out.total()

    @property
    def share_lost(self) -> float:
        """Return which share of the characters was left out, 0 to 1."""
        return self.left_out.total() / max(1, self.seen)

    def add(self, kept: int, seen: int, left_out: Mapping[str, int]) -> None:
        """Add a document; what neither is kept nor has a reason is a loss in the conversion.

        A reader may also add characters, such as the numbers of a list: they count as seen.
        """
        lost = seen - kept - sum(left_out.values())
        self.documents += 1
        self.seen += max(seen, seen - lost)
        self.left_out.update(left_out)
        if lost > 0:
            self.left_out[LOST] += lost

    def describe_loss(self) -> str:
        """Return which share was left out, and why, the largest reason first."""
        return f"{self.share_lost:.0%} of its {self.seen:,} characters ({describe_reasons(self.left_out)})"

    def to_dict(self) -> dict[str, Any]:
        """Return the account as the manifest lists it."""
        return {
            "source": self.source,
            "documents": self.documents,
            "characters": self.seen,
            "kept": self.kept,
            "left_out": dict(self.left_out.most_common()),
        }

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Account:
        """Return the account of which `to_dict` made the row."""
        return cls(row["source"], row["documents"], row["characters"], Counter(row["left_out"]))


def describe_reasons(left_out: Counter[str]) -> str:
    """Return the reasons with their characters, the largest first."""
    return ", ".join(f"{count:,} {reason}" for reason, count in left_out.most_common())


def total_account(accounts: Iterable[Account]) -> Account:
    """Add up accounts."""
    total = Account("")
    for account in accounts:
        total.documents += account.documents
        total.seen += account.seen
        total.left_out.update(account.left_out)
    return total
