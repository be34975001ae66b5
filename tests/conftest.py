"""What the tests share: chunks and drafts to work on, an environment without keys, a flow to run."""

from __future__ import annotations

import atexit
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from tools.raft.records import Chunk, Draft, content_id, new_draft

# No test may send telemetry or write to the home folder; promptflow reads this setting at import.
_PROMPTFLOW = Path(tempfile.mkdtemp(prefix="promptflow-"))
(_PROMPTFLOW / "pf.yaml").write_text(
    "telemetry:\n  enabled: false\ntrace:\n  destination: none\n", encoding="utf-8"
)
os.environ["PF_HOME_DIRECTORY"] = str(_PROMPTFLOW)
atexit.register(shutil.rmtree, _PROMPTFLOW, ignore_errors=True)
os.environ.setdefault("APPLICATIONINSIGHTS_CONTROLPLANE_DISABLED", "true")
os.environ.setdefault("APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL", "true")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# No test may begin to fail on the day a model retires; tests/models/test_lives.py unsets it.
os.environ["RAFT_IGNORE_RETIREMENT"] = "1"

BATS = (
    "The lesser horseshoe bat hangs free from the roof of a cave. An adult weighs between five and nine grams. "
    "It leaves its roost half an hour after sunset. It hunts midges within two kilometres of the roost."
)


def make_chunk(text: str = BATS, *, source: str = "bats.txt", kind: str = "text") -> Chunk:
    """Build a chunk as `split_document` would."""
    return {
        "id": content_id(source, text),
        "text": text,
        "source": source,
        "title": source,
        "page": None,
        "start": 0,
        "end": len(text),
        "tokens": len(text.split()),
        "kind": kind,  # type: ignore[typeddict-item]
    }


def corpus(count: int) -> list[Chunk]:
    """Build chunks on different topics that share words, so that retrieval has something to rank."""
    animals = ("otter", "heron", "badger", "marten", "lynx", "stoat", "osprey")
    return [
        make_chunk(
            f"Station {number} counts the {animals[number % 7]} on the river Aru. In the year {1900 + number} it saw "
            f"{number * 3 + 11} of them near bridge {number}. The warden of station {number} writes every sighting "
            f"into book {number + 500}. At station {number} the {animals[number % 7]} eats mostly fish from pond {number * 7}.",
            source=f"station{number % 5}.txt",
        )
        for number in range(count)
    ]


def verified(question: str, chunk: Chunk, quote: str, answer: str) -> Draft:
    """Build a draft that has passed verification."""
    draft = new_draft(question, chunk["id"])
    draft.update(
        cot_answer=f"It says ##begin_quote##{quote}##end_quote##.\n<ANSWER>: {answer}",
        final_answer=answer,
        model="scripted",
        prompt_hash="0" * 16,
    )
    return draft


def pytest_xdist_auto_num_workers() -> int:
    """Return one process more than there are processors, since many tests wait, and at most four for memory."""
    return min((os.cpu_count() or 1) + 1, 4)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the developer's own keys and settings from the environment."""
    for name in list(os.environ):
        if name.startswith(("RAFT_", "OPENAI_", "AZURE_", "AZUREML_", "MLFLOW_")):
            monkeypatch.delenv(name)


def assert_names_for_mlflow(metrics: Mapping[str, object]) -> None:
    """Assert that MLflow, and so Azure ML, accepts the names; recall@3 is one that it does not."""
    # mlflow.utils.validation: alphanumerics, underscores, dashes, periods, spaces and slashes
    assert [name for name in metrics if not re.fullmatch(r"[/\w.\- ]+", name)] == []


def promptflow_environment(home: Path) -> dict[str, str]:
    """Return the environment of a process that runs `pf` with connections and runs of its own, below `home`."""
    store = home / ".promptflow"
    store.mkdir(parents=True)
    shutil.copy(_PROMPTFLOW / "pf.yaml", store)
    return {
        **os.environ,
        "HOME": str(home),
        "PF_HOME_DIRECTORY": str(store),
        "PYTHON_KEYRING_BACKEND": "keyrings.alt.file.PlaintextKeyring",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }


def merge_flow(flow: Path, into: Path) -> Path:
    """Copy a flow with the folders it includes, as `pf` does before a run; return the copy."""
    folder = into / flow.name
    shutil.copytree(flow, folder, ignore=shutil.ignore_patterns(".promptflow"))
    graph = folder / "flow.dag.yaml"
    fields = yaml.safe_load(graph.read_text(encoding="utf-8"))
    # Left out: the teacher's weights and the sample documents are large, and no flow reads them.
    ignore = shutil.ignore_patterns("__pycache__", "teacher", "documents")
    for include in fields.pop("additional_includes"):
        source = (flow / include).resolve()
        if source.is_file():
            shutil.copy(source, folder)
        else:
            shutil.copytree(source, folder / source.name, ignore=ignore)
    graph.write_text(yaml.safe_dump(fields, sort_keys=False), encoding="utf-8")
    return folder
