"""Human-answered questions are converted into a dataset without a model."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.rag.test_focus import Words
from tools.raft.dataset.pairs import FALSE_REFUSAL, NOT_SHOWN, sum_pairs
from tools.raft.errors import UserError
from tools.raft.files import PROJECT, hash_file, read_jsonl
from tools.raft.generate.from_squad import records_from_squad, write_squad_records
from tools.raft.ingest.squad import LeftOut, Paragraph, Question, read_paragraphs
from tools.raft.raft_format import parse_answer, parse_documents, refusal
from tools.raft.rag.focus import Focus
from tools.raft.rag.sentences import Sentences
from tools.raft.text.excerpts import is_excerpt

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
            Paragraph(
                "Locks",
                text,
                [Question(q, [(text.index(a), a)]) for q, a in zip(questions, answers, strict=True)],
            )
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


def test_drills_without_their_oracle_are_refusals_if_rows_are(tmp_path: Path) -> None:
    kept = records_from_squad(paragraphs(), p=0.5, valid=0.2, drills=2)
    result = records_from_squad(paragraphs(), p=0.5, valid=0.2, drills=2, no_oracle="refuse")
    drills = [row for row in result.records if row["origin"] == "drill"]
    refused = [row for row in drills if not row["has_oracle"]]
    assert 0.3 < len(refused) / len(drills) < 0.7
    assert {row["final_answer"] for row in refused} == {refusal().final}
    assert all(row["has_oracle"] for row in kept.records if row["origin"] == "drill")
    files = write_squad_records(result, tmp_path, formats=["chat"])
    assert files["drills.chat.jsonl"]["rows"] == len(drills)


def test_people_s_answers_are_preferred_to_refusals_and_the_other_way_around(tmp_path: Path) -> None:
    result = records_from_squad(paragraphs(), p=0.5, valid=0.2, drills=2, no_oracle="refuse")
    files = write_squad_records(result, tmp_path, formats=["chat", "dpo"])
    given = [row for row in result.records if row["origin"] == "given"]
    pairs = sum_pairs(files)["pairs"]
    assert pairs == {
        FALSE_REFUSAL: sum(row["has_oracle"] for row in given),
        NOT_SHOWN: sum(not row["has_oracle"] for row in given),
    }
    assert min(pairs.values()) > 10
    kept = records_from_squad(paragraphs(), p=0.5, valid=0.2)
    write_squad_records(kept, tmp_path, formats=["chat"])
    assert not (tmp_path / "rejected_answers.jsonl").exists()


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


def test_rows_can_be_made_as_questions_will_be_asked(tmp_path: Path) -> None:
    options = {"distractors": 3, "p": 0.6, "valid": 0.2, "no_oracle": "refuse", "order": "ranked"}
    whole = records_from_squad(paragraphs(), **options)  # type: ignore[arg-type]
    sentences = Sentences(Words())  # type: ignore[arg-type]
    result = records_from_squad(paragraphs(), focus=Focus(sentences, share=0.3, least=1), **options)  # type: ignore[arg-type]
    for row, uncut in zip(result.records, whole.records, strict=True):
        assert row["context"] == uncut["context"], "the record keeps the whole documents"
        assert len(row["instruction"]) < len(uncut["instruction"])
        shown = parse_documents(row["instruction"])
        assert len(shown) == 4 and all(map(is_excerpt, shown, row["context"]["sentences"][0]))
        answer = parse_answer(row["cot_answer"])
        assert not isinstance(answer, str)
        if row["has_oracle"]:
            assert answer.quotes[0] in shown[row["oracle_index"] or 0], "the quoted sentence is always kept"
        else:
            assert answer == refusal(), "a refusal, as is asked for at inference"
    refused = sum(not row["has_oracle"] for row in result.records)
    assert 0 < refused < len(result.records)
    files = write_squad_records(result, tmp_path, formats=["chat", "eval"])
    assert files["train.chat.jsonl"]["rows"] == sum(row["split"] == "train" for row in result.records)


def test_a_round_that_is_cut_to_the_same_prompt_is_left_out_and_counted() -> None:
    sentences = Sentences(Words())  # type: ignore[arg-type]
    result = records_from_squad(
        paragraphs(), p=1.0, valid=0.2, rounds=3, focus=Focus(sentences, share=0.01, least=1)
    )
    prompts = [row["instruction"] for row in result.records]
    assert len(set(prompts)) == len(prompts)
    (reason,) = {row["reason"] for row in result.left_out}
    assert "as in an earlier round" in reason and len(result.left_out) + len(prompts) == 3 * 48 + 18


def test_counts_repeated_questions_and_answers_across_sentences() -> None:
    given = paragraphs()
    first, *others = given[0].questions
    across = [(given[0].text.index("1800. It"), "1800. It is 3")]
    questions = [first, first, Question("What?", across), Question("Which?", across), *others]
    given[0] = Paragraph("Locks", given[0].text, questions)
    result = records_from_squad(given, valid=0.0)
    held_out = [row for row in result.held_out if row["answer"] == "1800. It is 3"]
    assert Counter(row["reason"] for row in result.left_out) == {
        "it stands twice under its paragraph": 1,
        "no single sentence holds the answer": 2 - len(held_out),
    }
    assert {"question": first.text, "source": "Locks 1"}.items() <= result.left_out[0].items()


def test_the_files_pass_validation(tmp_path: Path) -> None:
    files = write_squad_records(records_from_squad(paragraphs(), p=0.9), tmp_path, formats=["chat", "dsf"])
    assert files["train.chat.jsonl"]["rows"] == files["train.dsf.jsonl"]["rows"] > 50
    result = records_from_squad(paragraphs(), p=0.9, rounds=2, drills=3)
    more = write_squad_records(result, tmp_path / "more", formats=["chat", "dsf"])
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
                            {"question": question.text, "answers": [{"text": answer, "answer_start": start}]}
                            for question in paragraph.questions
                            for start, answer in question.answers
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
    last = done.stdout.splitlines()[-1]
    assert last.startswith("Dataset: ") and "questions held out in" in last
    shown = subprocess.run(
        [sys.executable, "-m", "tools", "publish", "--dataset", str(tmp_path / "out"), "--to", "hf:a/b", "--dry-run"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert shown.returncode == 0, shown.stderr
    assert "train.chat.jsonl" in shown.stdout and "questions.jsonl" in shown.stdout


def test_what_is_left_out_is_kept_with_its_reason_and_the_card_says_who_wrote_the_answers(
    tmp_path: Path,
) -> None:
    given = paragraphs()
    given[0].questions.append(Question("What?", [(given[0].text.index("1800. It"), "1800. It is 3")]))
    unread: LeftOut = {"question": "Why?", "source": "Locks", "reason": "it has no answer"}
    unused = records_from_squad(given, p=0.9, valid=0.0).left_out
    result = records_from_squad(given, p=0.9, valid=0.0, left_out=[unread])
    write_squad_records(result, tmp_path, formats=["chat"])
    rejected = [row for _, row in read_jsonl(tmp_path / "rejected.jsonl")]
    assert rejected == [unread, *unused]
    manifest = json.loads((tmp_path / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["counts"]["rows"] == len(result.records) and manifest["settings"]["rounds"] == 1
    assert sum(manifest["rejected_by_reason"].values()) == manifest["counts"]["rejected"] == len(rejected)
    assert all(hash_file(tmp_path / name) == file["sha256"] for name, file in manifest["files"].items())
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "Answers: people." in card and "synthetic" not in card and "written by a model" not in card


def test_rejects_too_few_paragraphs() -> None:
    with pytest.raises(UserError, match="too few"):
        records_from_squad(paragraphs(2))


FERRY = (
    "The ferry to Holm carries forty people and six bicycles. It was launched in 1996 and crosses the sound "
    "in eleven minutes. Its forty life jackets hang below deck."
)


def quotes(tmp_path: Path, *qas: dict[str, object], context: str = FERRY) -> dict[str, tuple[str, str]]:
    """Return quote and final answer of each row that the questions give."""
    file = tmp_path / "qa.json"
    padding = [{"context": paragraph.text, "qas": []} for paragraph in paragraphs(4)]
    article = {"title": "Holm", "paragraphs": [{"context": context, "qas": list(qas)}, *padding]}
    file.write_text(json.dumps({"data": [article]}), encoding="utf-8")
    found, _ = read_paragraphs(file)
    result = {}
    for row in records_from_squad(found, valid=0.0, p=1.0, distractors=1).records:
        answer = parse_answer(row["cot_answer"])
        assert not isinstance(answer, str) and answer.final in answer.quotes[0]
        result[row["question"]] = answer.quotes[0], answer.final
    return result


def qa(answer: str, start: int | None, **more: object) -> dict[str, object]:
    answers = [{"text": answer} if start is None else {"text": answer, "answer_start": start}]
    return {"question": "How many?", "answers": answers, **more}


@pytest.mark.parametrize(
    ("answer", "start", "quote"),
    [
        ("forty", 26, "The ferry"),
        ("forty", 60, "The ferry"),
        ("forty", 9999, "Its forty"),
        ("eleven  minutes", 60, "It was"),
        ("Six\nBicycles", 0, "The ferry"),
        ("six", None, "The ferry"),
        ("forty", None, ""),
        ("sixty", 26, ""),
        ("bicycle", 26, ""),
    ],
)
def test_an_answer_is_quoted_from_where_it_stands(
    tmp_path: Path, answer: str, start: int | None, quote: str
) -> None:
    rows = quotes(tmp_path, qa(answer, start))
    assert [found.startswith(quote) for found, _ in rows.values()] == ([True] if quote else [])


@pytest.mark.parametrize(("encoding", "unit"), [("utf-8", 1), ("utf-16-le", 2)])
def test_offsets_in_bytes_or_utf_16_units_find_their_own_place(
    tmp_path: Path, encoding: str, unit: int
) -> None:
    context = (
        f"Ärger im Hafen: 🚢🚢🚢🚢🚢🚢🚢🚢🚢🚢 vierzig Boote. Es lagen vierzig Kähne im Süßwasser. {FERRY}"
    )
    place = context.index("vierzig Kähne")
    start = len(context[:place].encode(encoding)) // unit
    rows = quotes(tmp_path, qa("vierzig", start), context=context)
    assert [quote for quote, _ in rows.values()] == ["Es lagen vierzig Kähne im Süßwasser."]


def test_the_first_answer_that_stands_in_one_sentence_is_taken(tmp_path: Path) -> None:
    answers = {"text": ["sixty", "six bicycles. It was launched", "six"], "answer_start": [1, 43, 43]}
    rows = quotes(tmp_path, {"question": "How many?", "answers": answers})
    assert [final for _, final in rows.values()] == ["six"]


def test_what_is_left_out_is_counted_by_its_reason(tmp_path: Path) -> None:
    file = tmp_path / "qa.json"
    article = {"title": "Holm", "paragraphs": [{"context": FERRY, "qas": [
        qa("six", 0), qa("sixty", 0), qa("", 0), {"question": " ", "answers": []},
        qa("six", 0, is_impossible=True), {"question": "Why?", "answers": [], "is_impossible": True},
    ]}]}  # fmt: skip
    file.write_text("\ufeff" + json.dumps([article]), encoding="utf-8")
    (paragraph,), left_out = read_paragraphs(file)
    assert [question.answers for question in paragraph.questions] == [[(FERRY.index("six"), "six")]]
    assert Counter(row["reason"] for row in left_out) == {
        "the answer stands nowhere in its paragraph": 1,
        "it has no answer": 1,
        "the question is empty": 1,
        "the paragraph does not answer it, as its is_impossible says": 2,
    }


def test_json_lines_are_read_with_the_questions_of_a_context_together(tmp_path: Path) -> None:
    file = tmp_path / "qa.jsonl"
    rows = [
        {"title": "Holm", "context": FERRY, "question": "How many?",
         "answers": {"text": ["six"], "answer_start": [FERRY.index("six")]}},
        {"title": "Holm", "context": FERRY, "question": "When?", "answers": {"text": ["1996"], "answer_start": [7]}},
    ]  # fmt: skip
    file.write_text("\ufeff" + "\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    (paragraph,), _ = read_paragraphs(file)
    assert [question.text for question in paragraph.questions] == ["How many?", "When?"]
    file.write_text('{"context": "A.", "question": "B?"}\n{"context": 5}\n', encoding="utf-8")
    with pytest.raises(UserError, match="entry 2 is not in SQuAD format: it has no context"):
        read_paragraphs(file)
    file.write_text('{\n"data": [\n}', encoding="utf-8")
    with pytest.raises(UserError, match="line 3: not JSON"):
        read_paragraphs(file)
