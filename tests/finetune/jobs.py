"""What the tests of fine-tuning jobs share: a dataset, the backend and the verb against a scripted service."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.scripted_finetuning import KEY, FineTuning
from tools.raft.files import PROJECT
from tools.raft.finetune.openai import OpenAIBackend
from tools.raft.models.endpoint import Endpoint

ROOT = PROJECT
MODEL = "gpt-4o-mini"


def chat_row(number: int) -> dict[str, object]:
    answer = f"It says ##begin_quote##Pond {number} has newts.##end_quote##\n<ANSWER>: newts"
    return {
        "messages": [
            {
                "role": "user",
                "content": f"<DOCUMENT>Pond {number} has newts.</DOCUMENT>\nWhat has pond {number}?",
            },
            {"role": "assistant", "content": answer},
        ]
    }


def write_dataset(folder: Path, train: list[object], valid: list[object]) -> Path:
    folder.mkdir(exist_ok=True)
    for split, rows in (("train", train), ("valid", valid)):
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{split}.chat.jsonl").write_text(lines, encoding="utf-8")
    return folder


def make_backend(service: FineTuning, log: Path | None = None, key: str = KEY) -> OpenAIBackend:
    kind = "azure_openai" if service.azure else "compatible"
    path = {"": "/v1", "dated": "", "v1": "/openai/v1"}[service.azure]
    version = "2024-10-21" if service.azure == "dated" else ""
    url = service.url.removesuffix("/v1") + path
    endpoint = Endpoint(url, MODEL, kind=kind, key=key, key_from="KEY", api_version=version)
    return OpenAIBackend(lambda: endpoint, log)


def run(
    service: FineTuning, dataset: Path, out: Path, *options: object, key: str = KEY
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(service, dataset, out, *options), cwd=ROOT, env=environment(key), capture_output=True,
                          text=True, timeout=120, stdin=subprocess.DEVNULL)  # fmt: skip


def command(service: FineTuning, dataset: Path, out: Path, *options: object) -> list[str]:
    arguments = ("--dataset", dataset, "--backend", "openai", "--model", MODEL, "--out", out,
                 "--base-url", service.url, "--poll", 0.05, *options)  # fmt: skip
    return [sys.executable, "-m", "tools", "finetune", *map(str, arguments)]


def environment(key: str = KEY) -> dict[str, str]:
    return {**os.environ, "COLUMNS": "200", "RAFT_API_KEY": key}


def assert_no_key(*texts: str, folder: Path) -> None:
    files = [path.read_text(encoding="utf-8") for path in folder.rglob("*.json*")]
    assert not [text for text in (*texts, *files) if KEY in text or KEY[:12] in text]


def wait_for(condition: Callable[[], object]) -> None:
    for _ in range(2400):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("the condition was not met in time")
