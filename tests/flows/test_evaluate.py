"""The evaluation flow as promptflow runs it: scores of a line, averages of a batch, a judge only where asked."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import merge_flow
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
    known = yaml.safe_load((FLOW / "flow.dag.yaml").read_text(encoding="utf-8"))["inputs"]
    given = [{name: line[name] for name in known if name in line} for line in LINES]
    return [{**line, "gold": "", "select_metrics": metrics, "lines": len(LINES) + 2} for line in given]


def executed(merged: Path, url: str, metrics: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
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
        outputs, metrics = executed(merged, endpoint.url, FREE)
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


def test_a_judge_is_asked_where_it_is_wanted(merged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted_endpoint() as endpoint:
        outputs, metrics = executed(merged, endpoint.url, "judge_groundedness, f1")
        assert endpoint.stats()["calls"] == len(LINES)
    assert outputs[0]["scores"].keys() == {"f1", "judge_groundedness"}
    assert outputs[0]["verdicts"]["groundedness"]["score"] in range(1, 6)
    assert metrics["judge_groundedness.n"] == len(LINES)


def test_the_readme_names_every_metric() -> None:
    text = (FLOW / "README.md").read_text(encoding="utf-8")
    told = {*METRICS} - {"prompt_tokens", "completion_tokens", "seconds"}  # of `compare`
    assert all(f"`{name}`" in text for name in told)


def test_metrics_are_chosen_by_name() -> None:
    everything = choose_metrics("all")
    assert everything["f1"] and everything["similarity"] and not everything["judge"]
    assert choose_metrics("") == everything
    judged = choose_metrics("judge")
    assert judged["judge"] and not judged["f1"]
    assert chosen_judgements(judged) == list(JUDGEMENTS)
    assert chosen_judgements(choose_metrics("f1,judge_fluency")) == ["fluency"]
    with pytest.raises(UserError, match="no metric 'bleu'"):
        choose_metrics("f1, bleu")


def test_averages_count_what_is_missing() -> None:
    told = average_metrics([{"f1": 1.0}, {"f1": None, "quoted": None}, {"f1": 0.5}], lines=5)
    assert (told["f1"], told["f1.n"], told["f1.missing"]) == (0.75, 2, 3)
    assert "quoted" not in told
    assert told["quoted.missing"] == 3
    assert (told["answers"], told["answers.missing"]) == (3, 2)


def test_the_data_and_the_number_of_its_lines_agree() -> None:
    run = yaml.safe_load((FLOW / "run.yml").read_text(encoding="utf-8"))
    assert run["column_mapping"]["lines"] == len(LINES)


def test_every_held_out_question_has_every_field_that_the_readme_maps() -> None:
    mapped = re.findall(r"\$\{data\.(\w+)\}", (FLOW / "README.md").read_text(encoding="utf-8"))
    known = yaml.safe_load((FLOW / "flow.dag.yaml").read_text(encoding="utf-8"))["inputs"]
    assert {"question", "answers", "answerable", "relevant"} <= set(mapped)
    assert set(re.findall(r"(\w+)=['\"]", (FLOW / "README.md").read_text(encoding="utf-8"))) <= set(known)
    lines = (ROOT / "data" / "held_out.jsonl").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if not set(mapped) <= set(json.loads(line))] == []


def test_the_editor_can_open_it() -> None:
    from promptflow.client import PFClient

    found = PFClient().flows.validate(str(FLOW))
    assert found.passed, found.error_messages
    tools, problems = PFClient().flows._generate_tools_meta(FLOW)
    assert not problems
    kept = json.loads((FLOW / ".promptflow" / "flow.tools.json").read_text(encoding="utf-8"))
    assert tools["code"] == kept["code"], f"pf flow validate --source flows/{FLOW.name}, and commit"
    assert "OpenAIConnection" in kept["code"]["tools/judge_answer.py"]["inputs"]["connection"]["type"]
    flow = yaml.safe_load((FLOW / "flow.dag.yaml").read_text(encoding="utf-8"))
    assert all("type" in spec and "default" in spec for spec in flow["inputs"].values())
