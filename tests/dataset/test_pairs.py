"""Preference pairs: one prompt, two answers, of which verification accepts one; and the files they are in."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from tests.conftest import corpus
from tools.raft.dataset.card import write_card
from tools.raft.dataset.export import make_datasets, to_chat, write_datasets
from tools.raft.dataset.pairs import FALSE_REFUSAL, NOT_SHOWN, REJECTED_ANSWERS, WORSE, sum_pairs
from tools.raft.dataset.validate import Finding, validate_files
from tools.raft.files import write_jsonl
from tools.raft.generate.assemble import RowOptions, assemble_records
from tools.raft.generate.distractors import Drawn
from tools.raft.generate.rows import rejected_answers
from tools.raft.generate.verify import verify_answer
from tools.raft.raft_format import FormatError, refusal
from tools.raft.records import Chunk, Draft, new_draft

CHUNKS = corpus(10)
SPLITS = ("train", "valid", "test")
Row = dict[str, Any]


def right_answer(chunk: Chunk) -> tuple[str, str]:
    sentence = chunk["text"].split(". ")[0] + "."
    final = sentence.removesuffix(".").rpartition("counts ")[2]
    return f"It says ##begin_quote##{sentence}##end_quote## there.\n<ANSWER>: {final}", final


def wrong_answers(chunk: Chunk, other: Chunk) -> dict[str, str]:
    """Return answers that a model may write, by what is wrong with them."""
    right, final = right_answer(chunk)
    return {
        "no tag": right.replace("<ANSWER>: ", "So: "),
        "not verbatim": right.replace("counts", "has counted"),
        "no quote": f"I know that.\n**<ANSWER>:** {final}",
        "no end of the quote": right.replace("##end_quote##", ""),
        "empty": right.replace(final, "", 2).replace(f"<ANSWER>: {final}", "<ANSWER>:"),
        "cut off": right[:40],
        "refuses": "Nothing is said about it.\n<ANSWER>: UNANSWERABLE",
        "disagrees": right.replace(f"<ANSWER>: {final}", "<ANSWER>: nothing at all"),
        "of another document": right_answer(other)[0],
        "as good": right.replace("It says", "The document says"),
    }


def reason_of(kind: str, text: str, chunk: Chunk) -> str:
    """Return why verification rejects an answer; the one that is as good, for another chunk."""
    chunk = CHUNKS[-1] if kind == "as good" else chunk
    finish = "length" if kind == "cut off" else "stop"
    verdict = verify_answer(text, finish, chunk, expected=[right_answer(chunk)[1]])
    assert isinstance(verdict, str), kind
    return str(verdict)


def make_records(
    kinds: Sequence[Sequence[str]], p: float, no_oracle: Any, seed: int
) -> tuple[list[Row], list[Row]]:
    """Assemble a record of each chunk, whose question had these wrong answers before the right one."""
    records, rejected = [], []
    for number, own in enumerate(kinds):
        chunk, other = CHUNKS[number], CHUNKS[number - 1]
        draft: Draft = new_draft(f"What does station {number} count?", chunk["id"])
        draft["cot_answer"], draft["final_answer"] = right_answer(chunk)
        draft.update(model="m", prompt_hash="0" * 16)
        wrong = wrong_answers(chunk, other)
        if own:
            draft["rejected_answers"] = [
                {"cot_answer": wrong[kind], "reason": reason_of(kind, wrong[kind], chunk)} for kind in own
            ]
        others = [each for each in CHUNKS if each is not chunk][:3]
        options = RowOptions(2, p, seed, no_oracle)
        (record,) = assemble_records([draft], chunk, [Drawn(others, 0)], options, split=SPLITS[number % 3])
        records.append({**record})
        if row := rejected_answers(draft, record):
            rejected.append(row)
    return records, rejected


def write_folder(out: Path, records: Sequence[Row], rejected: Sequence[Row]) -> Path:
    write_jsonl(out / "raft.jsonl", records)
    if rejected:
        write_jsonl(out / REJECTED_ANSWERS, rejected)
    return out / "raft.jsonl"


def rows(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def is_right(text: str, record: Mapping[str, Any]) -> bool:
    """Return whether verification accepts an answer to a record, with what the record's prompt shows."""
    shown = {**CHUNKS[0], "text": record["oracle_context"] if record["has_oracle"] else "nothing"}
    return not isinstance(verify_answer(text, "stop", shown, expected=[record["final_answer"]]), str)  # type: ignore[arg-type]


