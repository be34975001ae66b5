"""Questions people answered, made into a dataset without a model."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tools.raft.errors import UserError
from tools.raft.files import PROJECT
from tools.raft.generate.from_squad import records_from_squad, write_squad_records
from tools.raft.ingest.squad import Paragraph
from tools.raft.raft_format import parse_answer

ROOT = PROJECT


def paragraphs(count: int = 30) -> list[Paragraph]:
    made = []
    for number in range(count):
        text = (
            f"Lock {number} on the Aru was built in {1800 + number}. It is {number + 3} metres wide. "
            f"Its keeper, Ada {chr(65 + number % 26)}{number}, counts every boat."
        )
        answers = (str(1800 + number), f"{number + 3} metres", f"Ada {chr(65 + number % 26)}{number}")
        asked = (f"When was lock {number} built?", f"How wide is lock {number}?", f"Who keeps lock {number}?")
        made.append(
            Paragraph("Locks", text, [(q, a, text.index(a)) for q, a in zip(asked, answers, strict=True)])
        )
    return made


def test_each_row_quotes_the_sentence_that_holds_the_answer() -> None:
    labelled = records_from_squad(paragraphs(), distractors=2, p=1.0, valid=0.2)
    assert len(labelled.chunks) == 30
    for row in labelled.records:
        answer = parse_answer(row["cot_answer"])
        assert not isinstance(answer, str)
        assert answer.final == row["final_answer"]
        assert row["final_answer"] in answer.quotes[0] and answer.quotes[0] in row["oracle_context"]
        assert len(row["context"]["sentences"][0]) == 3


def test_a_question_kept_out_is_in_no_row_and_its_paragraph_is_known() -> None:
    labelled = records_from_squad(paragraphs(), valid=0.2)
    train = [row for row in labelled.records if row["split"] == "train"]
    assert len(labelled.held_out) == 24 and len(train) == 48 and len(labelled.records) == 48 + 6 * 3
    assert not {row["question"] for row in labelled.held_out} & {row["question"] for row in labelled.records}
    assert {row["chunk_id"] for row in labelled.held_out} == {row["chunk_id"] for row in train}
    assert records_from_squad(paragraphs(), valid=0.2).held_out == labelled.held_out, "the same each time"


def test_rounds_ask_again_beside_other_documents_that_a_paragraphs_rows_share() -> None:
    labelled = records_from_squad(paragraphs(), distractors=2, p=1.0, valid=0.2, rounds=3, drills=2)
    train = [row for row in labelled.records if row["split"] == "train"]
    asked = [row for row in train if row["origin"] == "given"]
    assert len(asked) == 3 * 48 and len(train) - len(asked) == 3 * 2 * 24
    assert len({row["id"] for row in labelled.records}) == len(labelled.records)
    for question in {row["question"] for row in asked}:
        rows = [row for row in asked if row["question"] == question]
        assert len({distractor for row in rows for distractor in row["distractor_ids"]}) == 6, (
            "others each time"
        )
    beginnings = {row["instruction"].removesuffix(row["question"]) for row in train}
    assert len(beginnings) < len(train) / 3, "rows begin alike, so that a trainer computes it once"


def test_a_round_avoids_documents_that_hold_the_answer() -> None:
    labelled = records_from_squad(paragraphs(), distractors=2, p=1.0, valid=0.2, rounds=2)
    for row in labelled.records:
        others = [text for text in row["context"]["sentences"][0] if text != row["oracle_context"]]
        assert not any(f" {row['final_answer']}." in text for text in others)


def test_what_is_left_out_is_counted() -> None:
    some = paragraphs()
    question, answer, at = some[0].qas[0]
    across = "1800. It is 3"
    some[0] = Paragraph(
        "Locks",
        some[0].text,
        [(question, answer, at), (question, answer, at), ("What?", across, some[0].text.index(across)),
         ("Which?", across, some[0].text.index(across)), *some[0].qas[1:]],
    )  # fmt: skip
    labelled = records_from_squad(some, valid=0.0)
    assert labelled.repeated == 1
    kept_out = [row for row in labelled.held_out if row["answer"] == across]
    assert labelled.left_out == 2 - len(kept_out)


def test_the_files_pass_their_checks(tmp_path: Path) -> None:
    files = write_squad_records(
        records_from_squad(paragraphs(), p=0.9), tmp_path, formats=["chat", "dsf"], p=0.9
    )
    assert files["train.chat.jsonl"]["rows"] == files["train.dsf.jsonl"]["rows"] > 50
    again = records_from_squad(paragraphs(), p=0.9, rounds=2, drills=3)
    more = write_squad_records(again, tmp_path / "more", formats=["chat", "dsf"], p=0.9)
    assert more["train.dsf.jsonl"]["rows"] == files["train.dsf.jsonl"]["rows"], "each once, and no drills"
    assert more["train.chat.jsonl"]["rows"] == 2 * files["train.chat.jsonl"]["rows"]
    assert more["drills.chat.jsonl"]["rows"] > files["train.chat.jsonl"]["rows"]
    assert (tmp_path / "questions.jsonl").read_text(encoding="utf-8").count(
        "\n"
    ) == 26  # valid takes 4 paragraphs at least


def test_the_command_says_what_it_made(tmp_path: Path) -> None:
    data = {
        "data": [
            {
                "title": paragraph.title,
                "paragraphs": [
                    {
                        "context": paragraph.text,
                        "qas": [
                            {"question": question, "answers": [{"text": answer, "answer_start": at}]}
                            for question, answer, at in paragraph.qas
                        ],
                    }
                ],
            }
            for paragraph in paragraphs()
        ]
    }
    file = tmp_path / "qa.json"
    file.write_text(json.dumps(data), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "tools", "squad", "--qa", str(file), "--out", str(tmp_path / "out")],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Dataset: ") and "questions kept out in" in done.stdout


def test_too_few_paragraphs_are_said() -> None:
    with pytest.raises(UserError, match="too few"):
        records_from_squad(paragraphs(3))
