"""Datasets: split files in every format, written whole or not at all, with a card that loaders understand."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
import yaml
from hypothesis import given, settings, strategies as st

from tools.raft.dataset.card import write_card, write_manifest
from tools.raft.dataset.export import FORMATS, make_datasets, parquet_schema, write_datasets
from tools.raft.dataset.splits import assign_splits
from tools.raft.errors import UserError
from tools.raft.generate.assemble import RowOptions, assemble_records
from tools.raft.generate.distractors import Drawn
from tools.raft.models.openai_sdk import format_completion_prompt
from tools.raft.prompts import render
from tools.raft.raft_format import format_instruction
from tools.raft.records import Chunk, content_id, fields_of, new_draft

Row = dict[str, Any]


def make_chunks(count: int, *, word: str = "bat") -> list[Chunk]:
    return [
        {
            "id": content_id(word, number),
            "text": f"The {word} number {number} eats {number + 3} moths. Fledermäuse schlafen; 蝙蝠睡觉。",
            "source": f"{word}s.md",
            "title": "Bats | at night",
            "page": number if number % 2 else None,
            "start": 0,
            "end": 10,
            "tokens": 20,
            "kind": "text",
        }
        for number in range(count)
    ]


def make_rows(
    chunks: int = 40, questions: int = 2, *, k: int = 3, p: float = 0.8, seed: int = 42
) -> list[Row]:
    """Build rows as `generate` does: splits by chunk, distractors from the split, the oracle with probability p."""
    corpus = make_chunks(chunks)
    splits, _ = assign_splits([chunk["id"] for chunk in corpus], seed=seed, smallest=k + 2)
    rows: list[Row] = []
    for number, oracle in enumerate(corpus):
        split = splits[oracle["id"]]
        others = [chunk for chunk in corpus if splits[chunk["id"]] == split and chunk is not oracle]
        for turn in range(questions):
            draft = new_draft(f"How many moths does bat {number} eat in night {turn}?", oracle["id"])
            quote = oracle["text"].split(". ")[0] + "."
            draft["final_answer"] = f"{number + 3} moths"
            draft.update(model="teacher", prompt_hash="0" * 16)
            draft["cot_answer"] = (
                f"It says ##begin_quote##{quote}##end_quote##.\n<ANSWER>: {draft['final_answer']}"
            )
            start = (number + turn) % len(others)
            distractors = (others[start:] + others[:start])[: k + 1]
            (record,) = assemble_records(
                [draft], oracle, [Drawn(distractors, 0)], RowOptions(k, p, seed), split=split
            )
            rows.append({**record})
    return rows


def write_raft(path: Path, rows: Sequence[Row]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def read_jsonl(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def words(text: str) -> int:
    return len(text.split())


def test_records_are_copied_byte_for_byte_into_their_split(tmp_path: Path) -> None:
    rows = make_rows()
    raft = write_raft(tmp_path / "raft.jsonl", rows)
    files = write_datasets(raft, tmp_path)
    lines = raft.read_bytes().splitlines(keepends=True)
    for split in ("train", "valid", "test"):
        expected = b"".join(line for line, row in zip(lines, rows, strict=True) if row["split"] == split)
        assert expected and (tmp_path / f"{split}.jsonl").read_bytes() == expected
    assert sum(file["rows"] for file in files.values()) == len(rows)
    assert "蝙蝠" in (tmp_path / "train.jsonl").read_text(encoding="utf-8"), "no \\u escapes"


def test_chat_and_completion_rows_hold_what_the_chat_flow_sends(tmp_path: Path) -> None:
    rows = [row for row in make_rows() if row["split"] == "train"]
    write_datasets(write_raft(tmp_path / "raft.jsonl", rows), tmp_path, formats=["chat", "completion"])
    chats, pairs = read_jsonl(tmp_path / "train.chat.jsonl"), read_jsonl(tmp_path / "train.completion.jsonl")
    for row, chat, pair in zip(rows, chats, pairs, strict=True):
        instruction = format_instruction(row["context"]["sentences"][0], row["question"])
        messages = render("raft_answer.jinja2", instruction=instruction)
        assert chat == {"messages": [*messages, {"role": "assistant", "content": row["cot_answer"]}]}
        assert pair == {"prompt": format_completion_prompt(messages), "completion": row["cot_answer"]}
        assert messages[-1]["content"] == row["instruction"]
        assert all(document in pair["prompt"] for document in row["context"]["sentences"][0]), (
            "the prompt keeps the documents"
        )


def test_dsf_rows_hold_question_and_answer_without_documents(tmp_path: Path) -> None:
    rows = make_rows()
    write_datasets(write_raft(tmp_path / "raft.jsonl", rows), tmp_path / "out", formats=["dsf"])
    written = [
        json.loads(line)["messages"]
        for split in ("train", "valid", "test")
        for line in (tmp_path / "out" / f"{split}.dsf.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert len(written) == len(rows)
    for row, messages in zip(
        sorted(rows, key=lambda r: ("train", "valid", "test").index(r["split"])), written, strict=True
    ):
        assert messages[-2] == {"role": "user", "content": row["question"]}
        assert messages[-1] == {"role": "assistant", "content": f"<ANSWER>: {row['final_answer']}"}
        assert "<DOCUMENT>" not in json.dumps(messages)


def test_eval_rows_hold_gold_answer_and_context(tmp_path: Path) -> None:
    rows = [row for row in make_rows() if row["split"] == "test"]
    files = write_datasets(write_raft(tmp_path / "raft.jsonl", rows), tmp_path, formats=["eval"])
    assert [name for name in files if "eval" in name] == ["test.eval.jsonl"]
    for row, question in zip(rows, read_jsonl(tmp_path / "test.eval.jsonl"), strict=True):
        assert question["question"] == row["question"]
        assert question["gold_final_answer"] == row["final_answer"]
        assert question["context"] + question["question"] == row["instruction"]


def test_parquet_holds_the_same_rows_in_row_groups(tmp_path: Path) -> None:
    rows = make_rows(300, 3)
    write_datasets(write_raft(tmp_path / "raft.jsonl", rows), tmp_path, formats=["parquet"])
    for split in ("train", "valid", "test"):
        file = pyarrow.parquet.ParquetFile(tmp_path / f"{split}.parquet")
        assert file.schema_arrow.equals(parquet_schema())
        assert file.read().to_pylist() == read_jsonl(tmp_path / f"{split}.jsonl")
    assert pyarrow.parquet.ParquetFile(tmp_path / "train.parquet").num_row_groups == 2


def test_an_empty_split_yields_empty_files_with_the_same_schema(tmp_path: Path) -> None:
    rows = [row for row in make_rows() if row["split"] == "train"]
    write_datasets(write_raft(tmp_path / "raft.jsonl", rows), tmp_path, formats=FORMATS)
    assert (tmp_path / "valid.jsonl").read_bytes() == (tmp_path / "valid.chat.jsonl").read_bytes() == b""
    table = pyarrow.parquet.read_table(tmp_path / "test.parquet")
    assert table.num_rows == 0 and table.schema.equals(parquet_schema())


def test_the_same_rows_yield_the_same_bytes(tmp_path: Path) -> None:
    raft = write_raft(tmp_path / "raft.jsonl", make_rows())
    first = write_datasets(raft, tmp_path / "a", formats=FORMATS)
    assert first == write_datasets(raft, tmp_path / "b", formats=FORMATS)
    filled = [file for file in first.values() if file["rows"]]  # these records have no pairs
    assert len({file["sha256"] for file in filled}) == len(filled) == len(first) - 3


@pytest.mark.parametrize(
    ("formats", "message"), [([], "no format"), (["chat", "csv"], "unknown format 'csv'")]
)
def test_the_error_for_an_unknown_format_lists_the_choices(
    tmp_path: Path, formats: list[str], message: str
) -> None:
    raft = write_raft(tmp_path / "raft.jsonl", make_rows())
    with pytest.raises(UserError, match=message) as caught:
        write_datasets(raft, tmp_path / "out", formats=formats)
    assert all(name in str(caught.value) for name in FORMATS)
    assert not (tmp_path / "out").exists(), "an unknown format is an error before anything is written"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda row: "{torn", "line 2 is not JSON"),
        (lambda row: "[]", "line 2 is not a RAFT record"),
        (
            lambda row: json.dumps({k: v for k, v in row.items() if k != "page"}),
            r"line 2 is not a RAFT record \(page\)",
        ),
        (lambda row: json.dumps({**row, "extra": 1}), r"line 2 is not a RAFT record \(extra\)"),
        (lambda row: json.dumps({**row, "split": "dev"}), "bad split"),
    ],
)
def test_a_damaged_record_leaves_no_file_behind(tmp_path: Path, damage: Any, message: str) -> None:
    rows = make_rows()
    raft = tmp_path / "raft.jsonl"
    raft.write_text(json.dumps(rows[0]) + "\n" + damage(rows[1]) + "\n", encoding="utf-8")
    with pytest.raises(UserError, match=message):
        write_datasets(raft, tmp_path / "out", formats=FORMATS)
    assert list((tmp_path / "out").iterdir()) == []
    with pytest.raises(UserError, match="cannot read"):
        write_datasets(tmp_path / "missing.jsonl", tmp_path / "out")


def test_a_valid_dataset_is_published_and_files_of_another_run_are_removed(tmp_path: Path) -> None:
    raft = write_raft(tmp_path / "raft.jsonl", make_rows())
    make_datasets(raft, tmp_path, formats=["chat", "parquet"], count_tokens=words)
    write_raft(raft, make_rows(seed=7))
    files, findings = make_datasets(raft, tmp_path, formats=["completion"], count_tokens=words, share=0.8)
    assert {path.name for path in tmp_path.iterdir()} == {"raft.jsonl", *files}
    assert not [finding for finding in findings if finding.severity == "error"]
    assert any("train.completion.jsonl" in str(finding) and "tokens" in str(finding) for finding in findings)


def test_a_rejected_dataset_leaves_the_previous_files(tmp_path: Path) -> None:
    raft = write_raft(tmp_path / "raft.jsonl", make_rows())
    make_datasets(raft, tmp_path, formats=["chat"], count_tokens=words)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    with pytest.raises(
        UserError, match=r"train\.chat\.jsonl:1: error: longer than .* more errors; see .*findings\.txt"
    ):
        make_datasets(raft, tmp_path, formats=["chat"], count_tokens=words, context=20)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before
    assert (tmp_path / ".staging" / "train.chat.jsonl").exists()
    listing = (tmp_path / ".staging" / "findings.txt").read_text(encoding="utf-8")
    assert all(f"{split}.chat.jsonl:1: error: longer" in listing for split in ("train", "valid", "test"))
    make_datasets(raft, tmp_path, formats=["chat"], count_tokens=words)
    assert not (tmp_path / ".staging").exists()


@settings(max_examples=20, deadline=None)
@given(
    chunks=st.integers(12, 60),
    k=st.integers(0, 4),
    p=st.sampled_from([0.0, 0.5, 0.8, 1.0]),
    seed=st.integers(0, 99),
)
def test_every_dataset_built_as_generate_does_passes_its_checks(
    tmp_path_factory: pytest.TempPathFactory, chunks: int, k: int, p: float, seed: int
) -> None:
    out = tmp_path_factory.mktemp("dataset")
    raft = write_raft(out / "raft.jsonl", make_rows(chunks, k=k, p=p, seed=seed))
    formats = [name for name in FORMATS if name != "dpo"]  # see test_pairs.py: there are none here
    _, findings = make_datasets(raft, out, formats=formats, count_tokens=words, share=p)
    assert {finding.severity for finding in findings} <= {"note"}
    owners: dict[str, str] = {}
    for split in ("train", "valid", "test"):
        for row in read_jsonl(out / f"{split}.jsonl"):
            for chunk_id in (row["chunk_id"], *row["distractor_ids"]):
                assert owners.setdefault(chunk_id, split) == split


def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    rows = [row for row in make_rows(60, 5) if row["split"] == "train"]
    peaks = []
    for times in (4, 16):
        raft = tmp_path / "raft.jsonl"
        with raft.open("w", encoding="utf-8") as file:
            for turn in range(times):
                file.writelines(json.dumps({**row, "id": f"{turn} {row['id']}"}) + "\n" for row in rows)
        tracemalloc.start()
        write_datasets(raft, tmp_path / "out", formats=FORMATS)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]


def make_manifest(out: Path, rows: Sequence[Row], **changes: Any) -> Row:
    files = write_datasets(write_raft(out / "raft.jsonl", rows), out, formats=["chat", "eval"])
    values: dict[str, Any] = {
        "settings": {"distractors": 3, "p": 0.8, "docs": "data|more"},
        "seed": 42,
        "models": {"teacher": "gpt-4o"},
        "prompt_hashes": {"ask": "0123"},
        "counts": {"documents": 1, "rows_by_split": {"train": 64, "test": 10}},
        "documents": [
            {"source": "bats.md", "documents": 1, "characters": 90, "kept": 80, "left_out": {"comments": 10}}
        ],
        "rejected_by_reason": {"no quote": 1, "truncated answer": 5},
        "tokens": {"prompt": 12_345, "completion": 678},
        "endpoints": [{"endpoint": "openai", "calls": 9}],
        "cost": 0.0376,
        "files": files,
    }
    return write_manifest(out / "manifest.json", **{**values, **changes})


def test_the_manifest_differs_only_in_its_times(tmp_path: Path) -> None:
    rows = make_rows()
    first = make_manifest(tmp_path, rows, times={"started": "2026-01-01T00:00:00Z"})
    text = (tmp_path / "manifest.json").read_text(encoding="utf-8")
    second = make_manifest(tmp_path, rows, times={"started": "2026-01-02T00:00:00Z"})
    assert json.loads(text) == first
    assert {**first, "times": {}} == {**second, "times": {}}
    assert list(first["rejected_by_reason"]) == ["truncated answer", "no quote"], "most frequent first"
    assert first["files"]["train.jsonl"]["rows"] == sum(row["split"] == "train" for row in rows)


def several_oracles(rows: list[Row]) -> list[Row]:
    """Give the first row that holds its oracle a second one, in place of a distractor."""
    rows = json.loads(json.dumps(rows))
    row = next(row for row in rows if row["has_oracle"])
    place = next(i for i in range(4) if i != row["oracle_index"])
    other = row["context"]["sentences"][0][place]
    own = next(chunk["id"] for chunk in make_chunks(40) if chunk["text"] == other)
    row["distractor_ids"].remove(own)
    row["oracle_context"] += f"\n\n{other}"
    row |= {"oracle_indices": [row["oracle_index"], place], "oracle_ids": [row["chunk_id"], own]}
    return rows


def test_only_a_dataset_with_several_oracles_has_their_columns(tmp_path: Path) -> None:
    rows = several_oracles(make_rows(40))
    formats = ["chat", "dsf", "eval", "parquet"]
    raft = write_raft(tmp_path / "raft.jsonl", rows)
    _, findings = make_datasets(raft, tmp_path, formats=formats, count_tokens=words)
    assert not [finding for finding in findings if finding.severity == "error"]
    for split in ("train", "valid", "test"):
        table = pyarrow.parquet.read_table(tmp_path / f"{split}.parquet")
        assert table.schema.equals(parquet_schema(several=True)), "the same in all files of a dataset"
    again = pyarrow.parquet.read_table(tmp_path / "train.parquet").to_pylist()
    assert again == [
        {"oracle_indices": None, "oracle_ids": None, **row} for row in rows if row["split"] == "train"
    ]
    manifest = make_manifest(tmp_path, rows, counts={"rows_with_several_oracles": 1})
    write_card(tmp_path / "README.md", manifest)
    features = {f["name"]: f for f in front_matter(tmp_path / "README.md")["dataset_info"][0]["features"]}
    assert list(features) == list(fields_of(several=True))
    assert features["oracle_indices"]["list"] == "int64" and features["oracle_ids"]["list"] == "string"
    assert "at `oracle_indices`" in (tmp_path / "README.md").read_text(encoding="utf-8")


def test_an_eval_row_names_all_oracles(tmp_path: Path) -> None:
    from tools.raft.dataset.export import to_eval

    rows = several_oracles(make_rows(40))
    row = next(row for row in rows if "oracle_ids" in row)
    assert to_eval(row)["relevant"] == row["oracle_ids"]
    assert to_eval(row, several=True)["oracles"] == row["oracle_ids"]
    assert to_eval(rows[-1], several=True)["oracles"] == [rows[-1]["chunk_id"]], "all lines have the column"
    assert "oracles" not in to_eval(make_rows()[0])


def front_matter(card: Path) -> Row:
    return yaml.safe_load(card.read_text(encoding="utf-8").split("---\n")[1])


def test_the_card_names_the_split_files_for_loaders(tmp_path: Path) -> None:
    manifest = make_manifest(tmp_path, make_rows())
    write_card(tmp_path / "README.md", manifest, title='Bats: "at night"', languages=["en"])
    head = front_matter(tmp_path / "README.md")
    assert head["pretty_name"] == 'Bats: "at night"' and head["language"] == ["en"]
    assert head["size_categories"] == ["n<1K"]
    configs = {config["config_name"]: config["data_files"] for config in head["configs"]}
    assert configs["default"] == [
        {"split": "train", "path": "train.jsonl"},
        {"split": "validation", "path": "valid.jsonl"},
        {"split": "test", "path": "test.jsonl"},
    ]
    assert configs["eval"] == [{"split": "test", "path": "test.eval.jsonl"}]
    assert "completion" not in configs
    assert [feature["name"] for feature in head["dataset_info"][0]["features"]] == list(
        fields_of(several=False)
    )
    body = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert (
        "| truncated answer | 5 |" in body
        and "| rows_by_split | train 64, test 10 |" in body
        and "$0.04" in body
        and "data\\|more" in body
    )


def test_the_card_leaves_out_empty_splits_and_unknown_costs(tmp_path: Path) -> None:
    rows = [row for row in make_rows() if row["split"] == "train"]
    write_card(
        tmp_path / "README.md", make_manifest(tmp_path, rows, cost=None, rejected_by_reason={}, counts={})
    )
    head = front_matter(tmp_path / "README.md")
    assert {file["split"] for config in head["configs"] for file in config["data_files"]} == {"train"}
    assert "language" not in head
    assert "no price for gpt-4o" in (tmp_path / "README.md").read_text(encoding="utf-8")
