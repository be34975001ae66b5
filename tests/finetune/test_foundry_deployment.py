"""Tuned models deployed in Microsoft Foundry, against a scripted resource manager and data plane."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.finetune.jobs import (
    ROOT,
    assert_no_key,
    chat_row,
    environment as keys,
    make_backend,
    wait_for,
    write_dataset,
)
from tests.scripted_azureml import SECRETS
from tests.scripted_finetuning import KEY
from tests.scripted_foundry import ACCOUNT, Foundry, environment as addresses, scripted_foundry
from tools.raft.choices import DeploymentType
from tools.raft.errors import UserError
from tools.raft.finetune.backend import FineTuneSpec
from tools.raft.finetune.foundry.deployment import (
    RECORD,
    Deployment,
    delete_deployment,
    deploy_tuned,
    read_deployment,
)
from tools.raft.finetune.openai import OpenAIBackend
from tools.raft.models.endpoint import Endpoint

MODEL = "gpt-4.1-mini-2025-04-14"
TUNED = f"{MODEL}.ft-0123abcd-raft"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("certificate")


@pytest.fixture
def foundry(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Foundry]:
    with scripted_foundry(certificate) as foundry:
        for name, value in addresses(foundry).items():
            monkeypatch.setenv(name, value)
        yield foundry


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    rows = [chat_row(n) for n in range(12)], [chat_row(n) for n in range(20, 23)]
    return write_dataset(tmp_path / "data", *rows)


@pytest.fixture
def spec(dataset: Path) -> FineTuneSpec:
    return FineTuneSpec(dataset, MODEL)


def backend_of(foundry: Foundry, tier: DeploymentType = "global") -> OpenAIBackend:
    backend = make_backend(foundry.data_plane)
    backend.deployment = tier
    return backend


def deploy(
    foundry: Foundry,
    spec: FineTuneSpec,
    out: Path,
    tier: DeploymentType = "global",
    model: str = TUNED,
    **options: Any,
) -> Deployment:
    return deploy_tuned(backend_of(foundry, tier), spec, model, out, poll=0.01, **options)


def command(dataset: Path, out: Path, *options: object) -> list[str]:
    arguments = ("--dataset", dataset, "--backend", "openai", "--model", MODEL, "--out", out, "--connection",
                 "azure_openai", "--poll", 0.05, *options)  # fmt: skip
    return [sys.executable, "-m", "tools", "finetune", *map(str, arguments)]


def run(line: list[str]) -> subprocess.CompletedProcess[str]:
    env = {**keys(), "AZURE_OPENAI_API_KEY": KEY}
    return subprocess.run(
        line, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL
    )


@pytest.mark.parametrize(
    ("tier", "sku"),
    [
        ("standard", "Standard"),
        ("data-zone", "DataZoneStandard"),
        ("global", "GlobalStandard"),
        ("developer", "DeveloperTier"),
    ],
)
def test_sends_the_documented_request(
    foundry: Foundry, spec: FineTuneSpec, tmp_path: Path, tier: DeploymentType, sku: str
) -> None:
    steps: list[str] = []
    made = deploy(foundry, spec, tmp_path, tier, on_step=steps.append)
    model = {"format": "OpenAI", "name": TUNED, "version": "1"}
    assert foundry.puts == [{"sku": {"name": sku, "capacity": 100}, "properties": {"model": model}}]
    assert made == json.loads((tmp_path / RECORD).read_text(encoding="utf-8")) == read_deployment(tmp_path)
    assert made["state"] == "Succeeded" and made["resource"] == ACCOUNT
    assert steps == [f"deploying {TUNED} as {made['name']} ({tier})", f"deployment {made['name']}: Creating"]
    assert_no_key(str(made), folder=tmp_path)
    assert not [secret for secret in SECRETS if secret in (tmp_path / RECORD).read_text(encoding="utf-8")]


def test_a_developer_deployment_says_when_it_ends(
    foundry: Foundry, spec: FineTuneSpec, tmp_path: Path
) -> None:
    assert deploy(foundry, spec, tmp_path, "developer")["ends_at"] == "2026-11-28T10:00+00:00"
    assert deploy(foundry, spec, tmp_path, "global")["ends_at"] is None


def test_an_open_model_is_deployed_under_its_publishers_format(
    foundry: Foundry, dataset: Path, tmp_path: Path
) -> None:
    backend = backend_of(foundry)
    backend.endpoint = replace(backend.endpoint, name="azure_openai")
    spec = FineTuneSpec(dataset, "Ministral-3B", training_type="global")
    made = deploy_tuned(backend, spec, "ministral-3b.ft-0123abcd-raft", tmp_path, poll=0.01)
    assert foundry.puts[0]["properties"]["model"]["format"] == "Mistral AI"
    assert made["call"] == f"{backend.endpoint.base_url}:{made['name']}", (
        "the connection may speak the dated API"
    )


def test_a_second_run_finds_the_deployment(foundry: Foundry, spec: FineTuneSpec, tmp_path: Path) -> None:
    first = deploy(foundry, spec, tmp_path)
    assert deploy(foundry, spec, tmp_path / "elsewhere")["name"] == first["name"]
    assert len(foundry.puts) == 1 and len(foundry.deployments) == 1


def test_the_capacity_is_changed_on_demand_only(foundry: Foundry, spec: FineTuneSpec, tmp_path: Path) -> None:
    deploy(foundry, spec, tmp_path, capacity=20)
    assert deploy(foundry, spec, tmp_path)["capacity"] == 20 and len(foundry.puts) == 1
    assert deploy(foundry, spec, tmp_path, capacity=30)["capacity"] == 30
    assert len(foundry.deployments) == 1


def test_another_model_of_the_same_spec_takes_the_place(
    foundry: Foundry, spec: FineTuneSpec, tmp_path: Path
) -> None:
    deploy(foundry, spec, tmp_path)
    deploy(foundry, spec, tmp_path, model=f"{MODEL}.ft-9999-raft")
    assert [put["properties"]["model"]["name"] for put in foundry.puts] == [TUNED, f"{MODEL}.ft-9999-raft"]
    assert len(foundry.deployments) == 1


def test_a_deployment_that_azure_has_deleted_is_made_again(
    foundry: Foundry, spec: FineTuneSpec, tmp_path: Path
) -> None:
    deploy(foundry, spec, tmp_path, "developer")
    foundry.deployments.clear()  # after 24 hours
    deploy(foundry, spec, tmp_path, "developer")
    assert len(foundry.puts) == 2


def test_a_failed_deployment_is_reported_and_tried_again(
    foundry: Foundry, spec: FineTuneSpec, tmp_path: Path
) -> None:
    foundry.deployment_states = ("Creating", "Failed")
    with pytest.raises(UserError, match="is Failed: The model is not safe.; run the same command"):
        deploy(foundry, spec, tmp_path)
    assert (read_deployment(tmp_path) or {})["state"] == "Failed"
    foundry.deployment_states = ("Creating", "Succeeded")
    assert deploy(foundry, spec, tmp_path)["state"] == "Succeeded"


def test_deletes_a_deployment_and_waits_until_it_is_gone(
    foundry: Foundry, spec: FineTuneSpec, tmp_path: Path
) -> None:
    name = deploy(foundry, spec, tmp_path)["name"]
    assert delete_deployment(backend_of(foundry), name, tmp_path, poll=0.01)
    assert not foundry.deployments
    assert (read_deployment(tmp_path) or {})["state"] == "deleted"
    assert not delete_deployment(backend_of(foundry), name, tmp_path, poll=0.01)


def test_a_lost_connection_deploys_once(foundry: Foundry, spec: FineTuneSpec, tmp_path: Path) -> None:
    foundry.drop_after["PUT", "/deployments/"] = 1
    foundry.drop["GET", "/deployments/"] = 1
    deploy(foundry, spec, tmp_path)
    assert len(foundry.deployments) == 1


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        ({"skus": {"Standard"}}, "Azure refused the request (400): InvalidResourceProperties: The specified SKU"),
        ({"quota": 10}, "not enough quota: InsufficientQuota: This operation require 100 .*; --capacity N asks for less"),
        ({"signed_in": False}, r"Azure rejected the sign-in: .*sign in \(`az login`\) and run again"),
        ({"expired": True}, r"Azure rejected the sign-in: .*sign in \(`az login`\) and run again"),
        (
            {"refuse": {("PUT", "/deployments/"): (403, {"error": {"code": "AuthorizationFailed", "message": "no"}}, {})}},
            "Azure denied access: AuthorizationFailed: no; the role Foundry Owner",
        ),
    ],
    ids=["tier", "quota", "no sign-in", "expired", "role"],
)  # fmt: skip
def test_a_refusal_is_one_line_without_secrets(
    foundry: Foundry, spec: FineTuneSpec, tmp_path: Path, spoil: dict[str, Any], message: str
) -> None:
    for name, value in spoil.items():
        setattr(foundry, name, value)
    with pytest.raises(UserError) as error:
        deploy(foundry, spec, tmp_path)
    assert re.search(message if "`" in message or ".*" in message else re.escape(message), str(error.value))
    assert "\n" not in str(error.value) and not [secret for secret in SECRETS if secret in str(error.value)]
    assert not foundry.deployments and not (tmp_path / RECORD).exists()


def test_names_a_subscription_without_the_resource(
    foundry: Foundry, spec: FineTuneSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = Endpoint("https://nobody.openai.azure.com/openai/v1", MODEL, "azure_openai", key=KEY)
    with pytest.raises(UserError, match="has no resource with the address https://nobody.openai.azure.com"):
        deploy_tuned(OpenAIBackend(lambda: elsewhere, deployment="global"), spec, TUNED, tmp_path)
    monkeypatch.delenv("AZURE_SUBSCRIPTION_ID")
    with pytest.raises(UserError, match="set AZURE_SUBSCRIPTION_ID"):
        deploy(foundry, spec, tmp_path)


@pytest.mark.parametrize(
    ("model", "tier", "message"),
    [
        ("Ministral-3B", "developer", "not deployed as developer: use --deployment-type global"),
        ("gpt-oss-120b", "global", "deployed on managed compute or Fireworks only: leave --deploy out"),
        ("gpt-4o-mini", "developer", "use --deployment-type standard or data-zone or global"),
    ],
)
def test_what_cannot_be_deployed_is_told_before_it_is_trained(
    foundry: Foundry, dataset: Path, model: str, tier: DeploymentType, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        backend_of(foundry, tier).check_life(FineTuneSpec(dataset, model))


@pytest.mark.parametrize(
    ("tier", "words"),
    [("global", "hosting by the hour"), ("developer", "tokens only, and Azure deletes it after 24 hours")],
)
def test_the_estimate_says_what_the_deployment_costs(
    foundry: Foundry, spec: FineTuneSpec, tier: DeploymentType, words: str
) -> None:
    assert words in backend_of(foundry, tier).estimate(spec).basis


def test_the_verb_trains_deploys_and_deletes(foundry: Foundry, dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "tuned"
    developer = ("--yes", "--deploy", "--deployment-type", "developer")
    done = run(command(dataset, out, *developer))
    assert done.returncode == 0, done.stderr
    assert "Azure deletes it on 2026-11-28T10:00+00:00" in done.stdout
    name = (read_deployment(out) or {})["name"]
    assert f"To compare it: --raft azure_openai:{name}\n" in done.stdout

    again = run(command(dataset, out, *developer))
    assert again.returncode == 0 and again.stdout.count("Deployment: ") == 1
    assert len(foundry.data_plane.jobs) == 1 and len(foundry.puts) == 1, "nothing is paid twice"

    deleted = run(command(dataset, out, "--undeploy"))
    assert deleted.returncode == 0, deleted.stderr
    assert f"Deployment {name}: deleted; model {MODEL}.ft-ftjob1-raft stays" in deleted.stdout
    assert not foundry.deployments
    assert_no_key(done.stdout, deleted.stdout, folder=out)


def test_what_was_deployed_can_be_compared(foundry: Foundry, spec: FineTuneSpec, tmp_path: Path) -> None:
    made = deploy(foundry, spec, tmp_path)
    foundry.data_plane.deployed = lambda: {*foundry.callable_names(), "base"}
    compared = run([sys.executable, "-m", "tools", "compare", "--questions", str(ROOT / "data" / "held_out.jsonl"),
                    "--index", str(ROOT / "index"), "--mode", "lexical", "--baseline", "azure_openai:base",
                    "--raft", made["call"], "--no-similarity", "--distractor-questions", "0",
                    "--out", str(tmp_path / "compared")])  # fmt: skip
    assert compared.returncode == 0, compared.stderr
    assert foundry.data_plane.chats == {"base": 30, made["name"]: 30}
    assert yaml.safe_load(Path(made["connection"]).read_text(encoding="utf-8"))["configs"] == {
        "base_url": made["call"].rpartition(":")[0],
        "model": made["name"],
    }


def test_the_verb_killed_while_it_deploys_finds_the_deployment(
    foundry: Foundry, dataset: Path, tmp_path: Path
) -> None:
    foundry.deployment_states = ("Creating",) * 1000
    env = {**keys(), "AZURE_OPENAI_API_KEY": KEY}
    process = subprocess.Popen(command(dataset, tmp_path / "out", "--yes", "--deploy"), cwd=ROOT, env=env,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    try:
        wait_for(lambda: foundry.puts)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    [running] = foundry.deployments.values()
    running["states"] = ["Succeeded"]
    done = run(command(dataset, tmp_path / "out", "--yes", "--deploy"))
    assert done.returncode == 0, done.stderr
    assert len(foundry.puts) == len(foundry.deployments) == len(foundry.data_plane.jobs) == 1


def test_the_verb_looks_for_the_resource_before_it_trains(
    foundry: Foundry, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_SUBSCRIPTION_ID", "")
    done = run(command(dataset, tmp_path / "out", "--yes", "--deploy"))
    assert done.returncode == 1 and "set AZURE_SUBSCRIPTION_ID" in done.stderr
    assert done.stderr.count("\n") == 1 and not foundry.data_plane.requests


def test_nothing_was_deployed_from_here(foundry: Foundry, dataset: Path, tmp_path: Path) -> None:
    done = run(command(dataset, tmp_path / "out", "--undeploy"))
    assert done.returncode == 1 and "has no deployment.json: nothing was deployed from there" in done.stderr
