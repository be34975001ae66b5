"""A threshold fitted on questions with known sources refuses those whose documents hold no answer."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import make_chunk
from tests.rag.test_index import Hashed, open_hashed
from tools.raft.errors import UserError
from tools.raft.evaluate.calibrate import calibrate, fit
from tools.raft.files import PROJECT, write_jsonl
from tools.raft.rag.answerability import Answerability, explain_refusal
from tools.raft.rag.build_index import build_index
from tools.raft.rag.evidence import FEATURES, Evidence
from tools.raft.rag.index import Index
from tools.raft.rag.index_store import read_calibration, update_manifest

NAMES = ("otter", "heron", "beaver", "salmon", "newt", "kestrel", "badger", "lynx", "marten", "vole")
FOODS = ("fish", "frogs", "willow", "shrimps", "slugs", "mice", "roots", "hares", "beetles", "clover")


def animals() -> list[dict[str, Any]]:
    return [
        {**make_chunk(
            f"The {name} of valley {number} eats {food}. It sleeps in den {number} below the {food} meadow. "
            f"Nobody counted the {name}s of that valley before 19{number:02}.",
            source=f"{name}-{number}.txt",
        ), "title": f"{name} {number}"}
        for number in range(6) for name, food in zip(NAMES, FOODS, strict=True)
    ]  # fmt: skip


def questions() -> list[dict[str, Any]]:
    return [
        {"question": f"What does the {name} of valley {number} eat?", "answer": food,
         "source": f"{name}-{number}.txt"}
        for number in range(6) for name, food in zip(NAMES, FOODS, strict=True)
    ]  # fmt: skip


@pytest.fixture
def index(tmp_path: Path) -> Index:
    build_index(animals(), tmp_path / "index", Hashed())  # type: ignore[arg-type]
    return open_hashed(tmp_path / "index")


def test_evidence_is_stronger_with_the_document_that_answers(index: Index) -> None:
    chunks = animals()
    hits: Any = [
        [{**chunk, "rank": 1, "score": 1.0} for chunk in chunks[start : start + 2]] for start in (0, 2)
    ]
    question = "What does the otter of valley 0 eat?"
    with_oracle, without = Evidence(index).measure([question, question], hits)
    assert (with_oracle > without).all()
    assert with_oracle[list(FEATURES).index("title")] == 1.0, "the title is the otter's"
    nothing = Evidence(index).measure(["?", ""], [[], hits[0]])
    assert np.isfinite(nothing).all() and nothing.shape == (2, len(FEATURES))


def test_two_documents_of_which_one_names_the_other_are_evidence_together(index: Index) -> None:
    painting = {**make_chunk("The mural of the blue barn was painted by Ada Quill."), "title": "Blue barn"}
    painter = {**make_chunk("Ada Quill was born in Harrow."), "title": "Ada Quill"}
    stranger = {**make_chunk("Bo Finch was born in Harrow."), "title": "Bo Finch"}
    same_title = {
        **make_chunk("The blue barn stands in Harrow, where it was born of need."),
        "title": "Blue barn",
    }
    question = "Where was the painter of the mural of the blue barn born?"
    hits: Any = [
        [{**chunk, "rank": 1, "score": 1.0} for chunk in (painting, other)]
        for other in (painter, stranger, same_title)
    ]
    linked = Evidence(index).measure([question] * 3, hits)[:, list(FEATURES).index("linked")]
    assert linked[0] > 0.5 > linked[1] and linked[2] == 0


def test_what_was_fitted_before_a_measure_was_added_rates_as_it_did(index: Index) -> None:
    fitted = calibrate(index, questions(), k=3, mode="fused", at_most=0.05)
    asked = ["What does the otter of valley 3 eat?"]
    hits = index.search(asked, 3)
    older = {**fitted, "weights": {**fitted["weights"], "linked": 0.0}}
    rated = Answerability(index, older).rate(asked, hits)  # type: ignore[arg-type]
    del older["weights"]["linked"]  # type: ignore[attr-defined]
    assert Answerability(index, older).rate(asked, hits) == rated  # type: ignore[arg-type]


def test_the_threshold_refuses_no_more_than_was_asked_for(index: Index) -> None:
    for at_most in (0.02, 0.1, 0.3):
        fitted = calibrate(index, questions(), k=3, mode="fused", at_most=at_most)
        assert fitted["refused_wrongly"] <= at_most
        assert (fitted["k"], fitted["mode"]) == (3, "fused") and 40 < fitted["answerable"] <= 60
    assert fitted["refused_rightly"] > 0.5 and fitted["auroc"] > 0.8
    curve = fitted["curve"]
    assert [point["refused_rightly"] for point in curve] == sorted(p["refused_rightly"] for p in curve)


def test_questions_are_refused_by_the_fitted_index(index: Index) -> None:
    fitted = calibrate(index, questions(), k=3, mode="fused", at_most=0.05)
    asked = ["What does the otter of valley 3 eat?", "Who painted the ceiling of the chapel?"]
    found = Answerability(index, fitted).rate(asked, index.search(asked, 3))
    assert explain_refusal(found[0]) == ""
    assert "unlikely to hold an answer: probability 0.0" in explain_refusal(found[1])
    open_ended = Answerability(index, fitted, always_answer=True).rate(asked, index.search(asked, 3))
    assert explain_refusal(open_ended[1]) == "" and open_ended[1][0]["evidence"] < fitted["threshold"]


def test_a_threshold_is_chosen_by_questions_of_other_folds() -> None:
    """Features of pure noise: without folds, the model would seem to separate them."""
    rng = np.random.default_rng(7)
    features = rng.standard_normal((80, len(FEATURES)))
    labels = [bool(i % 2) for i in range(80)]
    fitted = fit(features, labels, [str(i // 2) for i in range(80)], at_most=0.05)
    assert fitted["auroc"] < 0.7


def test_too_few_questions_and_unknown_sources_are_an_error(index: Index) -> None:
    with pytest.raises(UserError, match=r"\d+ answerable questions, 15 are needed"):
        calibrate(index, questions()[:10], k=3, mode="fused", at_most=0.05)
    with pytest.raises(UserError, match=r"0 answerable questions"):
        calibrate(index, [{"question": "What?", "answer": "x"}], k=3, mode="fused", at_most=0.05)


def test_a_threshold_is_for_the_chunks_it_was_fitted_for(index: Index, tmp_path: Path) -> None:
    folder = tmp_path / "index"
    update_manifest(folder, answerability=calibrate(index, questions(), k=3, mode="fused", at_most=0.05))
    assert "answerability" in build_index(animals(), folder, Hashed()), "nothing changed"  # type: ignore[arg-type]
    assert "answerability" in build_index(animals(), folder, Hashed(), sentences=True)  # type: ignore[arg-type]
    assert "answerability" not in build_index(animals()[1:], folder, Hashed())  # type: ignore[arg-type]
    with pytest.raises(UserError, match="no index with a threshold"):
        read_calibration(folder)


def test_the_command_fits_and_the_next_ones_refuse(tmp_path: Path) -> None:
    """Use the real embedding model, as a user does."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-m", "tools", *map(str, arguments)],
                              cwd=PROJECT, capture_output=True, text=True, timeout=120)  # fmt: skip

    write_jsonl(tmp_path / "chunks.jsonl", animals())
    write_jsonl(tmp_path / "q.jsonl", questions())
    index = tmp_path / "index"
    assert run("index", "--chunks", tmp_path / "chunks.jsonl", "--out", index).returncode == 0
    done = run("calibrate", "--index", index, "--questions", tmp_path / "q.jsonl", "--k", 3)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("Threshold 0.")
    write_jsonl(tmp_path / "ask.jsonl", [{"question": "Who painted the ceiling of the chapel?"}])
    answered = run("answer", "--questions", tmp_path / "ask.jsonl", "--index", index, "--k", 3,
                   "--out", tmp_path / "a.jsonl", "--base-url", "http://127.0.0.1:9", "--model", "m")  # fmt: skip
    assert answered.returncode == 0, "no call is made, so nobody notices that nothing listens there"
    assert "1 questions not answered, 1 of them without a call" in answered.stdout
    row = json.loads((tmp_path / "a.jsonl").read_text(encoding="utf-8"))
    assert row["answered"] is False and "unlikely" in row["refusal"] and row["evidence"] < 0.5
    assert run("calibrate", "--index", index).stderr.startswith("error: nothing to fit")
