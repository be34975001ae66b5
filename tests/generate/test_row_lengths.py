"""Rows too long for the student are found before anything is paid for."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import corpus, make_chunk
from tests.dataset.test_export import make_rows, write_raft
from tests.tiny import WordTokenizer
from tools.raft.dataset.export import to_chat
from tools.raft.dataset.student import Student
from tools.raft.errors import UserError
from tools.raft.generate.row_lengths import forecast_rows, measure_longest, surely_fit


class WordStudent(Student):
    """A student whose tokens are words."""

    tokenizer = WordTokenizer()  # type: ignore[assignment]

    def count_chat(self, messages) -> int:  # type: ignore[no-untyped-def]
        return sum(self.count(message["content"]) for message in messages)


CHUNKS = corpus(30)


def longest(context: int, distractors: int) -> int:
    forecast = forecast_rows(CHUNKS, WordStudent("s", context), distractors=distractors)
    assert forecast is not None
    return forecast.longest


def test_the_longest_row_has_the_longest_chunks_and_room_for_question_and_answer() -> None:
    one, four = longest(9_999, 0), longest(9_999, 3)
    sizes = sorted(len(WordTokenizer()(chunk["text"]).input_ids) for chunk in CHUNKS)
    assert one > 768 + 80 + sizes[-1]
    assert sum(sizes[-4:-1]) < four - one < sum(sizes[-4:-1]) + 3 * 20, "with the tags of each document"


def test_a_context_that_takes_every_row_needs_no_warning() -> None:
    needed = longest(9_999, 3)
    for context, fits in ((needed, True), (needed - 1, False)):
        forecast = forecast_rows(CHUNKS, WordStudent("s", context), distractors=3)
        assert forecast is not None and (forecast.check() == "") is fits


def test_the_warning_names_settings_with_which_all_rows_fit() -> None:
    context = longest(9_999, 3) - 10
    forecast = forecast_rows(CHUNKS, WordStudent("s", context), distractors=3)
    assert forecast is not None and forecast.distractors == 2
    assert longest(context, 2) <= context
    assert f"--distractors 2 or --chunk-size {forecast.chunk_size}" in forecast.check()
    assert forecast.chunk_size and forecast.chunk_size < max(chunk["tokens"] for chunk in CHUNKS)


def test_rows_that_cannot_be_trained_on_are_refused() -> None:
    many = forecast_rows(CHUNKS, WordStudent("s", 1_300), distractors=19)
    assert many is not None
    with pytest.raises(UserError, match=r"could not be trained on: use --distractors \d"):
        many.check()
    tiny = forecast_rows(CHUNKS, WordStudent("s", 300), distractors=19)
    assert tiny is not None
    with pytest.raises(UserError, match="choose a student with a longer context"):
        tiny.check()
    assert forecast_rows(CHUNKS, WordStudent("s", None), distractors=3) is None


def test_what_surely_fits_does_fit_in_any_language() -> None:
    from tools.raft.dataset.student import open_student

    student = open_student("embedded")
    for text in (
        "The hut is open in May. ",
        "Die Hütte öffnet im Mai. ",
        "山小屋は五月に開く。",
        "กระท่อมเปิดในเดือนพฤษภาคม ",
    ):
        chunks = [make_chunk(text * n, source=str(n)) for n in range(20, 40)]
        forecast = forecast_rows(chunks, student, distractors=3)
        assert forecast is not None
        context = next(c for c in range(1_000, 50_000, 50) if surely_fit(chunks, c, distractors=3))
        assert forecast.longest <= context


def test_the_longest_row_of_a_dataset_is_measured(tmp_path: Path) -> None:
    rows = make_rows()
    path, student = write_raft(tmp_path / "raft.jsonl", rows), WordStudent("s", 100)
    sizes = [student.count_chat(to_chat(row)["messages"]) for row in rows]
    found = measure_longest(path, student)
    assert found["tokens"] == max(sizes) and found["line"] == sizes.index(max(sizes)) + 1
    assert found["student"] == "s" and found["context"] == 100 and found["exact"]
