"""Fine-tuning in an Azure ML workspace, against a scripted workspace over HTTPS."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from tests.scripted_azureml import ROOT, SECRETS, Azure, environment, scripted_azureml
from tools.raft.errors import UserError
from tools.raft.finetune.azure import workspace as azure_workspace
from tools.raft.finetune.azure.backend import AzureMLBackend
from tools.raft.finetune.azure.deploy import delete_serverless
from tools.raft.finetune.azure.job_spec import job_name, read_model, write_job
from tools.raft.finetune.backend import FineTuneSpec
from tools.raft.finetune.job import run_job
from tools.raft.models.endpoint import resolve_endpoint

# azure-ai-ml 1.35.2 warns about marshmallow 4 at each import; that cannot be fixed here.
pytestmark = pytest.mark.filterwarnings("ignore::Warning")

LLAMA = "azureml-meta/Llama-2-7b-chat:9"
GPT = "azure-openai/gpt-4o-mini:2024-07-18"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("certificate")


@pytest.fixture
def azure(certificate: Path, monkeypatch: pytest.MonkeyPatch):
    from azure.ai.ml.constants import _common as constants

    with scripted_azureml(certificate) as service:
        for name, value in environment(service).items():
            monkeypatch.setenv(name, value)
        # The only address that azure-ai-ml builds itself: the upload target.
        monkeypatch.setitem(constants.STORAGE_ACCOUNT_URLS, "AzureBlob", service.host + "/{}")
        monkeypatch.setattr(azure_workspace, "BACKOFF", 0.01)
        yield service


def write_dataset(folder: Path, *, valid: bool = True, note: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for split, rows in (("train", 12), ("valid", 3 if valid else 0)):
        chats, pairs = [], []
        for number in range(rows):
            answer = f"It says ##begin_quote##{number} otters{note}##end_quote##.\n<ANSWER>: {number}"
            question = f"<DOCUMENT>{split} saw {number} otters{note}</DOCUMENT>\nHow many otters in {split} {number}?"
            messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
            chats.append(json.dumps({"messages": messages}) + "\n")
            pairs.append(json.dumps({"prompt": question, "completion": answer}) + "\n")
        (folder / f"{split}.chat.jsonl").write_text("".join(chats), encoding="utf-8")
        (folder / f"{split}.completion.jsonl").write_text("".join(pairs), encoding="utf-8")
    return folder


@pytest.fixture
def spec(tmp_path: Path) -> FineTuneSpec:
    return FineTuneSpec(dataset=write_dataset(tmp_path / "data"), model=LLAMA, learning_rate=2e-5, epochs=3)


def follow(backend: AzureMLBackend, job: str) -> list[str]:
    states = []
    for _ in range(20):
        states.append(backend.status(job)["state"])
        if states[-1] in ("succeeded", "failed", "cancelled"):
            break
    return states


def asset_id(spec: FineTuneSpec, split: str, service: Azure) -> str:
    """Return the id of a split's data asset."""
    (version,) = (version for name, version in service.data if name == f"raft-{split}-{spec.api}")
    return f"{ROOT}/data/raft-{split}-{spec.api}/versions/{version}"


def test_submits_a_spec_as_a_job_and_follows_it_to_its_model(
    azure: Azure, spec: FineTuneSpec, tmp_path: Path
):
    backend, steps = AzureMLBackend(), []
    backend.check(spec)
    assert backend.find(spec) is None
    job = backend.submit(spec, steps.append)
    assert [step.split(" as ")[0] for step in steps] == [
        "subscribed to Llama-2-7b-chat in the marketplace",
        "uploaded train.chat.jsonl",
        "uploaded valid.chat.jsonl",
    ]
    assert list(azure.blobs.values()) == [
        (spec.dataset / "train.chat.jsonl").read_bytes(),
        (spec.dataset / "valid.chat.jsonl").read_bytes(),
    ]
    assert backend.find(spec) == job
    states = follow(backend, job)
    assert list(dict.fromkeys(states)) == ["queued", "running", "succeeded"]
    status = backend.status(job)
    assert status["metrics"] == {"train_loss": 0.42, "valid_loss": 0.61} and status["step"] == 30
    result = backend.result(spec, job, tmp_path / "out")
    assert result["model"] == f"{job}:1" and result["connection"] is None
    assert result["metrics"] == status["metrics"]


