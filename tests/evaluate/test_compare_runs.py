"""Comparing batch runs: paired by question, failures counted, and refused where it would mislead."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tools.raft.errors import UserError
from tools.raft.evaluate.compare_runs import ScoredRun, compare_runs, difference_metrics
from tools.raft.files import PROJECT, write_jsonl
from tools.raft.models.pricing import load_prices

QUESTIONS = ("What do otters eat?", "Where do herons nest?", "When do bats wake?", "Who counts the lynx?",
             "What do stoats weigh?", "Where do martens sleep?")  # fmt: skip
DOCUMENT = {"id": "c1", "title": "Otters", "source": "otters.txt", "page": None, "text": "Otters eat fish."}


def record(line: int, inputs: dict[str, Any], output: dict[str, Any] | None, **more: Any) -> dict[str, Any]:
    """Return a line or a node's line as promptflow 1.18 records it."""
    error = None if output is not None else {"message": "HTTP 500: no\nTraceback", "code": "UserError"}
    status = "Completed" if output is not None else "Failed"
    info = {"inputs": {**inputs, "line_number": line}, "output": output, "status": status, "error": error}
    return {"line_number": line, "run_info": {**info, "api_calls": [], "system_metrics": {}, **more}}


def write_run(folder: Path, lines: list[dict[str, Any]], **nodes: list[dict[str, Any]]) -> Path:
    for row in lines:
        write_jsonl(
            folder / "flow_artifacts" / f"{row['line_number']:09}_{row['line_number']:09}.jsonl", [row]
        )
    for node, rows in nodes.items():
        for row in rows:
            write_jsonl(folder / "node_artifacts" / node / f"{row['line_number']:09}.jsonl", [row])
    return folder


def call(model: str, prompt: str = "Answer.", tokens: tuple[int, int] = (100, 10)) -> dict[str, Any]:
    usage = {"prompt_tokens": tokens[0], "completion_tokens": tokens[1]}
    llm = {
        "type": "LLM",
        "inputs": {"model": model, "messages": [{"role": "user", "content": prompt}], "temperature": 0},
        "output": {"usage": usage},
        "start_time": 10.0,
        "end_time": 10.5,
    }
    return {"api_calls": [{"type": "Function", "inputs": {}, "children": [llm]}]}


def scored_run(
    folder: Path,
    name: str,
    f1: list[float],
    *,
    model: str = "gpt-4o",
    prompts: dict[int, str] | None = None,
    failed: tuple[int, ...] = (),
    unscored: tuple[int, ...] = (),
    gold: str = "fish",
) -> ScoredRun:
    """Write a run of a chat flow over QUESTIONS and one that scored it."""
    chat, evaluation, retrieved, calls = [], [], [], []
    for line, (question, score) in enumerate(zip(QUESTIONS, f1, strict=True)):
        chat.append(record(line, {"question": question}, None if line in failed else {"answer": "fish"}))
        retrieved.append(record(line, {"question": question}, [DOCUMENT]))  # type: ignore[arg-type]
        if line in failed:
            continue
        calls.append(record(line, {}, {}, **call(model, (prompts or {}).get(line, "Answer."))))
        inputs = {
            "question": question,
            "answer": "fish",
            "golds": [gold],
            "relevant": [f"c{line}"],
            "documents": [],
        }
        scores = {"scores": {"f1": score, "exact_match": float(score == 1)}, "verdicts": {}}
        evaluation.append(record(line, inputs, None if line in unscored else scores))
    return ScoredRun(
        name,
        write_run(folder / f"{name}-scores", evaluation),
        write_run(folder / name, chat, search_index=retrieved, ask_model=calls),
    )


def compared(tmp_path: Path, *runs: ScoredRun, **options: Any) -> dict[str, Any]:
    return compare_runs(runs, tmp_path / "out", prices=load_prices(None), **options).comparison


def test_runs_are_paired_by_question(tmp_path: Path) -> None:
    rag = scored_run(tmp_path, "rag", [0.0, 0.2, 0.4, 0.0, 0.1, 0.2])
    raft = scored_run(tmp_path, "raft", [1.0, 0.2, 0.8, 0.6, 0.6, 0.7], model="tuned")
    comparison = compared(tmp_path, rag, raft)
    contrast = comparison["contrasts"]["raft"]["f1"]
    assert contrast["difference"] == pytest.approx(0.5) and contrast["pairs"] == 6
    assert comparison["settings"]["models"] == {"rag": "gpt-4o", "raft": "tuned"}
    assert comparison["settings"]["different_requests"] == 0
    assert comparison["costs"]["rag"]["prompt_tokens"] == 100
    assert comparison["costs"]["rag"]["dollars_per_1000"] > 0
    assert comparison["arms"]["raft"]["seconds"]["mean"] == pytest.approx(0.5)
    metrics = difference_metrics(comparison)
    assert metrics["f1.raft.difference"] == pytest.approx(0.5)
    assert metrics["f1.rag"] == pytest.approx(0.15)
    assert metrics["f1.raft.low"] <= 0.5 <= metrics["f1.raft.high"]
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "the same documents, prompt and settings (verbatim)" in page
    assert "Otters eat fish." in page, "the documents come from the record of the chat run"


