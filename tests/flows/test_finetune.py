"""The finetune flow, run by promptflow, on its sample dataset and against a scripted service."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import merge_flow
from tests.scripted_finetuning import KEY, scripted_finetuning
from tools.raft.files import PROJECT
from tools.raft.finetune.job import read_record

ROOT = PROJECT
FLOW = ROOT / "flows" / "finetune"


@pytest.fixture(scope="module")
def merged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return merge_flow(FLOW, tmp_path_factory.mktemp("flow"))


def load(folder: Path, url: str = "http://127.0.0.1:9/v1") -> Any:
    from promptflow.client import load_flow
    from promptflow.connections import OpenAIConnection
    from promptflow.entities import FlowContext

    flow = load_flow(folder)
    connection = OpenAIConnection(name="openai", api_key=KEY, base_url=url)
    flow.context = FlowContext(connections={"submit_training": {"connection": connection}})
    return partial(flow, dataset="dataset", model="gpt-4o-mini")


def test_the_sample_dataset_is_never_trained_on_by_mistake(merged: Path) -> None:
    with pytest.raises(Exception, match="dataset"):
        load(merged).func(data_set="mine", model="gpt-4o-mini", submit=True)


def test_by_default_the_flow_estimates_and_sends_nothing(merged: Path) -> None:
    result = load(merged)()
    assert result["estimate"]["tokens"] > 10_000 and 0 < result["estimate"]["dollars"] < 1
    assert result["job"]["state"] == "not submitted"


def test_with_submit_the_flow_submits_once_and_then_polls(merged: Path, tmp_path: Path) -> None:
    with scripted_finetuning(states=("queued", "running", "succeeded")) as service:
        flow = load(merged, service.url)
        states = [flow(submit=True, out=str(tmp_path / "out"))["job"]["state"] for _ in range(3)]
        assert states == ["running", "succeeded", "succeeded"]
        assert len(service.jobs) == 1
    record = read_record(tmp_path / "out")
    assert record is not None and record["result"]["model"] == "ft:gpt-4o-mini:acme:raft:9aB1"


def test_a_tier_goes_through_the_flow_to_azures_v1_api(merged: Path, tmp_path: Path) -> None:
    from promptflow.connections import AzureOpenAIConnection

    with scripted_finetuning(azure="v1") as service:
        flow = load(merged)
        connection = AzureOpenAIConnection(
            name="azure_openai",
            api_key=KEY,
            api_base=service.url.removesuffix("/v1"),
            api_version="2024-10-21",
        )
        flow.func.context.connections = {"submit_training": {"connection": connection}}
        result = flow(submit=True, out=str(tmp_path / "out"), training_type="developer")
        assert "tier developer: half of global" in result["estimate"]["basis"]
        assert [body["trainingType"] for body in service.bodies] == ["developerTier"]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"submit": True, "out": "out"}, "an absolute path"),
        ({"api": "completion"}, "run generate with --format completion"),
        ({"backend": "nobody"}, "backend: 'nobody' is not one of local, trl, azure-ml, openai"),
        ({"training_type": "cheap"}, "training_type: 'cheap' is not one of standard, global, developer"),
        ({"api": "chatt"}, "api: 'chatt' is not one of chat, completion, dsf"),
    ],
)
def test_impossible_inputs_raise_an_error(merged: Path, inputs: dict[str, Any], message: str) -> None:
    with pytest.raises(Exception, match=message):
        load(merged)(**inputs)