def test_sends_the_documented_job_for_a_catalogue_model(azure: Azure, spec: FineTuneSpec):
    """https://learn.microsoft.com/rest/api/azureml/jobs/create-or-update, FineTuningJob, CustomModelFineTuning.

    The field names are also checked against azure-ai-ml's own models of that interface. It writes the task as
    chatCompletion, as its examples do; the reference says ChatCompletion.
    """
    AzureMLBackend().submit(spec, print)
    (body,) = azure.bodies["job"]
    properties = body["properties"]
    assert properties["jobType"] == "FineTuning"
    assert properties["fineTuningDetails"] == {
        "modelProvider": "Custom",
        "taskType": "chatCompletion",
        "model": {
            "jobInputType": "mlflow_model",
            "uri": "azureml://registries/azureml-meta/models/Llama-2-7b-chat/versions/9",
        },
        "trainingData": {"jobInputType": "uri_file", "uri": asset_id(spec, "train", azure)},
        "validationData": {"jobInputType": "uri_file", "uri": asset_id(spec, "valid", azure)},
        "hyperParameters": {"num_train_epochs": "3", "learning_rate": "0.00002"},
    }
    assert properties["outputs"] == {
        "registered_model": {"jobOutputType": "mlflow_model", "assetName": job_name(spec)}
    }
    from azure.ai.ml._restclient.arm_ml_service import models

    assert_known_fields(properties, models.FineTuningJob)
    assert_known_fields(properties["fineTuningDetails"], models.CustomModelFineTuning)
    assert azure.bodies["data"][0]["properties"]["dataType"] == "uri_file"
    assert azure.bodies["subscription"] == [
        {"properties": {"modelId": "azureml://registries/azureml-meta/models/Llama-2-7b-chat"}}
    ]


def assert_known_fields(body: dict, model: type) -> None:
    """Check the fields of a body against a model of the SDK."""
    names = {field._rest_name for field in model._attr_to_rest_field.values()}  # type: ignore[attr-defined]
    assert body.keys() <= names


def test_sends_the_documented_job_for_an_azure_openai_model(azure: Azure, spec: FineTuneSpec):
    """Same reference as above, AzureOpenAiFineTuning and AzureOpenAiHyperParameters."""
    spec = replace(spec, model=GPT, learning_rate=1.5, batch_size=8)
    AzureMLBackend().submit(spec, print)
    (body,) = azure.bodies["job"]
    details = body["properties"]["fineTuningDetails"]
    assert details["modelProvider"] == "AzureOpenAI"
    assert (
        details["model"]["uri"] == "azureml://registries/azure-openai/models/gpt-4o-mini/versions/2024-07-18"
    )
    assert details["hyperParameters"] == {"batchSize": 8, "learningRateMultiplier": 1.5, "nEpochs": 3}
    assert "subscription" not in azure.bodies  # not needed for Microsoft's own models
    from azure.ai.ml._restclient.arm_ml_service import models

    assert_known_fields(details, models.AzureOpenAiFineTuning)
    assert_known_fields(details["hyperParameters"], models.AzureOpenAiHyperParameters)


def test_submits_completions_without_validation_rows(azure: Azure, spec: FineTuneSpec, tmp_path: Path):
    spec = replace(
        spec, api="completion", dataset=write_dataset(tmp_path / "few", valid=False), learning_rate=None
    )
    AzureMLBackend().submit(spec, print)
    details = azure.bodies["job"][0]["properties"]["fineTuningDetails"]
    assert details["taskType"] == "textCompletion" and "validationData" not in details
    assert details["hyperParameters"] == {"num_train_epochs": "3"}
    assert [name for name, _ in azure.data] == ["raft-train-completion"]


def test_does_not_upload_register_or_submit_anything_twice(azure: Azure, spec: FineTuneSpec):
    first = AzureMLBackend().submit(spec, print)
    uploads = azure.count("PUT", "/blob/")
    steps: list[str] = []
    assert AzureMLBackend().submit(spec, steps.append) == first
    assert (azure.created("job"), azure.count("PUT", "/jobs/")) == (1, 1)
    assert azure.count("PUT", "/blob/") == uploads and steps == []