def test_failed_lines_count_as_missing(tmp_path: Path) -> None:
    rag = scored_run(tmp_path, "rag", [0.0] * 6, failed=(1,))
    raft = scored_run(tmp_path, "raft", [1.0] * 6, unscored=(2,))
    result = compare_runs([rag, raft], tmp_path / "out", prices={})
    assert not result.complete
    means = {arm: metrics["f1"] for arm, metrics in result.comparison["arms"].items()}
    assert {arm: (mean["n"], mean["missing"]) for arm, mean in means.items()} == {
        "rag": (5, 1),
        "raft": (5, 1),
    }
    contrast = result.comparison["contrasts"]["raft"]["f1"]
    assert (contrast["pairs"], contrast["missing"]) == (4, 2)
    assert contrast["bounds"] == [pytest.approx(4 / 6), pytest.approx(1.0)]
    assert result.comparison["warnings"][0].startswith("17% of the answers of rag are missing")
    rows = [json.loads(line) for line in (tmp_path / "out" / "scores.jsonl").read_text().splitlines()]
    assert len(rows) == 12


def test_runs_about_other_questions_are_refused(tmp_path: Path) -> None:
    rag = scored_run(tmp_path, "rag", [0.0] * 6)
    raft = scored_run(tmp_path, "raft", [1.0] * 6)
    for folder in (raft.evaluation, raft.answers):
        assert folder is not None
        (folder / "flow_artifacts" / "000000003_000000003.jsonl").unlink()
    with pytest.raises(UserError, match="1 questions of rag are not in raft, such as 'Who counts the lynx.'"):
        compared(tmp_path, rag, raft)
    with pytest.raises(UserError, match="scored against different gold data for 'What do otters eat.'"):
        compared(tmp_path, rag, scored_run(tmp_path / "other", "raft", [1.0] * 6, gold="eels"))
    with pytest.raises(UserError, match="rag is not a run of flows/evaluate"):
        compared(tmp_path, ScoredRun("rag", rag.answers or Path()), raft)
    with pytest.raises(UserError, match="with different names"):
        compared(tmp_path, rag, rag)


def test_models_that_were_asked_differently_are_reported(tmp_path: Path) -> None:
    rag = scored_run(tmp_path, "rag", [0.0] * 6)
    raft = scored_run(tmp_path, "raft", [1.0] * 6, prompts={2: "Answer in French."})
    comparison = compared(tmp_path, rag, raft)
    assert any(
        "1 of the 6 questions were put to the models with different" in w for w in comparison["warnings"]
    )


def test_what_was_not_recorded_is_not_claimed(tmp_path: Path) -> None:
    runs = [ScoredRun(run.name, run.evaluation) for run in (
        scored_run(tmp_path, "rag", [0.0] * 6), scored_run(tmp_path, "raft", [1.0] * 6))]  # fmt: skip
    comparison = compared(tmp_path, *runs)
    assert comparison["settings"]["different_requests"] is None
    assert comparison["costs"]["raft"]["dollars_per_1000"] is None
    assert "prompt and settings is not recorded" not in str(comparison)
    report = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert "Whether the models were given the same documents, prompts and settings is not recorded" in report


def test_questions_of_the_training_rows_are_counted(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "dataset" / "train.jsonl", [{"question": "What do otters eat?"}])
    runs = [scored_run(tmp_path, name, [0.5] * 6) for name in ("rag", "raft")]
    comparison = compared(tmp_path, *runs, dataset=tmp_path / "dataset")
    assert comparison["warnings"][-1].startswith("1 of the 6 questions stand in the training rows")


def test_the_command_line_compares_the_folders_of_runs(tmp_path: Path) -> None:
    runs = [scored_run(tmp_path, "rag", [0.0] * 6), scored_run(tmp_path, "raft", [1.0] * 6)]
    names = [f"{run.evaluation}:{run.answers}" for run in runs]
    command = [sys.executable, "-m", "tools", "compare", "--out", str(tmp_path / "out"), "--runs"]
    done = subprocess.run([*command, *names], cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "+1.00 (+1.00 to +1.00)" in done.stdout
    assert done.stdout.strip().splitlines()[-1].startswith("Report: 6 questions, 2 arms in ")
    refused = subprocess.run(
        [*command, *names, "--questions", "q.jsonl"], cwd=PROJECT, capture_output=True, text=True
    )
    assert refused.returncode == 1 and "leave out --questions" in refused.stderr
