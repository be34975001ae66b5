"""Fine-tuning in Azure OpenAI and Microsoft Foundry, by the v1 API and by the dated one, against a scripted resource."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.finetune.jobs import (
    ROOT,
    assert_no_key,
    chat_row,
    command as openai_command,
    environment as keys,
    make_backend,
    wait_for,
    write_dataset,
)
from tests.scripted_finetuning import KEY, FineTuning, scripted_finetuning
from tools.raft.choices import TrainingType
from tools.raft.errors import UserError
from tools.raft.finetune import openai
from tools.raft.finetune.backend import FineTuneSpec
from tools.raft.finetune.job import open_backend, read_record, run_job
from tools.raft.finetune.openai_job import is_job_of
from tools.raft.models.endpoint import Endpoint, resolve_endpoint, without_version

MODEL = "gpt-4.1-mini-2025-04-14"


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    rows = [chat_row(n) for n in range(12)], [chat_row(n) for n in range(20, 23)]
    return write_dataset(tmp_path / "data", *rows)


@pytest.fixture
def spec(dataset: Path) -> FineTuneSpec:
    return FineTuneSpec(dataset=dataset, model=MODEL)


@pytest.fixture
def service() -> Iterator[FineTuning]:
    with scripted_finetuning(azure="v1") as service:
        yield service


def environment(service: FineTuning, key: str = KEY, *, dated: bool = False) -> dict[str, str]:
    host = service.url.removesuffix("/v1")
    return {
        **keys(key),
        "AZURE_OPENAI_API_KEY": key,
        "AZURE_OPENAI_ENDPOINT": host if dated else f"{host}/openai/v1",
    }


def command(service: FineTuning, dataset: Path, out: Path, *options: object) -> list[str]:
    line = openai_command(service, dataset, out, "--connection", "azure_openai", *options)
    position = line.index("--base-url")
    line[position : position + 2] = []
    line[line.index("--model") + 1] = MODEL
    return line


def run(
    service: FineTuning, dataset: Path, out: Path, *options: object, dated: bool = False
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(service, dataset, out, *options), cwd=ROOT, env=environment(service, dated=dated),
                          capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)  # fmt: skip


def test_a_job_is_submitted_in_the_global_tier_and_followed(
    service: FineTuning, spec: FineTuneSpec, tmp_path: Path
) -> None:
    states: list[str] = []
    record = run_job(make_backend(service, tmp_path), spec, tmp_path, poll=0.01,
                     on_status=lambda status: states.append(status["state"]))  # fmt: skip
    assert service.bodies == [
        {
            "model": MODEL,
            "training_file": "file-1",
            "validation_file": "file-2",
            "suffix": "raft",
            "seed": 42,
            "metadata": {"raft_order": spec.key},
            "method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 3}}},
            "trainingType": "GlobalStandard",
        }
    ]
    assert record["state"] == "succeeded" and states[0] in ("queued", "running")
    assert record["result"]["model"] == f"{MODEL}.ft-ftjob1-raft"
    assert record["result"]["connection"] is None, "nothing can be called before it is deployed"
    assert_no_key(folder=tmp_path)


@pytest.mark.parametrize(
    ("tier", "name"), [("standard", "Standard"), ("global", "GlobalStandard"), ("developer", "developerTier")]
)
def test_the_tier_is_sent_under_azures_name(
    service: FineTuning, dataset: Path, tier: TrainingType, name: str
) -> None:
    make_backend(service).submit(FineTuneSpec(dataset, MODEL, training_type=tier), print)
    assert service.bodies[0]["trainingType"] == name


def test_another_tier_is_another_job_and_the_default_is_not(dataset: Path) -> None:
    plain, named, other = (
        FineTuneSpec(dataset, MODEL, training_type=tier).key for tier in (None, "global", "developer")
    )
    assert plain == named != other


def test_the_dated_api_gets_the_fields_that_it_knows(spec: FineTuneSpec, tmp_path: Path) -> None:
    with scripted_finetuning(azure="dated") as service:
        record = run_job(make_backend(service), spec, tmp_path, poll=0.01)
        assert service.bodies[0]["hyperparameters"] == {"n_epochs": 3}
        assert not {"trainingType", "metadata", "method"} & service.bodies[0].keys()
        assert record["state"] == "succeeded"
        assert make_backend(service).find(spec) == "ftjob-1", "without metadata, found by file and settings"
        assert make_backend(service).find(FineTuneSpec(dataset=spec.dataset, model=MODEL, epochs=1)) is None


def test_a_tier_makes_a_dated_connection_speak_v1(dataset: Path, tmp_path: Path) -> None:
    dated = Endpoint("https://mine.openai.azure.com", MODEL, "azure_openai", api_version="2024-10-21")
    plain = open_backend("openai", MODEL, tmp_path, connection=dated)
    tiered = open_backend("openai", MODEL, tmp_path, connection=dated, training_type="developer")
    assert isinstance(plain, openai.OpenAIBackend) and isinstance(tiered, openai.OpenAIBackend)
    assert plain.endpoint == dated
    assert (tiered.endpoint.base_url, tiered.endpoint.api_version) == (
        "https://mine.openai.azure.com/openai/v1",
        "",
    )
    assert without_version(tiered.endpoint) == tiered.endpoint


@pytest.mark.parametrize("host", ["openai.azure.com", "services.ai.azure.com", "cognitiveservices.azure.com"])
def test_any_address_of_a_resource_is_known_as_azures(host: str) -> None:
    endpoint = resolve_endpoint(
        base_url=f"https://mine.{host}/openai/v1/", model=MODEL, env={}, to_call=False
    )
    assert (endpoint.kind, endpoint.base_url) == ("azure_openai", f"https://mine.{host}/openai/v1")


def test_a_service_that_drops_metadata_is_searched_by_settings(spec: FineTuneSpec) -> None:
    with scripted_finetuning(azure="v1", keeps_metadata=False) as service:
        backend = make_backend(service)
        first = backend.submit(spec, print)
        other = FineTuneSpec(spec.dataset, MODEL, training_type="developer")
        assert backend.find(spec) == first
        assert backend.find(other) is None
        assert backend.find(FineTuneSpec(spec.dataset, "gpt-4.1", epochs=3)) is None


def test_a_job_is_recognised_under_the_dated_name_of_its_model(dataset: Path) -> None:
    job: dict[str, Any] = {"model": MODEL, "seed": 42, "hyperparameters": {"n_epochs": 3}}
    assert is_job_of(FineTuneSpec(dataset, "gpt-4.1-mini"), job)
    assert not is_job_of(FineTuneSpec(dataset, "gpt-4.1"), job), "another model, although its name begins so"


def test_waits_for_a_file_that_is_still_processed(
    service: FineTuning, spec: FineTuneSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openai, "_PROCESSING", 0.01)
    service.pending = 3
    make_backend(service).submit(spec, print)
    assert service.requests["GET /files/*"] == 4, "until it was processed"


def test_reports_a_file_that_azure_cannot_use(
    service: FineTuning, spec: FineTuneSpec, tmp_path: Path
) -> None:
    service.pending = -1
    with pytest.raises(UserError, match=r"cannot use .*train.chat.jsonl: no reason is given"):
        run_job(make_backend(service), spec, tmp_path)
    assert not service.jobs


@pytest.mark.parametrize(
    ("model", "tier", "message"),
    [
        ("Ministral-3B", "standard", "not trained in the tier standard: use --training-type global"),
        ("gpt-oss-20b", "developer", "not trained in the tier developer: use --training-type global"),
        ("gpt-oss-120b", "standard", "use --training-type global or developer"),
    ],
)
def test_a_tier_that_the_model_does_not_have_is_refused_before_anything_is_sent(
    service: FineTuning, dataset: Path, tmp_path: Path, model: str, tier: TrainingType, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        run_job(make_backend(service), FineTuneSpec(dataset, model, training_type=tier), tmp_path)
    assert not service.files and not service.jobs


def test_the_user_may_know_better_than_the_table(
    service: FineTuning, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAFT_IGNORE_RETIREMENT", "1")
    spec = FineTuneSpec(dataset, "Ministral-3B", training_type="developer")
    assert run_job(make_backend(service), spec, tmp_path, wait=False)["job"] == "ftjob-1"


def test_tiers_and_deployments_are_azures(dataset: Path, tmp_path: Path) -> None:
    with scripted_finetuning() as service:
        with pytest.raises(UserError, match="--training-type and --deploy are for Azure, and http"):
            run_job(make_backend(service), FineTuneSpec(dataset, MODEL, training_type="global"), tmp_path)
        assert not service.files


@pytest.mark.parametrize(
    ("tier", "words"),
    [
        (None, "tier global: 10 to 30 % below standard"),
        ("standard", "tier standard: trained in the resource's own region"),
        ("developer", "tier developer: half of global"),
    ],
)
def test_the_estimate_says_what_the_tier_means(
    service: FineTuning, dataset: Path, tier: TrainingType | None, words: str
) -> None:
    basis = make_backend(service).estimate(FineTuneSpec(dataset, MODEL, training_type=tier)).basis
    assert words in basis and "\n" not in basis


def test_the_verb_names_the_other_tiers_when_azure_refuses_one_and_another_goes_through(
    dataset: Path, tmp_path: Path
) -> None:
    """Azure gives the same reply for a tier or a region that it does not offer, and for a model that is gone."""
    with scripted_finetuning(azure="v1", tiers=("developerTier",)) as service:
        done = run(service, dataset, tmp_path / "out", "--yes")
        assert done.returncode == 1 and done.stderr.count("\n") == 1
        assert "does not support fine-tuning" in done.stderr
        assert "try --training-type standard or developer" in done.stderr
        assert not service.jobs
        done = run(service, dataset, tmp_path / "out", "--yes", "--training-type", "developer")
        assert done.returncode == 0, done.stderr
        assert [job["body"]["trainingType"] for job in service.jobs.values()] == ["developerTier"]
        assert len(service.files) == 2, "uploaded once"


def test_a_dated_connection_is_told_of_the_tiers_when_it_is_refused(dataset: Path, tmp_path: Path) -> None:
    with scripted_finetuning(azure="dated", tiers=("GlobalStandard",)) as service:
        done = run(service, dataset, tmp_path / "out", "--yes", dated=True)
        assert done.returncode == 1 and "without a tier" in done.stderr
        assert "try --training-type standard or global or developer" in done.stderr
    with scripted_finetuning(azure="v1", tiers=("GlobalStandard",)) as service:
        done = run(service, dataset, tmp_path / "out", "--yes", "--training-type", "global", dated=True)
        assert done.returncode == 0, done.stderr
        assert service.requests["POST /fine_tuning/jobs"] == 1


@pytest.mark.parametrize(
    ("faults", "message"),
    [
        ({"quota": 1}, "has no quota left for this (HTTP 429: Quota of running fine-tuning jobs exceeded"),
        (
            {"retired": 1},
            "Azure trains gpt-4.1-mini-2025-04-14 in the tier global not at all, not any more, or",
        ),
        ({"expired": 9}, "check AZURE_OPENAI_API_KEY and its permissions"),
    ],
)
def test_the_verb_reports_a_refusal_in_one_line_and_succeeds_when_run_again(
    service: FineTuning, dataset: Path, tmp_path: Path, faults: dict[str, int], message: str
) -> None:
    service.faults.update(faults)
    done = run(service, dataset, tmp_path / "out", "--yes")
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert message in done.stderr and not service.jobs
    assert_no_key(done.stdout, done.stderr, folder=tmp_path)
    service.faults.clear()
    assert run(service, dataset, tmp_path / "out", "--yes").returncode == 0 and len(service.jobs) == 1


def test_a_refused_job_is_confirmed_again(service: FineTuning, dataset: Path, tmp_path: Path) -> None:
    service.faults["retired"] = 1
    run(service, dataset, tmp_path / "out", "--yes")
    done = run(service, dataset, tmp_path / "out")
    assert done.returncode == 1 and "add --yes" in done.stderr and not service.jobs


def test_an_expired_sign_in_says_to_sign_in_again(
    spec: FineTuneSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a key, Entra ID is used: here a managed identity, whose token the service does not accept any more."""
    from tools.raft.models import openai_sdk

    signed_in = "eyJzY3JpcHRlZA.eyJhdWQi.c2lnbmF0dXJl"

    async def token() -> str:
        return signed_in

    monkeypatch.setattr(openai_sdk, "_entra_token_provider", lambda: token)
    with scripted_finetuning(azure="v1", key=signed_in) as service:
        backend = make_backend(service, key="")
        assert backend.find(spec) is None
        service.faults["expired"] = 9
        with pytest.raises(UserError, match=r"sign in again \(`az login`\)") as error:
            backend.find(spec)
        assert signed_in not in str(error.value)


