"""Node: a chunks.jsonl → an index of its chunks."""

from pathlib import Path

from promptflow.core import tool

from tools.connections import lookup
from tools.raft.errors import UserError
from tools.raft.ingest.chunks import read_chunks
from tools.raft.models.embed_endpoint import open_embedder
from tools.raft.rag import build_index as builder
from tools.run_folder import run_folder


@tool
def build_index(chunks_file: str, out: str, embedding_model: str = "") -> dict:
    """Build or update the index in the folder `out`; by default with the embedded embedding model."""
    folder = run_folder("out", [out])
    if folder is None:
        raise UserError("out: must be an absolute path, the folder that the index is written to")
    chunks = list(read_chunks(Path(__file__).parent.parent / chunks_file))
    manifest = builder.build_index(chunks, folder, open_embedder(embedding_model, lookup=lookup))
    return {name: manifest[name] for name in ("model", "dimensions", "chunks", "sources", "cut", "changes")}
