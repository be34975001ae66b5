"""Node: a folder of documents, or one file → chunks, and what was left out."""

from enum import Enum
from pathlib import Path

from promptflow.core import tool

from tools.raft.ingest.corpus import collect_chunks


class Chunking(str, Enum):
    """Where a document is divided: at headings and sentences, or where the topic changes."""

    text = "text"
    semantic = "semantic"


@tool
def split_documents(documents: str, chunk_size: int, chunking: Chunking = Chunking.text) -> dict:
    """Return "chunks", "left_out" (files and chunks with their reasons) and the "accounts" of the files."""
    path = Path(__file__).parent.parent / documents  # relative to the flow's folder, unless absolute
    corpus = collect_chunks([path], chunk_size=chunk_size, mode=getattr(chunking, "value", chunking))
    accounts = [account.to_dict() for account in corpus.accounts]
    return {"chunks": corpus.chunks, "left_out": corpus.rejected, "accounts": accounts}
