"""The tour with scripted models and a scripted training: `python -m tests.verbs.scripted_tour URL OUT`.

Documents, dataset, index, comparison, report and transcript are the real ones.
"""

from __future__ import annotations

import hashlib
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from tools.raft.files import read_object, write_json
from tools.raft.finetune import backend as interface
from tools.raft.finetune.local import backend as local
from tools.raft.models import embed, endpoint
from tools.verbs import tour

STEPS = 6


class ScriptedTraining:
    """A training of six short steps that goes on where it was; every step it makes is in steps.log."""

    name = "local"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def check_life(self, spec: interface.FineTuneSpec) -> None: ...

    def find(self, spec: interface.FineTuneSpec) -> str | None:
        return read_object(self.folder / "order.json").get("key")

    def submit(self, spec: interface.FineTuneSpec, on_step: object) -> str:
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / "order.json", {"key": spec.key})
        return spec.key

    def status(self, job: str) -> interface.Status:
        log = self.folder / "steps.log"
        done = len(log.read_text(encoding="utf-8").split()) if log.exists() else 0
        if done < STEPS:
            time.sleep(0.05)
            with log.open("a", encoding="utf-8") as file:
                file.write(f"{done + 1}\n")
            return interface.Status(
                state="running",
                message="",
                step=done + 1,
                steps=STEPS,
                metrics={"train_loss": 1 / (done + 1)},
            )
        return interface.Status(state="succeeded", message="", step=STEPS, steps=STEPS, metrics={})

    def result(self, spec: interface.FineTuneSpec, job: str, out: Path) -> interface.Result:
        return interface.Result(model="tuned", connection=None, files=[], metrics={"tokens": 1, "seconds": 1})


def words_model() -> Any:
    """Return an embedding model that counts words in 64 bins."""

    def encode(texts: list[str], **_: object) -> np.ndarray:
        rows = np.full((len(texts), 64), 0.001, np.float32)
        for row, text in zip(rows, texts, strict=True):
            for word in text.lower().split():
                row[hashlib.sha256(word.encode()).digest()[0] % 64] += 1
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    return SimpleNamespace(
        max_seq_length=256, get_embedding_dimension=lambda: 64, encode_query=encode, encode_document=encode
    )


def main(url: str, out: Path) -> None:
    resolve = endpoint.resolve_endpoint

    def scripted(name: str, *, model: str = "") -> endpoint.Endpoint:
        return resolve(f"{url}:{model or Path(name).parent.name or name}-scripted")

    endpoint.resolve_endpoint = scripted  # type: ignore[assignment]
    local.LocalBackend = ScriptedTraining  # type: ignore[assignment, misc]
    embed.Embedder._load_once = lambda self: words_model()  # type: ignore[method-assign]
    tour.DOCUMENTS = ("bat-survey.txt", "surf-handbook.docx")  # type: ignore[assignment]
    tour.tour(out)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
