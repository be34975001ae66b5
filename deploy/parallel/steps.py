"""The two steps around the parallel one: documents → shards of chunks, and drafts → dataset.

    python deploy/parallel/steps.py split --documents DIR --chunks DIR --shards DIR [--chunk-size N] …
    python deploy/parallel/steps.py assemble --chunks DIR --shards DIR --drafts DIR --out DIR [--p P] …

Each shard is a small file that names its lines of chunks.jsonl; Azure ML hands them out to draft_shards.py.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the repository, which is uploaded whole

from deploy.parallel.pool import pool_from_environment
from tools.raft.errors import UserError
from tools.raft.files import write_json
from tools.raft.generate.batches import CHUNKS, assemble_batch, write_corpus
from tools.raft.generate.settings import DatasetSettings
from tools.raft.generate.shards import Shard, plan_shards
from tools.raft.ingest.corpus import collect_chunks


def split(documents: Path, chunks: Path, shards: Path, *, chunk_size: int, questions: int, seed: int) -> str:
    """Write chunks.jsonl, and a file per shard with what it takes to draft it."""
    corpus = collect_chunks([documents], chunk_size=chunk_size, on_disk=True)
    write_corpus(chunks, corpus)
    planned = list(plan_shards(chunks / CHUNKS, pool_from_environment(), questions=questions, seed=seed))
    shards.mkdir(parents=True, exist_ok=True)
    for number, shard in enumerate(planned):
        task = {"shard": asdict(shard), "questions": questions, "seed": seed}
        write_json(shards / f"{number:06}.json", task)
    return f"{len(corpus.chunks)} chunks in {len(planned)} shards in {shards}"


def assemble(chunks: Path, shards: Path, drafts: Path, out: Path, settings: DatasetSettings) -> str:
    """Write the dataset from the drafts of all shards. Raises UserError if a shard is missing."""
    planned = [Shard(**json.loads(file.read_text())["shard"]) for file in sorted(shards.glob("*.json"))]
    missing = [shard for shard in planned if not (shard.is_done(drafts) or shard.partial(drafts).exists())]
    if missing:
        raise UserError(f"{len(missing)} of {len(planned)} shards are not drafted: run the step before again")
    found = (draft for shard in planned for part in shard.read(drafts) for draft in part)
    manifest = assemble_batch(chunks / CHUNKS, found, out, settings)
    return f"{manifest['counts']['rows']} rows in {out}, {manifest['counts']['missing']} missing"


def main() -> None:
    """Run a step; a mistake is one line and exit status 1."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    steps = parser.add_subparsers(dest="step", required=True)
    first, second = steps.add_parser("split"), steps.add_parser("assemble")
    for step, names in (
        (first, ("documents", "chunks", "shards")),
        (second, ("chunks", "shards", "drafts", "out")),
    ):
        for name in names:
            step.add_argument(f"--{name}", type=Path, required=True)
        step.add_argument("--seed", type=int, default=42)
    first.add_argument("--chunk-size", type=int, default=512)
    first.add_argument("--questions", type=int, default=5)
    second.add_argument("--distractors", type=int, default=3)
    second.add_argument("--p", type=float, default=0.8)
    options = parser.parse_args()
    try:
        if options.step == "split":
            said = split(
                options.documents, options.chunks, options.shards, chunk_size=options.chunk_size,
                questions=options.questions, seed=options.seed,
            )  # fmt: skip
        else:
            settings = DatasetSettings(
                distractors=options.distractors, p=options.p, seed=options.seed, formats=("chat", "eval")
            )
            said = assemble(options.chunks, options.shards, options.drafts, options.out, settings)
    except UserError as error:
        raise SystemExit(str(error)) from None
    print(said)


if __name__ == "__main__":
    main()
