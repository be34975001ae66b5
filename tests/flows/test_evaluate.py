"""The evaluation flow as promptflow runs it: scores per line, averages per batch, a judge only if chosen."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import assert_names_for_mlflow, merge_flow
from tests.scripted_endpoint import scripted_endpoint
from tools.raft.errors import UserError
from tools.raft.evaluate.metrics import (
    JUDGEMENTS,
    METRICS,
    average_metrics,
    choose_metrics,
    chosen_judgements,
)
from tools.raft.files import PROJECT

ROOT = PROJECT
FLOW = ROOT / "flows" / "evaluate"
LINES = [json.loads(line) for line in (FLOW / "answers.jsonl").read_text(encoding="utf-8").splitlines()]
FREE = "exact_match,f1,quoted,quotes_verbatim,correct_citation,correct_refusal"


@pytest.fixture(scope="module")
def merged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return merge_flow(FLOW, tmp_path_factory.mktemp("flow"))


def inputs(metrics: str) -> list[dict[str, Any]]:
    names = yaml.safe_load((FLOW / "flow.dag.yaml").read_text(encoding="utf-8"))["inputs"]
    mapped = [{name: line[name] for name in names if name in line} for line in LINES]
    return [{**line, "gold": "", "select_metrics": metrics, "lines": len(LINES) + 2} for line in mapped]


def execute(merged: Path, url: str, metrics: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    from promptflow.executor import FlowExecutor

    connection = {
        "type": "OpenAIConnection", "module": "promptflow.connections",
        "value": {"api_key": "none", "base_url": url},
    }  # fmt: skip
    executor = FlowExecutor.create(merged / "flow.dag.yaml", {"embedded": connection})
    rows = inputs(metrics)
    results = [executor.exec_line(row, index=number) for number, row in enumerate(rows)]
    aggregated = executor.exec_aggregation(
        {name: [row[name] for row in rows] for name in rows[0]},
        {"${join_scores.output.scores}": [result.output["scores"] for result in results]},
    )
    return [result.output for result in results], aggregated.metrics


def test_lines_are_scored_and_averaged_without_a_judge(merged: Path) -> None:
    with scripted_endpoint() as endpoint:
        outputs, metrics = execute(merged, endpoint.url, FREE)
        assert endpoint.stats()["calls"] == 0
    assert outputs[0]["scores"] == {
        "exact_match": 1, "f1": 1, "quoted": 1, "quotes_verbatim": 1, "correct_citation": 1,
    }  # fmt: skip
    assert outputs[0]["verdicts"] == {}
    assert outputs[3]["scores"]["quotes_verbatim"] == 0
    assert outputs[6]["scores"]["correct_refusal"] == 1
    assert outputs[7]["scores"]["exact_match"] == 1, "Chinese, with its full stop"
    assert metrics["exact_match"] == 0.5
    assert (metrics["exact_match.n"], metrics["exact_match.missing"]) == (8, 2), "two lines failed"
    assert (metrics["answers"], metrics["answers.missing"]) == (8, 2)
    assert_names_for_mlflow(metrics)


def test_a_metric_that_is_not_chosen_causes_no_warning(
    merged: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from promptflow._utils.logger_utils import flow_logger

    flow_logger.addHandler(caplog.handler)
    try:
        execute(merged, "http://127.0.0.1:9/v1", "f1")
    finally:
        flow_logger.removeHandler(caplog.handler)
    assert "judge_answer" in caplog.text, "the node was skipped"
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_the_judge_is_called_only_if_chosen(merged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted_endpoint() as endpoint:
        outputs, metrics = execute(merged, endpoint.url, "judge_groundedness, f1")
        assert endpoint.stats()["calls"] == len(LINES)
    assert outputs[0]["scores"].keys() == {"f1", "judge_groundedness"}
    assert outputs[0]["verdicts"]["groundedness"]["score"] in range(1, 6)
    assert metrics["judge_groundedness.n"] == len(LINES)


def test_the_readme_lists_every_metric() -> None:
    text = (FLOW / "README.md").read_text(encoding="utf-8")
    names = {*METRICS} - {"prompt_tokens", "completion_tokens", "seconds"}  # only in `compare`
    assert all(f"`{name}`" in text for name in names)


def test_metrics_are_chosen_by_name() -> None:
    chosen = choose_metrics("all")
    assert chosen["f1"] and chosen["similarity"] and not chosen["judge"]
    assert choose_metrics("") == chosen
    judged = choose_metrics("judge")
    assert judged["judge"] and not judged["f1"]
    assert chosen_judgements(judged) == list(JUDGEMENTS)
    assert chosen_judgements(choose_metrics("f1,judge_fluency")) == ["fluency"]
    with pytest.raises(UserError, match="unknown metric 'bleu'"):
        choose_metrics("f1, bleu")


def test_averages_count_missing_scores() -> None:
    metrics = average_metrics([{"f1": 1.0}, {"f1": None, "quoted": None}, {"f1": 0.5}], lines=5)
    assert (metrics["f1"], metrics["f1.n"], metrics["f1.missing"]) == (0.75, 2, 3)
    assert "quoted" not in metrics
    assert metrics["quoted.missing"] == 3
    assert (metrics["answers"], metrics["answers.missing"]) == (3, 2)


def test_run_yml_has_the_number_of_lines_of_the_data() -> None:
    run = yaml.safe_load((FLOW / "run.yml").read_text(encoding="utf-8"))
    assert run["column_mapping"]["lines"] == len(LINES)


def test_every_held_out_question_has_all_fields_mapped_in_the_readme() -> None:
    mapped = re.findall(r"\$\{data\.(\w+)\}", (FLOW / "README.md").read_text(encoding="utf-8"))
    names = yaml.safe_load((FLOW / "flow.dag.yaml").read_text(encoding="utf-8"))["inputs"]
    assert {"question", "answers", "answerable", "relevant"} <= set(mapped)
    assert set(re.findall(r"(\w+)=['\"]", (FLOW / "README.md").read_text(encoding="utf-8"))) <= set(names)
    lines = (ROOT / "data" / "held_out.jsonl").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if not set(mapped) <= set(json.loads(line))] == []


def test_the_flow_opens_in_the_editor() -> None:
    from promptflow.client import PFClient

    result = PFClient().flows.validate(str(FLOW))
    assert result.passed, result.error_messages
    tools, problems = PFClient().flows._generate_tools_meta(FLOW)
    assert not problems
    stored = json.loads((FLOW / ".promptflow" / "flow.tools.json").read_text(encoding="utf-8"))
    assert tools["code"] == stored["code"], f"run pf flow validate --source flows/{FLOW.name} and commit"
    assert "OpenAIConnection" in stored["code"]["tools/judge_answer.py"]["inputs"]["connection"]["type"]
    flow = yaml.safe_load((FLOW / "flow.dag.yaml").read_text(encoding="utf-8"))
    assert all("type" in spec for spec in flow["inputs"].values())
    required = {name for name, spec in flow["inputs"].items() if "default" not in spec}
    assert required == {"question", "answer"}
    assert not any(flow["inputs"][name]["default"] for name in ("gold", "golds", "relevant", "citations")), (
        "a sample that is not replaced would be scored"
    )
