"""What is kept on disk reads back as it was written, from threads and forked processes too."""

from __future__ import annotations

import os
import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import make_chunk
from tools.raft.dataset.splits import assign_splits
from tools.raft.files import write_jsonl
from tools.raft.generate.distractors import Distractors
from tools.raft.on_disk import Column, DiskArray, DiskMap, DiskTexts, RowFile, RowsById, Subset
from tools.raft.rag import weigh_words
from tools.raft.rag.lexical import Lexical
from tools.raft.records import new_draft

ROWS = [{"id": f"r{number}", "text": "最高\u2028法院\n" * number, "n": number} for number in range(50)]


def test_rows_are_read_while_others_are_appended() -> None:
    rows = RowFile()
    for number, row in enumerate(ROWS):
        rows.append(row)
        assert rows[number // 2] == ROWS[number // 2]
    assert list(rows) == ROWS and rows[-1] == ROWS[-1] and rows[3:9:2] == ROWS[3:9:2]
    with pytest.raises(IndexError):
        rows[50]
    assert list(Subset(rows, [4, 2])) == [ROWS[4], ROWS[2]]
    assert Column(rows, "n")[40:] == list(range(40, 50))
    found = RowsById(rows)
    assert found["r7"] == ROWS[7] and found.get("none") is None


def test_a_file_is_read_by_threads_and_forked_processes_at_the_same_time(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "rows.jsonl", ROWS)
    rows = RowFile(tmp_path / "rows.jsonl")
    child = os.fork()
    wrong: list[int] = []

    def read(step: int) -> None:
        for turn in range(4_000):
            number = turn * step % len(ROWS)
            if rows[number] != ROWS[number]:
                wrong.append(number)

    threads = [threading.Thread(target=read, args=(step,)) for step in (7, 11, 13)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if not child:
        os._exit(bool(wrong))
    assert not wrong and os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_map_keeps_the_first_value_of_a_key() -> None:
    values = DiskMap()
    assert [values.setdefault(key, number) for number, key in enumerate("abcab")] == [0, 1, 2, 0, 1]
    assert (len(values), values.get("c"), values.get("d"), "b" in values, "d" in values) == (
        3,
        2,
        None,
        True,
        False,
    )
    assert values.add("d") and not values.add("d")


@pytest.mark.parametrize("width", [0, 3])
def test_an_array_grows_and_is_read_by_slices(tmp_path: Path, width: int) -> None:
    array = DiskArray("float16", width)
    expected = np.arange(30, dtype=np.float16).reshape((10, 3) if width else 30)
    for start in range(0, len(expected), 7):
        array.extend(expected[start : start + 7])
        np.testing.assert_array_equal(array[: start + 3], expected[: start + 3])
    assert array.shape == expected.shape
    np.testing.assert_array_equal(array.rows([8, 1]), expected[[8, 1]])
    np.save(tmp_path / "array.npy", expected)
    stored = DiskArray.open(tmp_path / "array.npy")
    np.testing.assert_array_equal(stored[4:6], expected[4:6])
    np.testing.assert_array_equal(stored.rows(range(10)), expected[:10])


def test_texts_are_read_by_slices_and_one_after_another() -> None:
    texts = ["", "otter", "最高法院", "a\nb"] * 5_000
    stored = DiskTexts()
    for start in range(0, len(texts), 7_001):
        stored.extend(texts[start : start + 7_001])
    assert len(stored) == len(texts) and list(stored) == texts
    assert stored[9:12] == texts[9:12] and stored[3:3] == []


def test_lexical_weights_in_groups_find_what_those_of_one_group_do(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    vocabulary = np.array([f"word{number}" for number in range(3_000)])
    texts = [" ".join(vocabulary[rng.zipf(1.3, 60) % 3_000]) + f" mark{number}" for number in range(900)]
    queries = [f"mark{number} {text[:80]}" for number, text in enumerate(texts) if number % 10 == 0]
    whole = Lexical.of(texts)
    monkeypatch.setattr(weigh_words, "GROUP", 100)
    parts = Lexical.of(texts)
    assert isinstance(parts.weights.values, DiskArray)
    found, expected = parts.search(queries, 5), whole.search(queries, 5)
    assert [ranking[0][0] for ranking in found] == [ranking[0][0] for ranking in expected]
    assert len(parts.weights.values) == len(whole.weights.values)
    assert dict(parts.count_texts()) == dict(whole.count_texts())
    assert parts.search(["nothing of it 中文"], 5) == [[]]


def test_drawing_distractors_from_more_chunks_takes_little_memory_for_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(weigh_words, "GROUP", 250)
    rng = np.random.default_rng(2)
    vocabulary = np.array([f"word{number}" for number in range(2_000)])

    def draw(count: int) -> None:
        chunks = RowFile()
        for number in range(count):
            chunks.append(make_chunk(" ".join(vocabulary[rng.zipf(1.2, 120) % 2_000]) + f" mark{number}"))
        splits, _ = assign_splits(Column(chunks, "id"), seed=1, smallest=5)
        pool = Distractors(chunks, splits, "lexical")
        for chunk in chunks[::20]:
            draft = new_draft(f"What is {chunk['text'][-60:]}?", chunk["id"])
            assert len(pool.draw([draft], chunk, k=3, seed=1)[0].chunks) == 4

    draw(100)  # what is imported and cached once
    bytes_per_chunk = (_peak(lambda: draw(2_000)) - _peak(lambda: draw(500))) / 1_500
    assert bytes_per_chunk < 400  # offsets and hashes: the text of a chunk alone has 780


def _peak(run: Callable[[], None]) -> int:
    tracemalloc.start()
    try:
        run()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