def test_a_failed_and_a_cancelled_job(spec: FineTuneSpec, tmp_path: Path) -> None:
    with scripted_finetuning(
        azure="v1", states=("validating_files", "running", "failed"), error=f"row 3 ({KEY})"
    ) as service:
        record = run_job(make_backend(service), spec, tmp_path / "a", poll=0.01)
        assert (record["state"], record["message"]) == ("failed", "row 3 ([key])")
    with scripted_finetuning(azure="v1", states=("queued", "running")) as service:
        backend = make_backend(service)
        job = run_job(backend, spec, tmp_path / "b", wait=False)["job"]
        backend.cancel(job)
        assert run_job(backend, spec, tmp_path / "b", wait=False)["state"] == "cancelled"
        assert len(service.jobs) == 1


@pytest.mark.parametrize("keeps_metadata", [True, False])
def test_a_lost_reply_does_not_create_a_second_job(
    spec: FineTuneSpec, tmp_path: Path, keeps_metadata: bool
) -> None:
    with scripted_finetuning(azure="v1", keeps_metadata=keeps_metadata) as service:
        service.faults["dropped"] = 1
        record = run_job(make_backend(service), spec, tmp_path, poll=0.01)
        assert record["state"] == "succeeded" and len(service.jobs) == 1


def test_the_verb_killed_before_recording_the_job_does_not_submit_it_twice(
    service: FineTuning, dataset: Path, tmp_path: Path
) -> None:
    service.faults["mute"] = 1
    process = subprocess.Popen(command(service, dataset, tmp_path / "out", "--yes"), cwd=ROOT,
                               env=environment(service), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    try:
        wait_for(lambda: service.jobs)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    record = read_record(tmp_path / "out")
    assert record and (record["state"], record["job"]) == ("submitting", "")
    done = run(service, dataset, tmp_path / "out", "--yes")
    assert done.returncode == 0, done.stderr
    assert len(service.jobs) == 1 and len(service.files) == 2


def test_a_dot_in_the_suffix_is_refused(service: FineTuning, dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Azure takes no dot in the name of a tuned model"):
        run_job(make_backend(service), FineTuneSpec(dataset, MODEL, suffix="v1.2"), tmp_path)
    assert not service.files