def pair_errors(folder: Path) -> list[Finding]:
    findings = validate_files(folder)
    return [each for each in findings if each.severity == "error" and each.file.endswith(".dpo.jsonl")]


KINDS = tuple(wrong_answers(CHUNKS[0], CHUNKS[1]))


@settings(max_examples=60, deadline=None)
@given(
    kinds=st.lists(st.lists(st.sampled_from(KINDS), max_size=3), min_size=3, max_size=9),
    p=st.sampled_from([0.0, 0.5, 1.0]),
    no_oracle=st.sampled_from(["keep", "refuse"]),
    seed=st.integers(0, 9),
)
def test_of_two_answers_to_a_prompt_verification_accepts_the_preferred_one(
    tmp_path_factory: pytest.TempPathFactory, kinds: list[list[str]], p: float, no_oracle: str, seed: int
) -> None:
    out = tmp_path_factory.mktemp("pairs")
    records, rejected = make_records(kinds, p, no_oracle, seed)
    raft = write_folder(out, records, rejected)
    plain = write_datasets(raft, out / "plain", formats=["chat", "completion", "dsf", "eval"])
    files = write_datasets(raft, out, formats=["chat", "completion", "dsf", "eval", "dpo"])
    assert {name: files[name] for name in plain} == plain, "the other files are what they were"
    refused = refusal()
    by_prompt = {json.dumps(to_chat(record)["messages"][:-1]): record for record in records}
    made = 0
    for split in SPLITS:
        for pair in rows(out / f"{split}.dpo.jsonl"):
            record = by_prompt.pop(json.dumps(pair["input"]["messages"]))  # each prompt once
            assert record["split"] == split
            (preferred,), (other,) = pair["preferred_output"], pair["non_preferred_output"]
            assert preferred == to_chat(record)["messages"][-1]
            assert other["role"] == "assistant" and other["content"] not in ("", preferred["content"])
            if record["has_oracle"]:
                assert is_right(preferred["content"], record)
                assert not is_right(other["content"], record)
            else:
                assert preferred["content"] == refused.text != other["content"]
            made += 1
    for record in by_prompt.values():  # those without a pair
        own = next((row["answers"] for row in rejected if row["id"] == record["id"]), [])
        assert no_oracle == "keep" or refused.final not in {row["final_answer"] for row in records}
        assert not record["has_oracle"] or all(
            row["reason"] not in WORSE or is_right(row["cot_answer"], record) for row in own
        )
    counts = sum_pairs(files)
    assert counts["pairs"].total() == made and counts["without"].total() == len(records) - made
    assert pair_errors(out) == []


def test_a_refusal_is_the_worse_answer_only_where_others_are_right(tmp_path: Path) -> None:
    records, rejected = make_records([[]] * 9, 0.5, "refuse", 1)
    files = write_datasets(write_folder(tmp_path, records, rejected), tmp_path, formats=["dpo"])
    shown = sum(record["has_oracle"] for record in records)
    assert 0 < shown < 9
    assert sum_pairs(files)["pairs"] == {FALSE_REFUSAL: shown, NOT_SHOWN: 9 - shown}
    # With labels that never refuse, such pairs would teach to answer from nothing.
    records, rejected = make_records([[]] * 9, 0.5, "keep", 1)
    files = write_datasets(write_folder(tmp_path / "keep", records, rejected), tmp_path, formats=["dpo"])
    assert not sum_pairs(files)["pairs"] and sum_pairs(files)["without"].total() == 9


def test_the_first_answer_that_is_worse_is_taken_in_the_form_of_accepted_ones(tmp_path: Path) -> None:
    records, rejected = make_records([["cut off", "as good", "no quote", "no tag"]], 1.0, "keep", 1)
    files = write_datasets(write_folder(tmp_path, records, rejected), tmp_path, formats=["dpo"])
    (pair,) = rows(tmp_path / "train.dpo.jsonl")
    final = right_answer(CHUNKS[0])[1]
    assert pair["non_preferred_output"][0]["content"] == f"I know that.\n<ANSWER>: {final}"
    assert files["train.dpo.jsonl"]["pairs"] == {"no quote": 1}


