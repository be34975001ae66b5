"""Registering a dataset as an Azure ML data asset, with azure-ai-ml itself against a scripted workspace."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.scripted_azureml import SECRETS, Azure
from tests.share.dataset import SECRET, make_dataset
from tools.raft.errors import UserError
from tools.raft.finetune.azure.workspace import open_workspace
from tools.raft.models.service import Unreachable
from tools.raft.share.azure_asset import Registered, register_dataset
from tools.raft.share.contents import read_contents

# azure-ai-ml 1.35.2 warns about marshmallow 4 at each import; that cannot be fixed here.
pytestmark = pytest.mark.filterwarnings("ignore::Warning")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_dataset(tmp_path / "out")


def register(folder: Path, name: str = "caves", version: str = "") -> Registered:
    return register_dataset(read_contents(folder), name, version)


def uploaded(azure: Azure) -> dict[str, bytes]:
    return {path.rsplit("/", 1)[1]: content for path, content in azure.blobs.items()}


def test_a_dataset_becomes_a_folder_asset_versioned_by_its_content(azure: Azure, folder: Path) -> None:
    result = register(folder)
    version = read_contents(folder).version
    assert result == Registered(f"azureml:caves:{version}", "raft-ws", True)
    (body,) = azure.bodies["data"]
    properties = body["properties"]
    assert properties["dataType"] == "uri_folder" and properties["dataUri"].startswith("azureml://")
    assert properties["tags"] == {
        "content": version,
        "rows_train": "60",
        "rows_valid": "10",
        "rows_test": "10",
        "seed": "42",
        "teacher": "gpt-teacher",
        "raft_manifest": "1",
    }
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    files = uploaded(azure)
    assert set(files) == {"README.md", "manifest.json", *manifest["files"]}
    assert files["train.chat.jsonl"] == (folder / "train.chat.jsonl").read_bytes()
    assert SECRET.encode() not in b"".join(files.values()) and b"10.0.0.4" not in b"".join(files.values())


def test_the_sdk_reads_the_asset_back_as_an_input_of_a_job(azure: Azure, folder: Path) -> None:
    from azure.ai.ml import Input, command

    result = register(folder)
    name, version = result.reference.removeprefix("azureml:").split(":")
    asset = open_workspace().client.data.get(name, version=version)
    assert asset.type == "uri_folder" and asset.tags["seed"] == "42"
    given = Input(type=asset.type, path=result.reference)
    job = command(command="ls ${{inputs.dataset}}", environment="azureml:e:1", inputs={"dataset": given})
    assert job._validate().passed


def test_the_same_content_is_registered_once(azure: Azure, folder: Path, tmp_path: Path) -> None:
    first = register(folder)
    same = make_dataset(tmp_path / "elsewhere")
    puts = azure.count("PUT", "/")
    assert register(same) == first._replace(new=False)
    assert azure.count("PUT", "/") == puts and len(azure.data) == 1
    (same / "train.jsonl").write_text("{}\n", encoding="utf-8")
    assert register(same).new and len(azure.data) == 2


def test_a_version_of_one_s_own_is_not_overwritten(azure: Azure, folder: Path) -> None:
    assert register(folder, version="3").reference == "azureml:caves:3"
    assert not register(folder, version="3").new
    (folder / "train.jsonl").write_text("{}\n", encoding="utf-8")
    with pytest.raises(UserError, match="azureml:caves:3 exists with other content"):
        register(folder, version="3")


def test_an_interrupted_registration_is_completed_by_the_next(azure: Azure, folder: Path) -> None:
    azure.refuse["PUT", "/data/"] = (
        503,
        {"error": {"code": "Busy", "message": f"busy; Bearer {SECRETS[0]}"}},
        {},
    )
    with pytest.raises(Unreachable, match="run again") as caught:
        register(folder)
    assert not any(secret in str(caught.value) for secret in SECRETS)
    azure.refuse.clear()
    assert register(folder).new and not register(folder).new


def test_no_access_is_one_line(azure: Azure, folder: Path) -> None:
    azure.refuse["GET", "/data/"] = (403, {"error": {"code": "Forbidden", "message": "no"}}, {})
    with pytest.raises(UserError, match="AzureML Data Scientist"):
        register(folder)
    assert azure.blobs == {}


def test_without_a_workspace_it_says_what_to_set(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="no Azure ML workspace is named"):
        register_dataset(read_contents(folder), "caves", workspace=open_workspace({}))
