"""What goes into one sequence, and what it shares there."""

from __future__ import annotations

import pytest

from tools.raft.finetune.local.pack import Example, pack_examples


def example(beginning: int, own: int) -> Example:
    """Make an example: a prompt of ten shared tokens and one of its own, and a reply of two."""
    return Example([*range(beginning, beginning + 10), own], [own, own + 1], [1.0, 1.0])


def test_examples_about_the_same_documents_hold_them_once() -> None:
    (pack,) = pack_examples([example(100, own) for own in (1, 2, 3)], limit=100)
    assert pack.pieces == [10, 3, 3, 3]
    assert len(pack.tokens) == 10 + 3 * 3
    assert pack.positions[10:13] == pack.positions[13:16] == [10, 11, 12]


def test_a_pack_ends_where_the_documents_change() -> None:
    packs = list(pack_examples([example(begin, 1) for begin in (100, 100, 200, 200, 200)], limit=1000))
    assert [pack.examples for pack in packs] == [2, 3]


@pytest.mark.parametrize(("count", "sizes"), [(8, [8]), (9, [4, 5]), (17, [5, 6, 6])])
def test_many_about_the_same_documents_are_cut_evenly(count: int, sizes: list[int]) -> None:
    packs = pack_examples([example(100, own) for own in range(count)], limit=1000, most=8)
    assert [pack.examples for pack in packs] == sizes


def test_a_pack_keeps_within_the_limit() -> None:
    packs = list(pack_examples([example(100, own) for own in range(7)], limit=10 + 3 * 3))
    assert [pack.examples for pack in packs] == [3, 3, 1]
    (alone,) = pack_examples([example(100, 1)], limit=5)
    assert len(alone.tokens) == 13, "what is longer than the limit stands alone"
