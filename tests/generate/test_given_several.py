"""A user's questions that need several documents: from the file with their sources to rows and scores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.multi_hop import convert
from tests.scripted_endpoint import scripted_endpoint
from tools.raft.dataset.validate import validate_files
from tools.raft.errors import UserError
from tools.raft.files import write_jsonl
from tools.raft.generate.given_questions import Locator, read_given_questions
from tools.raft.generate.pipeline import BuildResult, build_dataset
from tools.raft.generate.settings import DatasetSettings
from tools.raft.generate.summarise import summarise
from tools.raft.ingest.corpus import collect_chunks
from tools.raft.models.endpoint import Endpoint

RIVERS = ("Aru", "Belm", "Corve", "Dorn", "Elta", "Fenn", "Gale", "Holm", "Isk", "Jorv", "Kell", "Lune")


def paragraphs(number: int) -> list[tuple[str, str]]:
    river = RIVERS[number]
    return [
        (f"{river} (river)", f"The {river} rises on Mount {river}dal. It is {40 + number} kilometres long."),
        (f"Mount {river}dal", f"Mount {river}dal stands near the town {river}ham. Its top is {1200 + number} metres high."),
        (f"{river}ham", f"{river}ham has a market hall of {1700 + number}. Its mayor is Ada Nor{river.lower()}."),
        (f"{river} bridge", f"The old bridge over the {river} has {number + 3} arches. Herons nest below it."),
    ]  # fmt: skip


def hotpot(number: int) -> dict[str, Any]:
    """A row as in HotpotQA, which two of its four paragraphs answer together."""
    river = RIVERS[number]
    return {
        "question": f"How high is the mountain on which the {river} rises?",
        "answer": f"{1200 + number} metres",
        "supporting_facts": [[f"{river} (river)", 0], [f"Mount {river}dal", 1]],
        "context": [[title, text.replace(". ", ".\0 ").split("\0")] for title, text in paragraphs(number)],
    }


def musique(number: int) -> dict[str, Any]:
    """A row as in MuSiQue, with three hops."""
    river = RIVERS[number]
    return {
        "question": f"Who is mayor of the town near the mountain on which the {river} rises?",
        "answer": f"Ada Nor{river.lower()}",
        "answer_aliases": [f"Nor{river.lower()}"],
        "paragraphs": [
            {"title": title, "paragraph_text": text, "is_supporting": place < 3}
            for place, (title, text) in enumerate(paragraphs(number))
        ],
    }


def build(folder: Path, rows: list[dict[str, Any]], out: Path, **settings: Any) -> BuildResult:
    documents, questions = convert(rows)
    write_jsonl(folder / "documents.jsonl", documents)
    write_jsonl(folder / "questions.jsonl", questions)
    corpus = collect_chunks([str(folder / "documents.jsonl")], chunk_size=200)
    given = read_given_questions(folder / "questions.jsonl")
    with scripted_endpoint(golds=folder / "questions.jsonl") as endpoint:
        model = Endpoint(base_url=endpoint.url, model="m")
        options = DatasetSettings(questions=1, formats=("chat", "eval", "parquet"), **settings)
        result = build_dataset(corpus, model, out, options, given=given)
        summarise(result, corpus, [model], out, options, prices={})
    return result


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_multi_hop_questions_become_rows_with_all_their_documents(tmp_path: Path) -> None:
    rows = [hotpot(number) for number in range(12)] + [musique(number) for number in range(12)]
    out = tmp_path / "out"
    result = build(tmp_path, rows, out, distractors=3, p=0.5, valid=0.25, test=0.25)
    assert result.counts.origins["given"] == result.counts.several == 24
    assert not [note for note in result.notes if "split" in note and "changed their split" not in note]
    records = [row for row in read(out / "raft.jsonl") if row["origin"] == "given"]
    sources = {chunk["id"]: chunk["source"] for chunk in read(out / "chunks.jsonl")}
    wanted = {row["question"]: row for row in read(tmp_path / "questions.jsonl")}
    for record in records:
        assert [sources[id] for id in record["oracle_ids"]] == wanted[record["question"]]["oracles"]
        assert record["final_answer"] in wanted[record["question"]]["answers"]
        assert len(record["context"]["sentences"][0]) == 4
    assert {len(record["oracle_ids"]) for record in records} == {2, 3}
    assert {record["has_oracle"] for record in records} == {True, False}
    assert len({record["split"] for record in records}) > 1
    assert not [finding for finding in validate_files(out) if finding.severity == "error"]
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["counts"]["rows_with_several_oracles"] == 24
    assert "answer_question_of_several.jinja2" in manifest["prompt_hashes"]
    evaluated = read(out / "test.eval.jsonl")
    assert all("oracles" in row for row in evaluated) and any(len(row["oracles"]) > 1 for row in evaluated)


def test_documents_that_a_question_needs_are_in_one_split_and_the_others_stay(tmp_path: Path) -> None:
    rows = [hotpot(number) for number in range(12)]
    build(tmp_path, rows, tmp_path / "joint", valid=0.2, test=0.2, distractors=2)
    for row in rows:
        row["supporting_facts"] = []  # the same questions without oracles
    build(tmp_path, rows, tmp_path / "single", valid=0.2, test=0.2, distractors=2)
    splits = []
    for name in ("joint", "single"):
        found: dict[str, str] = {}
        for row in read(tmp_path / name / "raft.jsonl"):
            for id in (row["chunk_id"], *row.get("oracle_ids", ()), *row["distractor_ids"]):
                assert found.setdefault(id, row["split"]) == row["split"], "no chunk is in two splits"
        splits.append(found)
    joint = read(tmp_path / "joint" / "raft.jsonl")
    needed = {id for row in joint for id in row.get("oracle_ids", ())}
    others = splits[0].keys() & splits[1].keys() - needed
    assert others and all(splits[0][id] == splits[1][id] for id in others)


def test_each_question_that_cannot_be_used_is_rejected_with_its_reason(tmp_path: Path) -> None:
    documents, questions = convert([hotpot(number) for number in range(8)])
    questions[0]["oracles"] = ["elsewhere.txt", questions[0]["oracles"][0]]
    questions[1]["oracles"] = [document["source"] for document in documents[:4]]
    questions[2] = {**questions[2], "answers": ["a different answer"]}
    write_jsonl(tmp_path / "documents.jsonl", documents)
    write_jsonl(tmp_path / "questions.jsonl", questions)
    corpus = collect_chunks([str(tmp_path / "documents.jsonl")], chunk_size=200)
    given = read_given_questions(tmp_path / "questions.jsonl")
    with scripted_endpoint(one_quote=0.3, golds=tmp_path / "questions.jsonl") as endpoint:
        model = Endpoint(base_url=endpoint.url, model="m")
        settings = DatasetSettings(questions=1, distractors=2, valid=0, test=0)
        build_dataset(corpus, model, tmp_path / "out", settings, given=given)
    rejected = [row for row in read(tmp_path / "out" / "rejected.jsonl") if row.get("origin") == "given"]
    reasons = {row["question"]: row["reason"] for row in rejected}
    assert reasons[questions[0]["question"]] == "no chunk found for one of its oracles: elsewhere.txt"
    assert reasons[questions[1]["question"]] == "it needs more documents than a row has: raise --distractors"
    assert reasons[questions[2]["question"]] == "disagrees with the expected answer"
    unquoted = [row for row in rejected if row["reason"] == "no quote from one of its documents"]
    assert unquoted and all(len(row["oracle_ids"]) == 2 for row in unquoted)


@pytest.mark.parametrize("oracles", [3, [1, 2], ["a", ""], {"a": 1}])
def test_oracles_have_to_be_names(tmp_path: Path, oracles: object) -> None:
    write_jsonl(tmp_path / "q.jsonl", [{"question": "How high?", "oracles": oracles}])
    with pytest.raises(UserError, match="must list the ids or sources of its documents"):
        read_given_questions(tmp_path / "q.jsonl")


def test_one_oracle_is_what_relevant_is(tmp_path: Path) -> None:
    documents, _ = convert([hotpot(0)])
    write_jsonl(tmp_path / "documents.jsonl", documents)
    source = documents[1]["source"]
    write_jsonl(tmp_path / "q.jsonl", [{"question": "How high?", "oracles": source}, {"question": "So?", "oracles": []}])  # fmt: skip
    first, second = read_given_questions(tmp_path / "q.jsonl")
    assert first["relevant"] == [source] and "oracles" not in first
    assert second["relevant"] == [] and "oracles" not in second
    locator = Locator(collect_chunks([str(tmp_path / "documents.jsonl")], chunk_size=200).chunks)
    assert [chunk["source"] for chunk in locator.candidates(first)] == [source]
