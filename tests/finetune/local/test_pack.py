"""Which examples share a sequence, and what they share in it."""

from __future__ import annotations

import pytest

from tools.raft.finetune.local.pack import Example, pack_examples


def example(prefix: int, own: int) -> Example:
    """Build an example: a prompt of ten shared tokens and one of its own, and a reply of two."""
    return Example([*range(prefix, prefix + 10), own], [own, own + 1], [1.0, 1.0])


def test_examples_about_the_same_documents_share_them() -> None:
    (pack,) = pack_examples([example(100, own) for own in (1, 2, 3)], max_tokens=100)
    assert pack.segment_lengths == [10, 3, 3, 3]
    assert len(pack.tokens) == 10 + 3 * 3
    assert pack.positions[10:13] == pack.positions[13:16] == [10, 11, 12]


def test_a_pack_ends_where_the_documents_change() -> None:
    packs = list(pack_examples([example(prefix, 1) for prefix in (100, 100, 200, 200, 200)], max_tokens=1000))
    assert [pack.examples for pack in packs] == [2, 3]


@pytest.mark.parametrize(("count", "sizes"), [(8, [8]), (9, [4, 5]), (17, [5, 6, 6])])
def test_many_examples_about_the_same_documents_are_divided_evenly(count: int, sizes: list[int]) -> None:
    packs = pack_examples([example(100, own) for own in range(count)], max_tokens=1000, max_examples=8)
    assert [pack.examples for pack in packs] == sizes


def test_a_pack_keeps_within_the_limit() -> None:
    packs = list(pack_examples([example(100, own) for own in range(7)], max_tokens=10 + 3 * 3))
    assert [pack.examples for pack in packs] == [3, 3, 1]
    (alone,) = pack_examples([example(100, 1)], max_tokens=5)
    assert len(alone.tokens) == 13, "an example over the limit gets its own pack"
