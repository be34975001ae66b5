"""Publishing on the Hugging Face Hub, with huggingface_hub itself against a scripted Hub."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.dataset.test_export import make_rows
from tests.scripted_hub import TOKEN, Hub, scripted_hub
from tests.share.dataset import SECRET, make_dataset
from tools.raft.errors import UserError
from tools.raft.files import PROJECT
from tools.raft.models.service import Unreachable
from tools.raft.share.contents import read_contents
from tools.raft.share.hub import Published, complete_card, publish_to_hub

REPO = "bats/caves"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    with scripted_hub() as service:
        yield service


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_dataset(tmp_path / "out")


def publish(hub: Hub, folder: Path, repo: str = REPO, **options: object) -> Published:
    env = {"HF_TOKEN": TOKEN, "HF_ENDPOINT": hub.address}
    return publish_to_hub(read_contents(folder), repo, env=env, **options)  # type: ignore[arg-type]


def test_a_dataset_becomes_a_private_repository_in_one_commit(hub: Hub, folder: Path) -> None:
    result = publish(hub, folder)
    assert hub.repositories[REPO]["private"]
    assert len(hub.commits(REPO)) == 2, "the Hub's own, and all files together"
    files = hub.files(REPO)
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert set(files) == {".gitattributes", "README.md", "manifest.json", *manifest["files"]}
    for name in manifest["files"]:
        assert files[name] == (folder / name).read_bytes()
    assert hub.objects, "some are large files"
    assert files["rejected.jsonl"] == b"", "an empty file cannot be a large one"
    assert SECRET.encode() not in b"".join(files.values())
    assert result.private and result.address == f"{hub.address}/datasets/{REPO}"
    assert result.revision == hub.commits(REPO)[-1]["oid"]


def test_addresses_and_speeds_of_endpoints_stay_at_home(hub: Hub, folder: Path) -> None:
    publish(hub, folder)
    assert b"10.0.0.4" not in b"".join(hub.files(REPO).values())
    shared = json.loads(hub.files(REPO)["manifest.json"])
    assert "endpoints" not in shared and "times" not in shared and shared["seed"] == 42


def test_published_again_nothing_is_sent(hub: Hub, folder: Path) -> None:
    first = publish(hub, folder)
    uploads = hub.count("PUT", "/storage/")
    # The same data generated again takes another time on other machines.
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    manifest["times"]["seconds"], manifest["endpoints"] = 99, []
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    again = publish(hub, folder)
    assert (again.changed, again.removed, again.revision) == ([], [], first.revision)
    assert len(hub.commits(REPO)) == 2 and hub.count("POST", "/commit/") == 1
    assert hub.count("PUT", "/storage/") == uploads


def test_a_change_sends_what_changed_and_removes_what_would_mix(
    hub: Hub, folder: Path, tmp_path: Path
) -> None:
    publish(hub, folder)
    hub.files(REPO)["logo.png"] = b"of the owner"
    smaller = make_dataset(tmp_path / "smaller", make_rows(30), formats=["chat"])
    result = publish(hub, smaller)
    assert result.removed == ["test.eval.jsonl", "test.parquet", "train.parquet", "valid.parquet"]
    files = hub.files(REPO)
    assert files["train.jsonl"] == (smaller / "train.jsonl").read_bytes()
    assert "train.parquet" not in files and files["logo.png"] == b"of the owner"
    assert "rejected.jsonl" not in result.changed, "it is the same"


def test_large_files_go_to_xet_where_its_package_is(
    hub: Hub, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("hf_xet")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", False)
    hub.xet = f"local://{tmp_path / 'store'}"
    contents = read_contents(folder)
    card = complete_card(contents.card, REPO).encode("utf-8")
    for content in [
        *(path.read_bytes() for path in map(folder.joinpath, contents.hashes)),
        card,
    ]:  # that the commit may refer to
        hub.objects[hashlib.sha256(content).hexdigest()] = content
    publish(hub, folder)
    assert hub.files(REPO)["train.parquet"] == (folder / "train.parquet").read_bytes()
    assert hub.count("POST", "/info/lfs/") == 0 and list((tmp_path / "store").rglob("*.mdb"))
    assert publish(hub, folder).changed == []


@pytest.mark.parametrize("lost", [("POST", "/commit/"), ("PUT", "/storage/"), ("POST", "/preupload/")])
def test_a_lost_connection_is_one_line_and_the_next_run_completes_it(
    hub: Hub, folder: Path, lost: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
    hub.drop[lost] = 50
    with pytest.raises(Unreachable, match="run the same command again") as caught:
        publish(hub, folder)
    assert "\n" not in str(caught.value) and TOKEN not in str(caught.value)
    assert len(hub.commits(REPO)) == 1, "nothing half done is seen"
    hub.drop.clear()
    publish(hub, folder)
    assert len(hub.commits(REPO)) == 2


def test_a_lost_reply_to_the_commit_is_no_second_commit(hub: Hub, folder: Path) -> None:
    hub.drop_after["POST", "/commit/"] = 1
    with pytest.raises(Unreachable):
        publish(hub, folder)
    assert publish(hub, folder).changed == []
    assert len(hub.commits(REPO)) == 2


def test_private_text_is_not_put_into_a_public_repository_unasked(hub: Hub, folder: Path) -> None:
    hub.add(REPO, private=False)
    with pytest.raises(UserError, match="bats/caves is public.*--public"):
        publish(hub, folder)
    assert len(hub.commits(REPO)) == 1
    assert not publish(hub, folder, public=True).private
    assert publish(hub, folder, "bats/roosts", public=True).private is False


def test_a_branch_is_created_and_main_left_alone(hub: Hub, folder: Path) -> None:
    result = publish(hub, folder, branch="release/v2")
    assert "train.jsonl" in hub.files(REPO, "release/v2") and "train.jsonl" not in hub.files(REPO)
    assert result.address.endswith("/tree/release/v2")
    assert publish(hub, folder, branch="release/v2").changed == []


def test_what_somebody_else_committed_meanwhile_is_not_overwritten(
    hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(hub, folder)
    answer = hub.answer

    def meanwhile(method: str, path: str, *rest: object) -> object:
        if "/preupload/" in path:
            hub._commit(REPO, "main", {**hub.files(REPO), "logo.png": b"new"}, "a logo")
        return answer(method, path, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(hub, "answer", meanwhile)
    (folder / "train.jsonl").write_bytes((folder / "train.jsonl").read_bytes() * 2)
    with pytest.raises(Unreachable, match="changed by somebody else"):
        publish(hub, folder)


@pytest.mark.parametrize(
    ("repo", "reply", "message"),
    [
        ("others/caves", None, "may not write to others/caves.*403"),
        (
            REPO,
            (401, {"error": "x"}, {"X-Error-Message": "Invalid credentials in Authorization header"}),
            "HF_TOKEN",
        ),
        (REPO, (503, {"error": f"down; Bearer {TOKEN}"}, {}), "is failing.*503"),
        ("no good/name", None, "no name for a dataset"),
    ],
)
def test_a_refusal_is_one_line_without_the_token(
    hub: Hub, folder: Path, repo: str, reply: object, message: str
) -> None:
    if reply:
        hub.refuse["GET", "/api/datasets/"] = reply  # type: ignore[assignment]
    with pytest.raises(UserError, match=message) as caught:
        publish(hub, folder, repo)
    assert "\n" not in str(caught.value) and TOKEN not in str(caught.value)
    assert caught.value.__suppress_context__


def test_without_a_token_nothing_is_sent(hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    with pytest.raises(UserError, match="set HF_TOKEN"):
        publish_to_hub(read_contents(folder), REPO, env={"HF_ENDPOINT": hub.address})
    assert hub.requests == []


def test_the_card_has_what_only_the_publisher_knows(hub: Hub, folder: Path) -> None:
    publish(hub, folder, license="cc-by-4.0", languages=["de", "en"], title="Bats: at night")
    text = hub.files(REPO)["README.md"].decode("utf-8")
    head = yaml.safe_load(text.split("---\n")[1])
    assert (head["license"], head["language"]) == ("cc-by-4.0", ["de", "en"])
    assert head["pretty_name"] == "Bats: at night" and "\n# Bats: at night\n" in text
    assert head["size_categories"] == ["n<1K"] and "raft" in head["tags"]
    assert f'load_dataset("{REPO}")' in text
    assert "license" not in yaml.safe_load(
        (folder / "README.md").read_text(encoding="utf-8").split("---\n")[1]
    )


@pytest.mark.parametrize(
    ("config", "columns"),
    [
        ("default", {"question", "context", "cot_answer", "page"}),
        ("chat", {"messages"}),
        ("eval", {"answers"}),
    ],
)
def test_load_dataset_finds_splits_and_columns_of_what_was_published(
    hub: Hub, folder: Path, tmp_path: Path, config: str, columns: set[str]
) -> None:
    """What the Hub shows and `load_dataset` of its name reads is this README beside these files."""
    datasets = pytest.importorskip("datasets")
    publish(hub, folder, license="mit", languages=["en"])
    copy = tmp_path / "caves"
    copy.mkdir()
    for name, content in hub.files(REPO).items():
        (copy / name).write_bytes(content)
    loaded = datasets.load_dataset(str(copy), config, cache_dir=str(tmp_path / "cache"))
    rows = read_contents(folder).rows
    expected = {"train": rows["train"], "validation": rows["valid"], "test": rows["test"]}
    if config == "eval":
        expected = {"test": rows["test"]}
    assert {name: split.num_rows for name, split in loaded.items()} == expected
    assert len({tuple(split.column_names) for split in loaded.values()}) == 1
    assert columns <= set(next(iter(loaded.values())).column_names)
    assert datasets.get_dataset_config_names(str(copy)) == ["default", "chat", "eval"]


def test_a_form_that_this_version_does_not_know_is_a_config_of_its_own(tmp_path: Path) -> None:
    from tools.raft.dataset.card import write_card
    from tools.raft.files import describe_file, write_json

    folder = make_dataset(tmp_path / "out")
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    for split, rows in (("train", 1), ("valid", 0)):
        (folder / f"{split}.pairs.jsonl").write_text('{"chosen": "a"}\n' * rows, encoding="utf-8")
        manifest["files"][f"{split}.pairs.jsonl"] = {
            "rows": rows,
            **describe_file(folder / f"{split}.pairs.jsonl"),
        }
    write_json(folder / "manifest.json", manifest)
    write_card(folder / "README.md", manifest)
    head = yaml.safe_load((folder / "README.md").read_text(encoding="utf-8").split("---\n")[1])
    configs = {config["config_name"]: config["data_files"] for config in head["configs"]}
    assert configs["pairs"] == [{"split": "train", "path": "train.pairs.jsonl"}], "not the empty one"
    assert "train.pairs.jsonl" in read_contents(folder).files


def run(*arguments: object, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tools", "publish", *map(str, arguments)],
        cwd=PROJECT,
        env={**os.environ, "COLUMNS": "200", "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1", **env},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_the_command_says_what_is_where_and_that_it_is_there(hub: Hub, folder: Path) -> None:
    env = {"HF_TOKEN": TOKEN, "HF_ENDPOINT": hub.address}
    (folder / "train.jsonl").write_bytes((folder / "train.jsonl").read_bytes()[:-1])
    done = run("--dataset", folder, "--to", f"hf:{REPO}", **env)
    assert done.returncode == 0, done.stderr
    last = done.stdout.splitlines()[-1]
    assert last.startswith("Published: 15 files sent: ") and f"/datasets/{REPO} (private), commit " in last
    assert "Warning: train.jsonl is not as manifest.json describes it" in done.stdout
    again = run("--dataset", folder, "--to", f"hf:{REPO}", **env)
    assert again.stdout.splitlines()[-1].startswith("Already there: ")


@pytest.mark.parametrize(
    ("arguments", "env", "message"),
    [
        (["--to", "hf:bats/caves"], {"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE is set"),
        (["--to", "caves"], {}, "name the place as hf:OWNER/NAME or azure-ml:NAME"),
        (["--to", "hf:caves"], {}, "OWNER/NAME"),
        (["--to", "azure-ml:caves", "--public"], {}, "are for hf"),
    ],
)
def test_a_mistake_is_one_line(folder: Path, arguments: list[str], env: dict[str, str], message: str) -> None:
    done = run("--dataset", folder, *arguments, **{"HF_TOKEN": TOKEN, **env})
    assert done.returncode == 1 and message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_dry_run_lists_the_files_and_sends_nothing(hub: Hub, folder: Path) -> None:
    done = run("--dataset", folder, "--to", f"hf:{REPO}", "--dry-run", HF_ENDPOINT=hub.address)
    assert done.returncode == 0 and "train.jsonl" in done.stdout
    assert done.stdout.rstrip().endswith("Nothing was sent.") and hub.requests == []


def test_a_folder_that_is_no_finished_dataset_is_refused(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(UserError, match="is not a dataset"):
        read_contents(tmp_path)
    (folder / "valid.chat.jsonl").unlink()
    with pytest.raises(UserError, match=r"valid\.chat\.jsonl is missing: make the dataset again"):
        read_contents(folder)
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    manifest["files"]["../.env"] = {}
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(UserError, match="is not a dataset"):
        read_contents(folder)
