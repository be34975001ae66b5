"""Validation: every fault is reported in its row, and valid files have no findings."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from tests.dataset.test_export import make_rows, read_jsonl, words, write_raft
from tools.raft.dataset.count_tokens import load_counter
from tools.raft.dataset.export import write_datasets
from tools.raft.dataset.validate import Finding, validate_files
from tools.raft.dataset.validate_records import binomial_tail

Row = dict[str, Any]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_datasets(write_raft(tmp_path / "raft.jsonl", make_rows()), tmp_path, formats=["chat", "completion"])
    return tmp_path


def validate(folder: Path, **options: Any) -> list[Finding]:
    return [
        finding
        for finding in validate_files(folder, **{"count_tokens": words, **options})
        if finding.severity != "note"
    ]


def change(folder: Path, name: str, line: int, edit: Callable[[Row], Any]) -> None:
    rows = read_jsonl(folder / name)
    rows[line - 1] = edit(rows[line - 1]) or rows[line - 1]
    write_raft(folder / name, rows)


def single(findings: list[Finding]) -> str:
    assert len(findings) == 1, [str(finding) for finding in findings]
    return str(findings[0])


def test_a_valid_dataset_has_no_findings_except_notes_on_lengths(folder: Path) -> None:
    assert validate(folder, share=0.8, context=500, hosted=True) == []
    notes = [str(finding) for finding in validate_files(folder, count_tokens=words)]
    assert len(notes) == 6 and all(
        " rows, " in note and " tokens, the longest row " in note for note in notes
    )


def set_context(row: Row, *documents: str) -> None:
    row["context"]["sentences"] = [list(documents)]


def drop_document(row: Row) -> None:
    row["context"]["sentences"][0].pop(row["oracle_index"] - 1)  # one document fewer than distractor_ids says


def repeat_document(row: Row) -> None:
    documents = row["context"]["sentences"][0]
    documents[row["oracle_index"] - 1] = documents[row["oracle_index"]]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda row: row.pop("page"), "field page is missing"),
        (lambda row: row.update(note="?"), "field note is unknown"),
        (lambda row: row.update(seed="42"), "field seed is not of type int"),
        (lambda row: row.update(oracle_index=True), "field oracle_index is not of type int"),
        (lambda row: row.update(final_answer=" "), "field final_answer is empty"),
        (lambda row: row.update(context={}), "field context does not hold a list"),
        (lambda row: row.update(split="test"), "belongs to another split"),
        (lambda row: row.update(cot_answer="It eats many"), "no <ANSWER> tag"),
        (lambda row: row.update(cot_answer="##begin_quote##It\n<ANSWER>: 3"), "unbalanced quote markers"),
        (lambda row: row.update(oracle_index=(row["oracle_index"] + 1) % 4), "not where oracle_index says"),
        (lambda row: row.update(oracle_index=None), "not where oracle_index says"),
        (lambda row: row.update(has_oracle=False), "among the documents though has_oracle is false"),
        (lambda row: row["distractor_ids"].append(row["chunk_id"]), "among its own distractors"),
        (drop_document, "documents and distractor_ids do not match"),
        (repeat_document, "the same document twice"),
        (lambda row: row.update(instruction=row["question"]), "lacks a document"),
        (
            lambda row: row.update(instruction=row["instruction"] + " Be brief."),
            "does not end with the question",
        ),
    ],
)
def test_a_faulty_record_is_reported_in_its_line(
    folder: Path, edit: Callable[[Row], Any], message: str
) -> None:
    rows = read_jsonl(folder / "train.jsonl")
    line = next(number for number, row in enumerate(rows, 1) if row["has_oracle"] and row["oracle_index"] > 0)
    change(folder, "train.jsonl", line, lambda row: edit(row) and None)
    found = [str(finding) for finding in validate(folder)]
    assert any(text.startswith(f"train.jsonl:{line}: error:") and message in text for text in found), found
    assert all(text.startswith(f"train.jsonl:{line}:") for text in found if "beside" not in text), found


@pytest.mark.parametrize("key", ["chunk_id", "distractor_ids"])
def test_a_chunk_in_two_splits_is_reported_as_oracle_or_distractor(folder: Path, key: str) -> None:
    train_chunk = read_jsonl(folder / "train.jsonl")[0]["chunk_id"]
    line = 2
    change(
        folder,
        "test.jsonl",
        line,
        lambda row: row.update({key: train_chunk if key == "chunk_id" else [train_chunk, *row[key][1:]]}),
    )
    text = single(validate(folder))
    assert text.startswith("test.jsonl:2: error: chunk of two splits") and "train.jsonl:" in text


def test_the_same_text_under_two_ids_in_two_splits_is_reported(folder: Path) -> None:
    text = read_jsonl(folder / "train.jsonl")[0]["oracle_context"]

    def plant(row: Row) -> None:
        documents = row["context"]["sentences"][0]
        index = 1 if row["oracle_index"] == 0 else 0
        row["instruction"] = row["instruction"].replace(documents[index], text + "  ")
        documents[index] = text + "  "  # texts that differ in white space only are the same

    change(folder, "valid.jsonl", 1, plant)
    found = single(validate(folder))
    assert found.startswith("valid.jsonl:1: error: document of two splits")


def test_a_question_in_train_and_test_is_reported(folder: Path) -> None:
    question = read_jsonl(folder / "train.jsonl")[0]["question"]

    def plant(row: Row) -> None:
        same_question = question.upper()
        row["instruction"] = row["instruction"].replace(row["question"], same_question)
        row["question"] = same_question

    change(folder, "test.jsonl", 1, plant)
    assert single(validate(folder)).startswith(
        "test.jsonl:1: error: question of two splits: also in train.jsonl:1"
    )
    change(folder, "train.jsonl", 3, plant)
    found = [str(finding) for finding in validate(folder)]
    assert any(
        text.startswith("train.jsonl:3: warning: the same question again: as in train.jsonl:1")
        for text in found
    )


def test_a_repeated_prompt_is_reported_within_and_across_files(folder: Path) -> None:
    first = read_jsonl(folder / "train.chat.jsonl")[0]
    change(folder, "train.chat.jsonl", 4, lambda row: first)
    change(folder, "test.chat.jsonl", 1, lambda row: first)
    found = [str(finding) for finding in validate(folder)]
    assert found == [
        "train.chat.jsonl:4: error: the same prompt again: as in train.chat.jsonl:1",
        "test.chat.jsonl:1: error: the same prompt again: as in train.chat.jsonl:1",
    ]


SYSTEM, USER, ASSISTANT = (
    {"role": role, "content": "x <ANSWER>: y"} for role in ("system", "user", "assistant")
)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"messages": [SYSTEM, USER]}, "ending with assistant"),
        ({"messages": [USER, SYSTEM, ASSISTANT]}, "roles must be"),
        ({"messages": [ASSISTANT]}, "roles must be"),
        ({"messages": []}, "roles must be"),
        ({"messages": [SYSTEM]}, "roles must be"),
        ({"messages": [USER, {"role": "bot", "content": "x"}]}, "roles must be"),
        ({"messages": [USER, {"role": "assistant", "content": " "}]}, "a message is empty"),
        ({"messages": [USER, {"role": "assistant", "content": None}]}, "a message is empty"),
        (
            {"messages": [USER, {**ASSISTANT, "tokens": 3}]},
            'and "content" only: "tokens" is too much in message 2',
        ),
        ({"messages": [USER, {**ASSISTANT, "weight": 1}]}, '"weight" is for OpenAI only'),
        ({"messages": [USER, {"role": "assistant"}]}, '"content" is missing in message 2'),
        ({"messages": [USER, "text"]}, 'keys "role" and "content" only: message 2 is not an object'),
        ({"messages": [USER, ASSISTANT], "id": 1}, 'the single key "messages", a list: "id" is too much'),
        ({"messages": [USER, ASSISTANT], "tools": []}, '"tools" is for OpenAI only'),
        ({"messages": "text"}, '"messages" is not a list'),
        ({"messages": [USER, {"role": "assistant", "content": "no tag"}]}, "no <ANSWER> tag"),
    ],
)
def test_a_faulty_chat_is_reported_in_its_line(folder: Path, row: Row, message: str) -> None:
    change(folder, "train.chat.jsonl", 3, lambda _: row)
    text = single(validate(folder))
    assert text.startswith("train.chat.jsonl:3: error:") and message in text


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"messages": [{**USER, "name": "ada"}, {**ASSISTANT, "weight": 1}]}, ""),
        ({"messages": [USER, {**ASSISTANT, "weight": 0}, USER, {**ASSISTANT, "weight": 1}]}, ""),
        ({"messages": [USER, ASSISTANT], "tools": [{"type": "function"}], "parallel_tool_calls": False}, ""),
        ({"messages": [USER, {**ASSISTANT, "weight": 0.5}]}, '"weight" is 0 or 1'),
        ({"messages": [{**USER, "weight": 1}, ASSISTANT]}, '"weight" is 0 or 1'),
        ({"messages": [USER, {**ASSISTANT, "weight": 0}]}, 'the "weight" of every answer is 0'),
        ({"messages": [USER, {**ASSISTANT, "tool_calls": []}]}, '"tool_calls" is too much in message 2'),
        ({"messages": [USER, ASSISTANT], "metadata": {}}, '"metadata" is too much'),
    ],
)
def test_openais_own_keys_are_accepted_for_openai_only(folder: Path, row: Row, message: str) -> None:
    change(folder, "train.chat.jsonl", 3, lambda _: row)
    findings = [str(f) for f in validate_files(folder, hosted=True, count_tokens=len) if f.line == 3]
    assert len(findings) == bool(message)
    assert all(text.startswith("train.chat.jsonl:3: error:") and message in text for text in findings)


def test_a_chat_with_several_turns_is_valid(folder: Path) -> None:
    change(
        folder,
        "train.chat.jsonl",
        3,
        lambda _: {"messages": [USER, ASSISTANT, {**USER, "content": "b"}, ASSISTANT]},
    )
    assert validate(folder) == []


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "a"}, 'keys "prompt" and "completion" only: "completion" is missing'),
        ({"prompt": "a", "completion": "b", "id": 7}, '"id" is too much'),
        ({"prompt": "a", "completion": ""}, "is empty"),
        ({"prompt": "a", "completion": "b"}, "no <ANSWER> tag"),
    ],
)
def test_a_faulty_completion_is_reported_in_its_line(folder: Path, row: Row, message: str) -> None:
    change(folder, "valid.completion.jsonl", 2, lambda _: row)
    text = single(validate(folder))
    assert text.startswith("valid.completion.jsonl:2: error:") and message in text


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"{torn\n", "not JSON"),
        (b"\n", "empty line"),
        (b"[1]\n", "not a list"),
        (b'{"messages": "\xff"}\n', "not UTF-8"),
        ("\ufeff{}\n".encode(), "not JSON: (byte order mark){}"),
    ],
)
def test_a_line_that_is_not_an_object_is_reported(folder: Path, line: bytes, message: str) -> None:
    path = folder / "train.chat.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], line, *lines[2:]]))
    found = [str(finding) for finding in validate(folder)]
    assert found[0].startswith("train.chat.jsonl:2: error:") and message in found[0]
    assert "rows for" in found[1], "the missing row is reported too"


def test_accepts_a_byte_order_mark(folder: Path) -> None:
    path = folder / "train.chat.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert validate(folder) == []


def test_rows_longer_than_the_context_are_reported(folder: Path) -> None:
    rows = read_jsonl(folder / "train.chat.jsonl")
    longest = max(sum(words(message["content"]) + 4 for message in row["messages"]) for row in rows)
    assert validate(folder, context=longest) == []
    too_long = validate(folder, context=longest - 1)
    assert too_long and all("longer than the model's context" in finding.message for finding in too_long)


def test_the_context_is_looked_up_by_model_and_an_unknown_model_is_reported(folder: Path) -> None:
    change(
        folder,
        "train.chat.jsonl",
        5,
        lambda row: row["messages"][1].update(content="word " * 9000),
    )
    text = single(validate(folder, model="SmolLM2-135M-Instruct"))
    assert text.startswith("train.chat.jsonl:5: error: longer") and "of 8,192 tokens" in text
    assert validate(folder, model="gpt-4o-mini-2024-07-18") == []
    assert "context of unheard-of is unknown" in single(validate(folder, model="unheard-of"))


def test_lengths_are_estimates_without_the_tokenizer_of_the_model(folder: Path) -> None:
    assert load_counter()("Bats eat moths.") == 4
    note = str(validate_files(folder)[0])
    assert ", about " in note and " tokens, the longest row " in note
    longest = int(note.split("longest row ")[1].split()[0])
    found = validate_files(folder, context=longest)
    assert {finding.severity for finding in found} == {"warning", "note"}, (
        "near the limit: a warning, not an error"
    )


def test_many_findings_of_one_kind_are_counted_instead_of_listed(folder: Path) -> None:
    count = len(read_jsonl(folder / "train.chat.jsonl"))
    write_raft(folder / "train.chat.jsonl", [{}] * count)
    found = validate(folder)
    assert len(found) == 11
    assert f"{count - 10} more such lines" in str(found[-1])


def test_reports_too_few_rows_for_fine_tuning(folder: Path) -> None:
    for name in ("train.jsonl", "train.chat.jsonl", "train.completion.jsonl"):
        write_raft(folder / name, read_jsonl(folder / name)[:9])
    assert {finding.severity for finding in validate(folder)} == {"warning"}
    assert {finding.severity for finding in validate(folder, hosted=True)} == {"error"}
    assert "9 rows" in str(validate(folder)[0])
    for name in ("train.jsonl", "train.chat.jsonl", "train.completion.jsonl"):
        write_raft(folder / name, [])
    assert all("no rows to train on" in str(finding) for finding in validate(folder))


def test_reports_an_empty_folder_and_formats_with_unequal_rows(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert "no train file" in single(validate(tmp_path_factory.mktemp("empty")))
    write_raft(folder / "valid.chat.jsonl", read_jsonl(folder / "valid.chat.jsonl")[1:])
    assert single(validate(folder)).startswith("valid.chat.jsonl: error: 9 rows for 10 records")


def move_oracle(row: Row, index: int) -> Row:
    if row["has_oracle"]:
        documents = row["context"]["sentences"][0]
        documents.insert(index, documents.pop(row["oracle_index"]))
        row["oracle_index"] = index
    return row


def test_an_oracle_that_always_comes_first_is_an_error(folder: Path) -> None:
    write_raft(folder / "train.jsonl", [move_oracle(row, 0) for row in read_jsonl(folder / "train.jsonl")])
    text = str(validate(folder, order="shuffled")[0])
    assert (
        text.startswith("train.jsonl: error: the oracle is document 1 of 4") and "learn the position" in text
    )


def test_an_oracle_that_always_comes_first_is_what_a_retriever_found(folder: Path) -> None:
    write_raft(folder / "train.jsonl", [move_oracle(row, 0) for row in read_jsonl(folder / "train.jsonl")])
    assert not validate(folder, order="ranked")
    found = validate(folder)
    assert {finding.severity for finding in found} == {"warning"}, "the order of other datasets is unknown"
    assert "learn the position" in str(found[0])


def test_an_oracle_that_mostly_comes_first_is_a_warning(folder: Path) -> None:
    rows = read_jsonl(folder / "train.jsonl")
    write_raft(
        folder / "train.jsonl", [move_oracle(row, 0 if number % 6 else 2) for number, row in enumerate(rows)]
    )
    found = validate(folder)
    assert found and {finding.severity for finding in found} == {"warning"}


def test_reports_a_share_of_oracles_that_p_cannot_explain(folder: Path) -> None:
    assert validate(folder, share=0.8) == []
    assert "hold their oracle, while p is 0.2" in single(validate(folder, share=0.2))
    assert "while p is 1" in single(validate(folder, share=1.0))


@given(trials=st.integers(1, 60), probability=st.floats(0.01, 0.99), data=st.data())
def test_binomial_tail_is_the_sum_of_its_terms(trials: int, probability: float, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, trials))
    terms = [
        math.comb(trials, k) * probability**k * (1 - probability) ** (trials - k) for k in range(trials + 1)
    ]
    tail = sum(terms[successes:]) if successes > trials * probability else sum(terms[: successes + 1])
    assert binomial_tail(successes, trials, probability) == pytest.approx(
        min(1, 2 * tail), rel=1e-6, abs=1e-12
    )


def test_binomial_tail_at_the_extremes() -> None:
    assert binomial_tail(10, 10, 1.0) == 1 and binomial_tail(9, 10, 1.0) == 0
    assert binomial_tail(0, 10, 0.0) == 1 and binomial_tail(1, 10, 0.0) == 0
    assert binomial_tail(40_000, 50_000, 0.8) > 0.5


def test_findings_are_one_line_each(folder: Path) -> None:
    change(folder, "train.jsonl", 1, lambda row: row.update(distractor_ids=[row["chunk_id"]] * 3))
    for finding in validate(folder):
        assert "\n" not in str(finding)
        assert json.dumps(str(finding))
    assert read_jsonl(folder / "train.jsonl")[0]["id"] in str(validate(folder)[0])