def test_a_teacher_s_refusal_becomes_the_student_s(tmp_path: Path) -> None:
    records, rejected = make_records([["refuses"]], 1.0, "keep", 1)
    write_datasets(write_folder(tmp_path, records, rejected), tmp_path, formats=["dpo"])
    (pair,) = rows(tmp_path / "train.dpo.jsonl")
    assert pair["non_preferred_output"][0]["content"] == refusal().text


def test_every_reason_of_verification_is_decided_on() -> None:
    undecided = {str(reason) for reason in FormatError} - WORSE
    assert undecided == {"truncated answer", "reasoning cut off before an answer"}
    source = Path(verify_answer.__code__.co_filename).read_text(encoding="utf-8")
    for reason in WORSE - {str(reason) for reason in FormatError}:
        assert f'"{reason}"' in source, "a reason that verification does not give any more"


def test_a_dataset_without_pairs_is_written_with_a_warning(tmp_path: Path) -> None:
    records, rejected = make_records([[]] * 9, 1.0, "keep", 1)
    train = [record for record in records if record["split"] == "train"]
    raft = write_folder(tmp_path, train, rejected)
    files, findings = make_datasets(raft, tmp_path, formats=["chat", "dpo"])
    assert files["train.dpo.jsonl"]["rows"] == 0
    assert [f.severity for f in findings if f.file == "train.dpo.jsonl"] == ["warning"]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"prompt": "x"}, '"prompt" is too much'),
        ({"input": {"prompt": "x"}}, '"input" has "messages", a list'),
        ({"input": {"messages": [], "tools": []}}, '"tools" is for OpenAI only'),
        ({"input": {"messages": [{"role": "assistant", "content": "x"}]}}, "ending with user"),
        ({"preferred_output": []}, '"preferred_output" is a list of one message'),
        ({"preferred_output": [{"role": "tool", "content": "x"}]}, "is the assistant's: tool"),
        ({"non_preferred_output": [{"role": "assistant", "content": " "}]}, "a message is empty"),
        ({"non_preferred_output": None}, '"non_preferred_output" is a list of one message'),
        ({"preferred_output": [{"role": "assistant", "content": "no tag"}]}, "answer: no <ANSWER> tag"),
        ({"same": True}, "both answers are the same"),
    ],
)
def test_a_bad_pair_is_reported_by_line(change: Row, problem: str, tmp_path: Path) -> None:
    records, rejected = make_records([["no quote"]] * 9, 1.0, "keep", 1)
    write_datasets(write_folder(tmp_path, records, rejected), tmp_path, formats=["dpo"])
    pairs = rows(tmp_path / "train.dpo.jsonl")
    if change.pop("same", False):
        change = {"non_preferred_output": pairs[1]["preferred_output"]}
    pairs[1] |= change
    write_jsonl(tmp_path / "train.dpo.jsonl", pairs)
    errors = pair_errors(tmp_path)
    assert [(error.line, problem in error.message) for error in errors] == [(2, True)], errors


def test_a_pair_in_two_splits_is_an_error(tmp_path: Path) -> None:
    records, rejected = make_records([["no quote"]] * 9, 1.0, "keep", 1)
    write_datasets(write_folder(tmp_path, records, rejected), tmp_path, formats=["dpo"])
    both = [*rows(tmp_path / "train.dpo.jsonl"), *rows(tmp_path / "test.dpo.jsonl")]
    write_jsonl(tmp_path / "train.dpo.jsonl", both)
    errors = pair_errors(tmp_path)
    assert len(errors) == 3 and all("the same prompt again" in error.message for error in errors)


def test_the_card_names_the_pairs_and_loaders_find_them(tmp_path: Path) -> None:
    import datasets

    records, rejected = make_records([["no quote"]] * 4 + [[]] * 5, 1.0, "keep", 1)
    files = write_datasets(write_folder(tmp_path, records, rejected), tmp_path, formats=["chat", "dpo"])
    manifest: Row = {"settings": {}, "seed": 1, "models": {}, "counts": {}, "notes": [], "tokens": {}}
    manifest |= {"rejected_by_reason": {}, "cost_dollars": None, "files": files}
    write_card(tmp_path / "README.md", manifest)
    assert "- no quote: 4" in (tmp_path / "README.md").read_text(encoding="utf-8")
    cache = str(tmp_path / "cache")
    loaded = datasets.load_dataset(str(tmp_path), "dpo", cache_dir=cache)
    assert Counter({split: len(part) for split, part in loaded.items()}) == {"train": 2, "validation": 1, "test": 1}  # fmt: skip
