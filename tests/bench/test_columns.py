"""Reading and scoring the benchmarks: small files as published, and the real ones where ../shared/qa is there."""

from __future__ import annotations

import importlib.util
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.bench.files import write_benchmarks, write_lines
from tools.raft.bench.apibench import read_instruction
from tools.raft.bench.columns import COLUMNS
from tools.raft.bench.hotpotqa import score_answer
from tools.raft.errors import UserError

QA = Path(__file__).parents[3] / "shared" / "qa"
needs_data = pytest.mark.skipif(not QA.is_dir(), reason="needs ../shared/qa")
needs_parser = pytest.mark.skipif(
    not importlib.util.find_spec("tree_sitter_python"), reason="needs requirements-apibench.txt"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_benchmarks(tmp_path_factory.mktemp("qa"))


@pytest.mark.parametrize("name", COLUMNS)
def test_every_question_has_its_evidence_verbatim_in_its_oracles(folder: Path, name: str) -> None:
    collection = COLUMNS[name].read(folder)
    assert len(collection.test) in (12, 20)
    for question in (*collection.test, *collection.train):
        texts = [collection.documents[oracle]["text"] for oracle in question.oracles]
        assert question.quotes
        assert all(any(quote in text for text in texts) for quote in question.quotes)
        assert all(any(quote in text for quote in question.quotes) for text in texts), "some of each oracle"
        assert question.query in question.text


def test_no_conclusion_of_an_abstract_is_read(folder: Path) -> None:
    collection = COLUMNS["pubmedqa"].read(folder)
    assert len(collection.train) == 12
    assert "gives it away" not in json.dumps([vars(each) for each in (*collection.test, *collection.train)])
    assert "gives it away" not in json.dumps(list(collection.documents.values()))
    assert all("asleep on" in question.quotes[0] for question in collection.test), "the finding, not the aim"


def test_training_files_are_read_where_they_are(tmp_path: Path) -> None:
    folder = write_benchmarks(tmp_path, training=True)
    counts = {name: len(column.read(folder).train) for name, column in COLUMNS.items()}
    assert counts == {
        "pubmedqa": 12, "hotpotqa": 12, "huggingface": 24, "torchhub": 24, "tensorflowhub": 24,
    }  # fmt: skip


def test_a_missing_file_is_named_with_the_command_that_says_where_it_is_to_be_had(tmp_path: Path) -> None:
    for column in COLUMNS.values():
        with pytest.raises(UserError, match=r"is missing: `bench sources` says where it is to be had"):
            column.read(tmp_path)


def test_the_task_is_read_from_all_forms_of_the_published_rows() -> None:
    assert read_instruction("###Instruction: Do it.\n\n###Input: x\n\n###Output: y") == "Do it.\n###Input: x"
    assert read_instruction("{'Instruction': Do, 'well'., 'Output': {'domain': 1}}") == "Do, 'well'."
    assert read_instruction("{'Instruction': \"Do it.\", 'Output': {}}") == "Do it."
    assert read_instruction("no task") == ""


def test_a_supporting_fact_counts_if_it_is_quoted_whole_or_in_part(folder: Path) -> None:
    collection = COLUMNS["hotpotqa"].read(folder)
    question = collection.test[0]
    first, second = (collection.documents[id] for id in question.oracles)

    def row(*quotes: tuple[str, Any]) -> dict[str, Any]:
        citations = [{"quote": quote, "id": chunk["id"], "title": chunk["title"]} for quote, chunk in quotes]
        return {"answer": question.answer, "citations": citations, "documents": [first, second]}

    both = score_answer(question, row((question.quotes[0], first), (question.quotes[1][5:], second)))
    assert both["exact_match"] == both["joint_exact"] == both["facts_f1"] == 1
    one = score_answer(question, row((question.quotes[0], first)))
    assert one["exact_match"] == 1 and one["joint_exact"] == 0 and one["facts_f1"] == pytest.approx(2 / 3)
    other = score_answer(question, row((question.quotes[0], first), ("It is deep.", second)))
    assert other["facts_exact"] == 0 and other["facts_f1"] == pytest.approx(1 / 2)
    closed = score_answer(question, {"answer": "elsewhere", "citations": [], "documents": []})
    assert closed == {"exact_match": 0, "f1": 0}


@needs_parser
def test_an_api_of_the_domain_is_accepted_by_the_reference_and_not_strictly(folder: Path) -> None:
    column = COLUMNS["torchhub"]
    score, question = column.open_scorer(folder), column.read(folder).test[1]
    gold = score(question, {"answer": f"`{question.answer}`"})
    assert gold["accuracy"] == gold["gold_call"] == 1
    other = score(
        question, {"answer": "torch.hub.load('zoo/badger-net', model='badger-net', pretrained=True)"}
    )
    assert other == {"accuracy": 1, "hallucination": 0, "gold_call": 0, "invented_call": 0}
    invented = score(question, {"answer": "torch.hub.load('zoo/cat-net', 'cat-net')"})
    assert invented == {"accuracy": 0, "hallucination": 1, "gold_call": 0, "invented_call": 1}


@needs_data
@pytest.mark.parametrize(
    ("name", "asked", "trained", "documents"),
    [
        ("pubmedqa", 500, 500, 1000),
        ("hotpotqa", 100, 0, 994),
        ("huggingface", 904, 0, 987),
        ("torchhub", 186, 837, 94),
        ("tensorflowhub", 685, 0, 647),
    ],
)
def test_the_published_questions_are_read_whole(name: str, asked: int, trained: int, documents: int) -> None:
    collection = COLUMNS[name].read(QA)
    assert (len(collection.test), len(collection.train), len(collection.documents)) == (
        asked,
        trained,
        documents,
    )
    assert not +Counter(collection.left_out)
    assert all(question.quotes for question in (*collection.test, *collection.train))
    if name not in ("pubmedqa", "hotpotqa"):
        lines = (QA / f"apibench_{name}_questions.jsonl").read_text(encoding="utf-8").split("\n")
        published = [json.loads(line) for line in lines if line]
        assert [each.query for each in collection.test] == [
            "\n".join(row["question_clean"].splitlines()) for row in published
        ]


@needs_data
@needs_parser
@pytest.mark.parametrize(
    ("name", "share"),
    [
        ("pubmedqa", 276 / 500),
        ("huggingface", 23 / 904),
        ("torchhub", 158 / 186),
        ("tensorflowhub", 205 / 685),
    ],
)
def test_the_constant_replies_score_what_they_are_known_to(name: str, share: float) -> None:
    column = COLUMNS[name]
    score, test = column.open_scorer(QA), column.read(QA).test
    reply = {"answer": column.constant, "citations": [], "documents": []}
    assert sum(score(question, reply)[column.metric] for question in test) / len(test) == share


def test_a_broken_file_is_one_line(tmp_path: Path) -> None:
    folder = write_benchmarks(tmp_path)
    (folder / "ori_pqal.json").write_text('{"1": {}}', encoding="utf-8")
    with pytest.raises(UserError, match="entry 1 lacks QUESTION"):
        COLUMNS["pubmedqa"].read(folder)
    (folder / "ori_pqal.json").write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match="is not JSON"):
        COLUMNS["pubmedqa"].read(folder)
    write_lines(folder / "torchhub_api.jsonl", [{"domain": "x"}])
    with pytest.raises(UserError, match=r"torchhub_api\.jsonl, entry 1: it lacks api_call"):
        COLUMNS["torchhub"].read(folder)
    (folder / "hotpot_dev_distractor_v1.json").write_text('[{"_id": 1}]', encoding="utf-8")
    with pytest.raises(UserError, match=r"hotpot_dev_distractor_v1\.json, entry 1: it lacks answer, context"):
        COLUMNS["hotpotqa"].read(folder)
