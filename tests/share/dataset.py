"""A dataset folder as `generate` leaves it, with what must never leave it beside the files of the manifest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.dataset.test_export import Row, make_rows, words, write_raft
from tools.raft.dataset.card import write_card, write_manifest
from tools.raft.dataset.export import make_datasets
from tools.raft.files import describe_file

SECRET = "sk-key-that-stays-at-home"


def make_dataset(
    folder: Path, rows: Sequence[Row] | None = None, formats: Sequence[str] = ("chat", "eval", "parquet")
) -> Path:
    """Write a dataset, and beside it a cache, drafts, a key and the leftovers of a failed check."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = make_rows() if rows is None else rows
    files, _ = make_datasets(
        write_raft(folder / "raft.jsonl", rows), folder, formats=formats, count_tokens=words
    )
    for name, text in (("chunks.jsonl", '{"id": "1", "text": "Fledermäuse"}\n'), ("rejected.jsonl", "")):
        (folder / name).write_text(text, encoding="utf-8")
    others = {name: describe_file(folder / name) for name in ("chunks.jsonl", "raft.jsonl", "rejected.jsonl")}
    manifest = write_manifest(
        folder / "manifest.json",
        settings={"p": 0.8},
        seed=42,
        models={"teacher": "gpt-teacher"},
        prompt_hashes={},
        counts={"rows": len(rows)},
        documents=[],
        rejected_by_reason={},
        tokens={"calls": 3},
        endpoints=[{"endpoint": "http://10.0.0.4:8000/v1", "tokens_per_second": 140.2}],
        cost=None,
        files={**files, **others},
        times={"seconds": 12.3, "finished": "2026-11-27T12:00:00+00:00"},
    )
    write_card(folder / "README.md", manifest)
    for name in (".cache/reply.json", "drafts/shard-1.jsonl", ".staging/train.jsonl", ".env", "notes.txt"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(SECRET, encoding="utf-8")
    return folder