def test_a_sweep_submits_one_job_per_rate_over_the_same_upload(azure: Azure, spec: FineTuneSpec):
    backend = AzureMLBackend()
    jobs = {backend.submit(replace(spec, learning_rate=rate), print) for rate in (1e-5, 2e-5, 5e-5)}
    assert len(jobs) == azure.created("job") == 3 and len(azure.bodies["data"]) == 2
    rates = [
        body["properties"]["fineTuningDetails"]["hyperParameters"]["learning_rate"]
        for body in azure.bodies["job"]
    ]
    assert rates == ["0.00001", "0.00002", "0.00005"]


def test_different_rows_make_a_different_asset_and_job(azure: Azure, spec: FineTuneSpec, tmp_path: Path):
    backend = AzureMLBackend()
    other = replace(spec, dataset=write_dataset(tmp_path / "other", note=" and a heron"))
    assert backend.submit(spec, print) != backend.submit(other, print)
    assert azure.created("data") == 4


def test_a_failed_job_reports_its_error_and_can_be_resubmitted(azure: Azure, spec: FineTuneSpec):
    azure.ends_as, azure.states = "Failed", ["Running"]
    backend = AzureMLBackend()
    job = backend.submit(spec, print)
    assert follow(backend, job)[-1] == "failed"
    assert backend.status(job)["message"] == "CUDA out of memory on rank 0"
    again = backend.submit(spec, print)
    assert again == f"{job}-2" and azure.created("job") == 2


def test_follows_a_job_if_its_metrics_cannot_be_read(azure: Azure, spec: FineTuneSpec):
    azure.states = ["Running"] * 50
    backend = AzureMLBackend()
    job = backend.submit(spec, print)
    azure.refuse["GET", "/mlflow/"] = (403, {"error": {"code": "Forbidden", "message": "No role."}}, {})
    status = backend.status(job)
    assert status["state"] == "running" and status["metrics"] == {} and "No role." in status["message"]


def test_cancels_a_job(azure: Azure, spec: FineTuneSpec):
    azure.states = ["Running"] * 50
    backend = AzureMLBackend()
    job = backend.submit(spec, print)
    backend.cancel(job)
    assert backend.status(job)["state"] == "cancelled"


def error_of(action) -> str:
    """Run an action that must raise a UserError, and return its message: one line without secrets."""
    with pytest.raises(UserError) as caught:
        action()
    message = str(caught.value)
    assert "\n" not in message and len(message) < 500
    assert not any(secret in message for secret in SECRETS)
    return message


def test_reports_a_refused_quota_and_creates_no_job(azure: Azure, spec: FineTuneSpec):
    body = {"error": {"code": "QuotaExceeded", "message": "Not enough quota\nfor fine-tuning in eastus2."}}
    azure.refuse["PUT", "/jobs/"] = (409, body, {})
    message = error_of(lambda: AzureMLBackend().submit(spec, print))
    assert message.startswith(
        "Azure ML refused the request, not enough quota: QuotaExceeded: Not enough quota for fine-tun"
    )
    assert azure.created("job") == 0
    del azure.refuse["PUT", "/jobs/"]
    uploads = azure.count("PUT", "/blob/")
    AzureMLBackend().submit(spec, print)  # the files are not uploaded again
    assert azure.created("job") == 1 and azure.count("PUT", "/blob/") == uploads


def test_reports_a_missing_sign_in(azure: Azure, spec: FineTuneSpec):
    azure.signed_in = False
    assert "az login" in error_of(lambda: AzureMLBackend().submit(spec, print))
    assert azure.created("job") == 0


def test_a_credential_that_expires_while_following_loses_nothing(azure: Azure, spec: FineTuneSpec):
    azure.states = ["Running"] * 50
    backend = AzureMLBackend()
    job = backend.submit(spec, print)
    azure.expired = True
    assert "ExpiredAuthenticationToken" in error_of(lambda: backend.status(job))
    azure.expired = False
    assert AzureMLBackend().find(spec) == job and backend.status(job)["state"] == "running"


def test_reports_a_missing_role(azure: Azure, spec: FineTuneSpec):
    body = {"error": {"code": "AuthorizationFailed", "message": "The client has no authorization."}}
    azure.refuse["GET", "/jobs/"] = (403, body, {})
    assert "AzureML Data Scientist" in error_of(lambda: AzureMLBackend().find(spec))


