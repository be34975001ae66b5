"""The evaluation flow as promptflow runs it: scores per line, averages per batch, a judge only if chosen."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import assert_names_for_mlflow, make_chunk, merge_flow
from tests.rag.test_answer import Flat
from tests.scripted_endpoint import scripted_endpoint
from tools.raft.errors import UserError
from tools.raft.evaluate.judge import applicable_judgements, judge_messages, judge_values
from tools.raft.evaluate.metrics import (
    JUDGEMENTS,
    METRICS,
    average_metrics,
    choose_metrics,
    chosen_judgements,
)
from tools.raft.evaluate.score import read_gold
from tools.raft.files import PROJECT
from tools.raft.rag.build_index import build_index
from tools.raft.rag.citations import list_sources
from tools.raft.rag.index import look_up_texts

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
    lazily = {"score_similarity.preload_embeddings": False}
    executor = FlowExecutor.create(merged / "flow.dag.yaml", {"embedded": connection}, node_override=lazily)
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
        with caplog.at_level(logging.INFO, logger=flow_logger.name):  # a served flow may have raised it
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


def test_the_prompts_of_the_judge_are_nodes_that_send_what_the_library_sends(
    merged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = yaml.safe_load((FLOW / "flow.dag.yaml").read_text(encoding="utf-8"))["nodes"]
    prompts = [node["source"]["path"] for node in nodes if node["type"] == "prompt"]
    assert prompts == [f"prompts/judge_{name}.jinja2" for name in JUDGEMENTS]
    with scripted_endpoint() as endpoint:
        execute(merged, endpoint.url, "judge")
        sent = [request["messages"] for request in endpoint.requests()]
    values = [
        judge_values({**line, "documents": line["documents"]}, read_gold({**line, "answers": line["golds"]}))
        for line in LINES
    ]
    expected = [judge_messages(name, row) for row in values for name in applicable_judgements(row)]
    assert sorted(map(json.dumps, sent)) == sorted(map(json.dumps, expected))


def test_groundedness_is_judged_on_documents_from_the_index(
    merged: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    chunk = make_chunk("The gate at Harrow Hole has bars.")
    build_index([chunk], tmp_path / "index", Flat())
    monkeypatch.setenv("RAFT_INDEX", str(tmp_path / "index"))
    sources = list_sources([{**chunk, "rank": 1, "score": 1.0}])
    assert "text" not in sources[0]
    monkeypatch.setitem(LINES[0], "documents", sources)
    with scripted_endpoint() as endpoint:
        outputs, _ = execute(merged, endpoint.url, "judge_groundedness")
        assert "[1] The gate at Harrow Hole has bars." in endpoint.requests()[0]["messages"][1]["content"]
    assert outputs[0]["scores"]["judge_groundedness"] in range(1, 6)
    with pytest.raises(UserError, match="has no chunk 0000: use the one of the answers"):
        look_up_texts([{"id": "0000"}], tmp_path / "index")


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


def test_every_held_out_question_has_all_fields_that_the_scores_of_a_chat_run_need() -> None:
    run = yaml.safe_load((FLOW / "run_chat.yml").read_text(encoding="utf-8"))
    names = yaml.safe_load((FLOW / "flow.dag.yaml").read_text(encoding="utf-8"))["inputs"]
    assert set(run["column_mapping"]) <= set(names)
    mapped = re.findall(r"\$\{run\.inputs\.(\w+)\}", str(run["column_mapping"]))
    assert {"question", "answers", "answerable", "relevant"} == set(mapped)
    chat = yaml.safe_load((ROOT / "flow.dag.yaml").read_text(encoding="utf-8"))
    assert set(re.findall(r"\$\{run\.outputs\.(\w+)\}", str(run["column_mapping"]))) <= set(chat["outputs"])
    lines = (ROOT / "data" / "held_out.jsonl").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if not set(mapped) <= set(json.loads(line))] == []


def test_the_flow_opens_in_the_editor() -> None:
    from promptflow.client import PFClient

    stored = json.loads((FLOW / ".promptflow" / "flow.tools.json").read_text(encoding="utf-8"))
    result = PFClient().flows.validate(str(FLOW))  # writes that file
    assert result.passed, result.error_messages
    tools, problems = PFClient().flows._generate_tools_meta(FLOW)
    assert not problems
    assert tools["code"] == stored["code"], f"run pf flow validate --source flows/{FLOW.name} and commit"
    assert "OpenAIConnection" in stored["code"]["tools/judge_answer.py"]["inputs"]["connection"]["type"]
    flow = yaml.safe_load((FLOW / "flow.dag.yaml").read_text(encoding="utf-8"))
    assert all("type" in spec for spec in flow["inputs"].values())
    required = {name for name, spec in flow["inputs"].items() if "default" not in spec}
    assert required == {"question", "answer"}
    assert not any(flow["inputs"][name]["default"] for name in ("gold", "golds", "relevant", "citations")), (
        "a sample that is not replaced would be scored"
    )
