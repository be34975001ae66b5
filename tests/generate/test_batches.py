"""The files between the flows that generate: what the lines of a batch say together."""

from __future__ import annotations

import json
from pathlib import Path

from tests.conftest import verified
from tools.raft.files import read_log
from tools.raft.generate.batches import assemble_batch, write_chunks
from tools.raft.generate.settings import DatasetSettings
from tools.raft.ingest.corpus import collect_chunks


def test_what_became_of_each_document_reaches_the_manifest(tmp_path: Path) -> None:
    otters = "Otters eat fish in the river Aru. "
    pages = {
        "otters.html": f"<p>{otters}</p><p hidden>Otters are secret.</p>",
        "herons.txt": "Herons nest in the reeds of the river.",
        "copy.txt": otters,
    }
    splits = []
    for name, text in pages.items():  # a line of a batch each, so that no line knows the others
        (tmp_path / name).write_text(text, encoding="utf-8")
        corpus = collect_chunks([tmp_path / name], chunk_size=64)
        accounts = [account.to_dict() for account in corpus.accounts]
        splits.append({"chunks": corpus.chunks, "left_out": corpus.rejected, "accounts": accounts})
    counts = write_chunks(tmp_path / "build", splits)
    assert counts["documents"] == 3 and counts["chunks"] == 2 and counts["left_out"] == 1
    assert counts["characters"] - counts["characters_kept"] == 15 + 26, "hidden, and said twice"

    chunks = read_log(tmp_path / "build" / "chunks.jsonl")
    draft = verified("What do otters eat?", chunks[0], "Otters eat fish in the river Aru.", "fish")
    settings = DatasetSettings(distractors=1, valid=0, test=0)
    assemble_batch(tmp_path / "build" / "chunks.jsonl", [draft], tmp_path / "dataset", settings)
    manifest = json.loads((tmp_path / "dataset" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["counts"]["documents"] == 3
    left_out = {row["source"]: row["left_out"] for row in manifest["documents"]}
    assert left_out == {
        "otters.html": {"hidden text": 15},
        "herons.txt": {},
        "copy.txt": {"in chunks: repeats another chunk": 26},
    }
