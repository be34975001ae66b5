"""The retrieval evaluation flow as promptflow runs it, and the verb that builds its index."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.conftest import assert_names_for_mlflow, merge_flow
from tools.raft.files import PROJECT

ROOT = PROJECT
FLOW = ROOT / "flows" / "evaluate_retrieval"


@pytest.fixture(scope="module")
def merged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return merge_flow(FLOW, tmp_path_factory.mktemp("flow"))


def test_the_flow_scores_lines_and_averages_the_scores(merged: Path) -> None:
    from promptflow.executor import FlowExecutor

    executor = FlowExecutor.create(merged / "flow.dag.yaml", {})
    lines = [
        json.loads(line) for line in (FLOW / "questions.jsonl").read_text(encoding="utf-8").splitlines()[:4]
    ]
    inputs = [{**line, "k": 5, "mode": "lexical", "lines": 6} for line in lines]
    results = [executor.exec_line(row, index=number) for number, row in enumerate(inputs)]
    assert results[0].output["hits"][0]["rank"] == 1
    assert results[0].output["scores"]["recall_at_1"] == 1
    aggregated = executor.exec_aggregation(
        {name: [row[name] for row in inputs] for name in inputs[0]},
        {"${score_hits.output}": [result.output["scores"] for result in results]},
    )
    assert aggregated.metrics["questions"] == 4
    assert aggregated.metrics["missing"] == 2
    assert aggregated.metrics["recall_at_3"] >= 0.75
    assert {"mrr_at_5", "ndcg_at_5"} < aggregated.metrics.keys()
    assert_names_for_mlflow(aggregated.metrics)


def test_a_question_with_its_call_is_scored_by_the_call(merged: Path) -> None:
    from promptflow.executor import FlowExecutor

    executor = FlowExecutor.create(merged / "flow.dag.yaml", {})
    question = "Which call gives the time of the next high tide?"
    for call, found in (("pelham_tides.next_high_tide('cray-point')", 1), ("pelham_tides.no_such()", 0)):
        row = {"question": question, "api_call": call, "k": 5, "mode": "lexical"}
        assert executor.exec_line(row, index=0).output["scores"]["recall_at_5"] == found


def test_the_stored_tool_metadata_matches_the_nodes() -> None:
    from promptflow._core.tool_meta_generator import generate_tool_meta_dict_by_file

    stored = json.loads((FLOW / ".promptflow" / "flow.tools.json").read_text(encoding="utf-8"))["code"]
    mode = stored["tools/search_index.py"]["inputs"]["mode"]
    assert mode == {"type": ["string"], "default": "fused", "enum": ["fused", "dense", "lexical"]}
    for path, node in stored.items():
        current = generate_tool_meta_dict_by_file(str(ROOT / path), "python")
        assert node["inputs"] == current["inputs"], (
            f"{path} changed: run pf flow validate --source {FLOW.name}"
        )


def test_run_yml_has_the_number_of_lines_of_the_data() -> None:
    run = yaml.safe_load((FLOW / "run.yml").read_text(encoding="utf-8"))
    lines = (FLOW / run["data"]).read_text(encoding="utf-8").splitlines()
    assert run["column_mapping"]["lines"] == len(lines)


def index(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tools", "index", *map(str, arguments)],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def test_the_verb_builds_and_extends_an_index(tmp_path: Path) -> None:
    documents = ROOT / "data" / "documents"
    done = index("--docs", documents / "caves.md", "--out", tmp_path, "--chunk-size", 160)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("Index: ")
    assert str(tmp_path) in done.stdout
    count = json.loads((tmp_path / "manifest.json").read_text(encoding="utf-8"))["chunks"]
    done = index(
        "--docs", documents / "caves.md", documents / "warranty.txt", "--out", tmp_path, "--chunk-size", 160
    )
    assert f"{count} kept, 0 removed" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--docs PATH… or --chunks F.jsonl"),
        (["--chunks", "nowhere.jsonl"], "nowhere.jsonl"),
        (["--chunks", "README.md"], "README.md, line 1: not a chunk"),
        (["--docs", "data/documents/caves.md", "--embedding-model", "nobody:m"], "no connection 'nobody'"),
    ],
)
def test_a_user_error_is_one_line(tmp_path: Path, arguments: list[str], message: str) -> None:
    done = index(*arguments, "--out", tmp_path / "out")
    assert done.returncode == 1
    assert "Index:" not in done.stdout
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