@pytest.mark.parametrize("fault", ["drop", "drop_after"])
def test_a_connection_lost_while_submitting_creates_one_job(azure: Azure, spec: FineTuneSpec, fault: str):
    getattr(azure, fault)["PUT", "/jobs/"] = 2
    AzureMLBackend().submit(spec, print)
    assert azure.created("job") == 1 and azure.count("PUT", "/jobs/") == 3
    assert len(azure.bodies["job"]) == 1


def test_reports_a_long_outage_and_finds_the_job_afterwards(azure: Azure, spec: FineTuneSpec):
    azure.drop_after["PUT", "/jobs/"] = 50
    assert "cannot be reached" in error_of(lambda: AzureMLBackend().submit(spec, print))
    azure.drop_after.clear()
    assert AzureMLBackend().find(spec) == AzureMLBackend().submit(spec, print) == job_name(spec)
    assert len(azure.bodies["job"]) == 1


def test_waits_out_a_connection_lost_while_following(azure: Azure, spec: FineTuneSpec, tmp_path: Path):
    seen = []

    def cut(status) -> None:
        seen.append(status["state"])
        if len(seen) == 3:
            azure.drop["GET", "/jobs/"] = 6  # more than the SDK retries

    record = run_job(AzureMLBackend(), spec, tmp_path / "out", poll=0.001, on_status=cut)
    assert record["state"] == "succeeded" and azure.count("PUT", "/jobs/") == 1
    assert not +azure.drop


def test_stops_waiting_for_a_failing_service_without_losing_the_job(
    azure: Azure, spec: FineTuneSpec, tmp_path: Path
):
    def cut(status) -> None:
        azure.refuse["GET", "/jobs/"] = (503, {"error": {"code": "ServerBusy", "message": "Busy."}}, {})

    out = tmp_path / "out"
    run = lambda: run_job(AzureMLBackend(), spec, out, poll=0.001, on_status=cut)  # noqa: E731
    assert "ServerBusy" in error_of(run)
    azure.refuse.clear()
    assert run_job(AzureMLBackend(), spec, out, poll=0.001)["state"] == "succeeded"
    assert azure.count("PUT", "/jobs/") == 1


CHILD = """
import sys
from pathlib import Path
from azure.ai.ml.constants import _common
from tools.raft.finetune.azure.backend import AzureMLBackend
from tools.raft.finetune.backend import FineTuneSpec
from tools.raft.finetune.job import run_job

dataset, model, host, out = sys.argv[1:]
_common.STORAGE_ACCOUNT_URLS["AzureBlob"] = host + "/{}"
run_job(AzureMLBackend(), FineTuneSpec(Path(dataset), model, learning_rate=2e-5), Path(out), poll=0.01)
"""


@pytest.mark.parametrize("moment", ["uploading", "submitting", "following"])
def test_a_run_killed_and_repeated_creates_one_job(
    azure: Azure, spec: FineTuneSpec, tmp_path: Path, moment: str
):
    out = tmp_path / "out"
    if moment == "uploading":
        azure.hold_after["PUT", "/data/raft-valid"] = 1
    elif moment == "submitting":
        azure.hold_after["PUT", "/jobs/"] = 1  # created, but the reply never arrives
    else:
        azure.states = ["Running"] * 100_000
    arguments = [sys.executable, "-c", CHILD, str(spec.dataset), spec.model, azure.host, str(out)]
    child = subprocess.Popen(arguments, stdout=subprocess.DEVNULL)
    reached = {
        "uploading": lambda: len(azure.data) == 2,
        "submitting": lambda: azure.jobs,
        "following": lambda: any(job["polls"] > 4 for job in azure.jobs.values()),
    }[moment]
    deadline = time.monotonic() + 60
    while not reached() and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    child.kill()
    child.wait()
    before = json.loads((out / "job.json").read_text())
    assert before["state"] == ("running" if moment == "following" else "submitting")
    azure.states = ["Running"]
    uploads = azure.count("PUT", "/blob/")
    record = run_job(AzureMLBackend(), spec, out, poll=0.001)
    assert record["state"] == "succeeded" and record["result"]["model"] == f"{job_name(spec)}:1"
    assert azure.created("job") == 1 and azure.count("PUT", "/jobs/") == 1
    assert azure.count("PUT", "/blob/") == uploads == 4  # two files, each with its metadata
    assert run_job(AzureMLBackend(), spec, out) == record


