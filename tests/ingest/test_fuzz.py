"""Damaged documents of every format are read or refused; `python -m tests.fuzz_documents` tries thousands."""

from __future__ import annotations

import pytest

from tests.fuzz_documents import fuzz, make_samples


def test_damaged_documents_never_hang_crash_the_run_or_leave_anything_behind():
    tallies, faults = fuzz(150, seed=20)
    assert faults == []
    assert sum(tally.read + tally.refused.total() for tally in tallies.values()) == 150
    assert len(tallies) == len(make_samples())


@pytest.mark.slow
def test_a_thousand_damaged_documents():
    tallies, faults = fuzz(1000, seed=21)
    assert faults == []
    assert all(tally.read for tally in tallies.values()), (
        "every format has a file that is read in spite of its damage"
    )
