"""Human-answered questions are converted into a dataset without a model."""

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
    result = []
    for number in range(count):
        text = (
            f"Lock {number} on the Aru was built in {1800 + number}. It is {number + 3} metres wide. "
            f"Its keeper, Ada {chr(65 + number % 26)}{number}, counts every boat."
        )
        answers = (str(1800 + number), f"{number + 3} metres", f"Ada {chr(65 + number % 26)}{number}")
        questions = (
            f"When was lock {number} built?",
            f"How wide is lock {number}?",
            f"Who keeps lock {number}?",
        )
        result.append(
            Paragraph("Locks", text, [(q, a, text.index(a)) for q, a in zip(questions, answers, strict=True)])
        )
    return result


def test_each_row_quotes_the_sentence_that_holds_the_answer() -> None:
    result = records_from_squad(paragraphs(), distractors=2, p=1.0, valid=0.2)
    assert len(result.chunks) == 30
    for row in result.records:
        answer = parse_answer(row["cot_answer"])
        assert not isinstance(answer, str)
        assert answer.final == row["final_answer"]
        assert row["final_answer"] in answer.quotes[0] and answer.quotes[0] in row["oracle_context"]
        assert len(row["context"]["sentences"][0]) == 3


def test_a_held_out_question_is_in_no_row_but_its_paragraph_is() -> None:
    result = records_from_squad(paragraphs(), valid=0.2)
    train = [row for row in result.records if row["split"] == "train"]
    assert len(result.held_out) == 24 and len(train) == 48 and len(result.records) == 48 + 6 * 3
    assert not {row["question"] for row in result.held_out} & {row["question"] for row in result.records}
    assert {row["chunk_id"] for row in result.held_out} == {row["chunk_id"] for row in train}
    assert records_from_squad(paragraphs(), valid=0.2).held_out == result.held_out, "reproducible"


def test_each_round_has_other_documents_shared_by_all_rows_of_a_paragraph() -> None:
    result = records_from_squad(paragraphs(), distractors=2, p=1.0, valid=0.2, rounds=3, drills=2)
    train = [row for row in result.records if row["split"] == "train"]
    given = [row for row in train if row["origin"] == "given"]
    assert len(given) == 3 * 48 and len(train) - len(given) == 3 * 2 * 24
    assert len({row["id"] for row in result.records}) == len(result.records)
    for question in {row["question"] for row in given}:
        rows = [row for row in given if row["question"] == question]
        assert len({distractor for row in rows for distractor in row["distractor_ids"]}) == 6, (
            "other distractors in each round"
        )
    prefixes = {row["instruction"].removesuffix(row["question"]) for row in train}
    assert len(prefixes) < len(train) / 3, "rows share a prefix, which a trainer computes once"


def test_a_round_avoids_documents_that_hold_the_answer() -> None:
    result = records_from_squad(paragraphs(), distractors=2, p=1.0, valid=0.2, rounds=2)
    for row in result.records:
        others = [text for text in row["context"]["sentences"][0] if text != row["oracle_context"]]
        assert not any(f" {row['final_answer']}." in text for text in others)


def test_counts_repeated_questions_and_answers_across_sentences() -> None:
    given = paragraphs()
    question, answer, start = given[0].qas[0]
    across = "1800. It is 3"
    given[0] = Paragraph(
        "Locks",
        given[0].text,
        [(question, answer, start), (question, answer, start), ("What?", across, given[0].text.index(across)),
         ("Which?", across, given[0].text.index(across)), *given[0].qas[1:]],
    )  # fmt: skip
    result = records_from_squad(given, valid=0.0)
    assert result.repeated == 1
    held_out = [row for row in result.held_out if row["answer"] == across]
    assert result.left_out == 2 - len(held_out)


def test_the_files_pass_validation(tmp_path: Path) -> None:
    files = write_squad_records(
        records_from_squad(paragraphs(), p=0.9), tmp_path, formats=["chat", "dsf"], p=0.9
    )
    assert files["train.chat.jsonl"]["rows"] == files["train.dsf.jsonl"]["rows"] > 50
    result = records_from_squad(paragraphs(), p=0.9, rounds=2, drills=3)
    more = write_squad_records(result, tmp_path / "more", formats=["chat", "dsf"], p=0.9)
    assert more["train.dsf.jsonl"]["rows"] == files["train.dsf.jsonl"]["rows"], (
        "each question once, and no drills"
    )
    assert more["train.chat.jsonl"]["rows"] == 2 * files["train.chat.jsonl"]["rows"]
    assert more["drills.chat.jsonl"]["rows"] > files["train.chat.jsonl"]["rows"]
    held_out = (tmp_path / "questions.jsonl").read_text(encoding="utf-8")
    assert held_out.count("\n") == 26, "valid takes at least 4 paragraphs"


def test_the_command_reports_what_it_wrote(tmp_path: Path) -> None:
    data = {
        "data": [
            {
                "title": paragraph.title,
                "paragraphs": [
                    {
                        "context": paragraph.text,
                        "qas": [
                            {"question": question, "answers": [{"text": answer, "answer_start": start}]}
                            for question, answer, start in paragraph.qas
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
    assert done.stdout.startswith("Dataset: ") and "questions held out in" in done.stdout


def test_rejects_too_few_paragraphs() -> None:
    with pytest.raises(UserError, match="too few"):
        records_from_squad(paragraphs(3))