def test_records_how_a_job_ended(azure: Azure, spec: FineTuneSpec, tmp_path: Path):
    azure.states, azure.ends_as = ["Running"], "Failed"
    record = run_job(AzureMLBackend(), spec, tmp_path / "out", poll=0.001)
    assert (record["state"], record["message"]) == ("failed", "CUDA out of memory on rank 0")
    azure.ends_as = "Canceled"
    record = run_job(AzureMLBackend(), spec, tmp_path / "out", poll=0.001)  # a second attempt
    assert record["state"] == "cancelled" and record["job"] == f"{job_name(spec)}-2"
    azure.ends_as = "Completed"
    record = run_job(AzureMLBackend(), spec, tmp_path / "out", poll=0.001)
    assert record["state"] == "succeeded" and azure.created("job") == 3


def test_deploys_a_model_and_writes_a_working_connection(azure: Azure, spec: FineTuneSpec, tmp_path: Path):
    azure.states = []
    folder = tmp_path / "connections"
    backend = AzureMLBackend(deploy=True, connections=folder)
    job = backend.submit(spec, print)
    assert follow(backend, job) == ["succeeded"]
    result = backend.result(spec, job, tmp_path / "out")
    assert backend.result(spec, job, tmp_path / "out") == result  # the second call deploys nothing
    (body,) = azure.bodies["endpoint"]
    assert body["properties"]["modelSettings"]["modelId"] == (
        f"azureml://locations/eastus2/workspaces/00000000-0000-0000-0000-0000000000aa/models/{job}/versions/1"
    )
    assert body["sku"] == {"name": "Consumption"}
    name = result["model"]
    env = {f"{name.upper().replace('-', '_')}_API_KEY": "a-key"}
    endpoint = resolve_endpoint(name, env=env, connections_dir=folder)
    assert endpoint.base_url == f"https://{name}.eastus2.models.ai.azure.com/v1"
    assert endpoint.kind == "serverless" and endpoint.key == "a-key"
    assert "${env:" in yaml.safe_load(result["connection"].read_text())["api_key"]
    assert delete_serverless(backend.workspace, name) and not azure.endpoints
    assert not delete_serverless(backend.workspace, name)


def test_reports_a_refused_subscription_and_submits_the_job_anyway(azure: Azure, spec: FineTuneSpec):
    body = {"error": {"code": "NotEligible", "message": "This model is not in the marketplace."}}
    azure.refuse["PUT", "/marketplaceSubscriptions/"] = (400, body, {})
    steps: list[str] = []
    AzureMLBackend().submit(spec, steps.append)
    assert "NotEligible" in steps[0] and azure.created("job") == 1


def test_the_yaml_for_az_creates_the_same_job(azure: Azure, spec: FineTuneSpec, tmp_path: Path, monkeypatch):
    """Does what `az ml job create` does: azure-ai-ml loads the file, uploads its data, creates the job."""
    from azure.ai.ml import load_job

    file = tmp_path / "out" / "job.yaml"
    write_job(spec, file)
    assert yaml.safe_load(file.read_text())["training_data"]["path"] == "../data/train.chat.jsonl"
    backend = AzureMLBackend()
    monkeypatch.chdir(file.parent)
    backend.workspace.client.jobs.create_or_update(load_job("job.yaml"))
    assert backend.find(spec) == backend.submit(spec, print) == job_name(spec)
    assert (spec.dataset / "train.chat.jsonl").read_bytes() in azure.blobs.values()
    azure.jobs.clear()
    backend.submit(spec, print)
    from_yaml, submitted = (body["properties"] for body in azure.bodies["job"])
    for part in ("trainingData", "validationData"):  # az uploads a copy for the job, the backend an asset
        assert from_yaml["fineTuningDetails"].pop(part) and submitted["fineTuningDetails"].pop(part)
    assert from_yaml == submitted


def test_writes_no_secret_to_any_file(azure: Azure, spec: FineTuneSpec, tmp_path: Path, capfd):
    azure.states = []
    backend = AzureMLBackend(deploy=True, connections=tmp_path / "connections")
    run_job(backend, spec, tmp_path / "out", poll=0.001)
    output = "".join(capfd.readouterr())
    files = "".join(path.read_text() for path in tmp_path.rglob("*") if path.is_file())
    assert "job.json" in str(list(tmp_path.rglob("*"))) and not any(
        secret in output + files for secret in SECRETS
    )
    assert "experimental" not in output and "Activity" not in output


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "Llama-2-7b"}, "REGISTRY/NAME:VERSION"),
        ({"model": "azureml-meta/Llama-2-7b"}, "REGISTRY/NAME:VERSION"),
        ({"rank": 16}, "--rank"),
        ({"model": GPT, "api": "completion"}, "--api chat"),
        ({"model": GPT, "epochs": 1.5}, "whole epochs"),
    ],
)
def test_rejects_an_untrainable_spec_without_azure(spec: FineTuneSpec, changes: dict, message: str):
    assert message in error_of(lambda: AzureMLBackend(env={}).check(replace(spec, **changes)))


def first_line(text: str) -> str:
    return text.splitlines(keepends=True)[0]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda text: "".join(text.splitlines(keepends=True)[:5]), "train.chat.jsonl: error: 5 rows"),
        (
            lambda text: text.replace('"role": "assistant"', '"role": "user"', 1),
            "train.chat.jsonl:1: error: roles",
        ),
        (lambda text: text + first_line(text), "train.chat.jsonl:13: error: the same prompt again"),
        (lambda text: text + '{"messages": []}\n', "train.chat.jsonl:13: error"),
        (
            lambda text: text + first_line(text).replace("How many", "otters " * 70_000 + "How many"),
            "train.chat.jsonl, line 13 has about",
        ),
    ],
)
def test_rejects_an_invalid_dataset_naming_the_row(azure: Azure, spec: FineTuneSpec, spoil, message: str):
    file = spec.dataset / "train.chat.jsonl"
    file.write_text(spoil(file.read_text()))
    assert message in error_of(lambda: AzureMLBackend().check(replace(spec, model=GPT)))
    assert azure.requests == []


def test_rejects_rows_that_leak_into_validation(azure: Azure, spec: FineTuneSpec):
    leak = first_line((spec.dataset / "train.chat.jsonl").read_text())
    with (spec.dataset / "valid.chat.jsonl").open("a") as file:
        file.write(leak)
    assert "valid.chat.jsonl:4" in error_of(lambda: AzureMLBackend().check(spec))


def test_accepts_an_asset_id_as_the_model():
    asset_id = "azureml://registries/azureml-meta/models/Llama-2-7b-chat/versions/9"
    assert read_model(asset_id) == read_model(LLAMA) and read_model(LLAMA).uri == asset_id


def test_redacts_a_message_to_one_line_without_colours_and_secrets():
    message = azure_workspace.redact_line(
        "\x1b[31m(x) No\x1b[39m\n\n such file: https://h/b?sv=1&sig=a%2Fb=&se=2 Bearer abc.d"
    )
    assert message == "(x) No such file: https://h/b?sv=1&[secret]&se=2 [secret]"


def test_requires_a_workspace_name_or_a_config_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    message = error_of(lambda: azure_workspace.open_workspace({"AZURE_RESOURCE_GROUP": "g"}))
    assert "AZURE_SUBSCRIPTION_ID, AZUREML_WORKSPACE_NAME" in message and "config.json" in message
    config = {"subscription_id": "s", "resource_group": "g", "workspace_name": "from-config"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert azure_workspace.open_workspace({}).name == "from-config"


def test_an_estimate_explains_its_basis(spec: FineTuneSpec):
    priced = AzureMLBackend(env={}).estimate(replace(spec, model="azureml-meta/Llama-2-7b:9"))
    assert priced.dollars and "$35" in priced.basis and "1.5 hours" in priced.basis
    hosted = AzureMLBackend(env={}, deploy=True).estimate(replace(spec, model="azureml-meta/Llama-2-7b:9"))
    assert hosted.dollars == priced.dollars and "$3.09 an hour more" in hosted.basis
    unpriced = AzureMLBackend(env={}).estimate(spec)
    assert unpriced.dollars is None and "no price for an hour of training" in unpriced.basis
