"""An index finds its chunks, embeds only new ones, survives a kill, and reports what is wrong with it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import corpus, make_chunk
from tools.raft.errors import UserError
from tools.raft.files import PROJECT
from tools.raft.models.embed import Embedder, Role
from tools.raft.on_disk import DiskArray
from tools.raft.rag import vectors as vectors_module, weigh_words as weigh_module
from tools.raft.rag.append import append_chunks
from tools.raft.rag.build_index import build_index
from tools.raft.rag.index import Index, open_index
from tools.raft.rag.search import fuse
from tools.raft.rag.vectors import Refined, compressed_index
from tools.raft.rag.weigh_words import words


class Hashed(Embedder):
    """Compute vectors from a text's words, without a model; record the texts embedded."""

    def __init__(self, name: str = "hashed", *, size: int = 64, stop_after: int | None = None) -> None:
        super().__init__(name)
        self.size, self.stop_after = size, stop_after
        self.texts: list[str] = []

    @property
    def dimension(self) -> int:
        return self.size

    @property
    def window(self) -> int | None:
        return 40

    def batches(
        self, texts: Sequence[str], role: Role = "document"
    ) -> Iterator[tuple[Sequence[int], np.ndarray]]:
        for start in range(0, len(texts), 4):
            if self.stop_after is not None and len(self.texts) >= self.stop_after:
                raise KeyboardInterrupt
            batch = texts[start : start + 4]
            self.texts += batch
            yield range(start, start + len(batch)), np.stack([self._vector(text) for text in batch])

    def _vector(self, text: str) -> np.ndarray:
        vector = np.full(self.size, 1e-3, dtype=np.float32)
        for word in words(text):
            vector[hashlib.sha256(word.encode()).digest()[0] % self.size] += 1
        return vector / np.linalg.norm(vector)


def open_hashed(folder: Path) -> Index:
    index = open_index(folder)
    index.dense.embedder = Hashed()
    return index


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("mode", ["lexical", "dense", "fused"])
def test_finds_chunks_with_scores_and_sources(tmp_path: Path, mode: Any) -> None:
    chunks = [{**chunk, "page": 3} for chunk in corpus(30)]
    build_index(chunks, tmp_path, Hashed())
    first, second = open_hashed(tmp_path).search([chunks[7]["text"], chunks[19]["text"]], 4, mode)
    assert [hit["rank"] for hit in first] == [1, 2, 3, 4]
    assert first[0] == {
        "rank": 1, "score": first[0]["score"], "id": chunks[7]["id"], "text": chunks[7]["text"],
        "title": chunks[7]["title"], "source": chunks[7]["source"], "page": 3,
    }  # fmt: skip
    assert second[0]["id"] == chunks[19]["id"]
    scores = [hit["score"] for hit in first]
    assert scores == sorted(scores, reverse=True)


def test_fused_scores_are_sums_of_reciprocal_ranks() -> None:
    assert fuse([[(4, 9.0), (2, 1.0)], [(2, 0.9), (7, 0.8)]]) == [
        (2, pytest.approx(1 / 62 + 1 / 61)),
        (4, pytest.approx(1 / 61)),
        (7, pytest.approx(1 / 62)),
    ]


def test_handles_unusual_requests(tmp_path: Path) -> None:
    build_index(corpus(3), tmp_path, Hashed())
    index = open_hashed(tmp_path)
    assert index.search([], 3) == []
    assert index.search(["otter"], 0) == [[]]
    assert len(index.search(["otter"], 50, "dense")[0]) == 3
    assert index.search(["zzz"], 3, "lexical") == [[]], "without a common word nothing is found"
    with pytest.raises(UserError, match="lexical, dense or fused"):
        index.search(["otter"], 3, "semantic")  # type: ignore[arg-type]


def test_a_lexical_search_loads_no_model(tmp_path: Path) -> None:
    build_index(corpus(3), tmp_path, Hashed())
    code = (
        "import sys; from pathlib import Path; from tools.raft import open_index; "
        f"print(len(open_index(Path({str(tmp_path)!r})).search(['otter'], 2, 'lexical')[0]), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "False"]


def test_embeds_only_new_chunks_and_removes_missing_ones(tmp_path: Path) -> None:
    chunks = corpus(12)
    assert build_index(chunks[:10], tmp_path, Hashed())["changes"]["embedded"] == 10
    embedder = Hashed()
    manifest = build_index([*chunks[2:], chunks[5]], tmp_path, embedder)
    assert manifest["changes"] == {"embedded": 2, "kept": 8, "removed": 2, "repeated": 1}
    assert sorted(embedder.texts) == sorted(chunk["text"] for chunk in chunks[10:])
    updated = open_hashed(tmp_path)
    assert [chunk["id"] for chunk in updated.chunks] == [chunk["id"] for chunk in chunks[2:]]
    for chunk, hits in zip(
        chunks[2:], updated.search([chunk["text"] for chunk in chunks[2:]], 1, "dense"), strict=True
    ):
        assert hits[0]["id"] == chunk["id"]
    fresh = tmp_path / "fresh"
    build_index(chunks[2:], fresh, Hashed())
    assert (fresh / "index.faiss").read_bytes() == (tmp_path / "index.faiss").read_bytes()


def test_appended_chunks_come_after_those_of_other_documents(tmp_path: Path) -> None:
    first = make_chunk("Otters eat fish.", source="otters.txt")
    second = make_chunk("Herons nest in trees.", source="herons.jsonl#1")
    manifest = build_index(
        [first, second], tmp_path, Hashed(), documents=[{"source": "otters.txt", "seen": 1}]
    )
    news = [
        make_chunk("Herons nest in reeds.", source="herons.jsonl#2"),
        make_chunk("Bats.", source="bats.txt"),
    ]
    added = append_chunks(tmp_path, manifest, news, [{"source": "bats.txt", "seen": 4}])
    assert (added.replaced, [row["source"] for row in added.documents]) == (
        ["herons.jsonl"],
        ["otters.txt", "bats.txt"],
    )
    embedder = Hashed()
    changes = build_index(added.chunks, tmp_path, embedder)["changes"]
    assert changes == {"embedded": 2, "kept": 1, "removed": 1, "repeated": 0}
    assert [chunk["text"] for chunk in open_index(tmp_path).chunks] == [
        "Otters eat fish.",
        "Herons nest in reeds.",
        "Bats.",
    ]
    assert "Otters eat fish." not in embedder.texts


def test_without_changes_the_files_stay_unchanged(tmp_path: Path) -> None:
    build_index(corpus(5), tmp_path, Hashed())
    before = contents(tmp_path)
    embedder = Hashed()
    assert build_index(corpus(5), tmp_path, embedder)["changes"]["kept"] == 5
    assert (embedder.texts, contents(tmp_path)) == ([], before)


def test_another_model_embeds_everything(tmp_path: Path) -> None:
    build_index(corpus(5), tmp_path, Hashed())
    other = Hashed("another", size=32)
    manifest = build_index(corpus(5), tmp_path, other)
    assert (len(other.texts), manifest["model"], manifest["dimensions"]) == (5, "another", 32)


def test_resumes_an_interrupted_build_and_leaves_the_old_index_intact(tmp_path: Path) -> None:
    chunks = corpus(30)
    build_index(chunks[:5], tmp_path, Hashed())
    with pytest.raises(KeyboardInterrupt):
        build_index(chunks, tmp_path, Hashed(stop_after=12))
    assert len(open_index(tmp_path).chunks) == 5
    with (tmp_path / "embedded.part").open("ab") as file:
        file.write(b"half a record")
    embedder = Hashed()
    manifest = build_index(chunks, tmp_path, embedder)
    assert len(embedder.texts) == 30 - 5 - 12
    assert manifest["chunks"] == 30
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "chunks.jsonl",
        "index.faiss",
        "manifest.json",
    ]
    fresh = tmp_path / "fresh"
    build_index(chunks, fresh, Hashed())
    assert (fresh / "index.faiss").read_bytes() == (tmp_path / "index.faiss").read_bytes()


def test_after_a_kill_at_any_step_the_index_is_the_old_or_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process is killed before each replacement of a file in turn."""

    class Killed(BaseException):
        pass

    real = os.replace
    sizes = []
    for replacements in range(20):
        folder = tmp_path / str(replacements)
        build_index(corpus(4), folder, Hashed())
        remaining = iter(range(replacements))

        def replace(source: Any, target: Any, remaining: Iterator[int] = remaining) -> None:
            if next(remaining, None) is None:
                raise Killed
            real(source, target)

        monkeypatch.setattr(os, "replace", replace)
        try:
            build_index(corpus(9), folder, Hashed())
            finished = True
        except Killed:
            finished = False
        monkeypatch.setattr(os, "replace", real)
        index = open_hashed(folder)
        sizes.append(len(index.chunks))
        assert len(index.search(["station"], 20, "dense")[0]) == sizes[-1] in (4, 9)
        # The next build repairs whatever is left.
        build_index(corpus(9), folder, Hashed())
        assert sorted(path.name for path in folder.iterdir()) == [
            "chunks.jsonl",
            "index.faiss",
            "manifest.json",
        ]
        assert len(open_index(folder).chunks) == 9
        if finished:
            break
    assert finished
    assert sizes == sorted(sizes), "the old index before one step, the new one after it"
    assert {4, 9} == set(sizes)


@pytest.mark.parametrize("name", ["index.faiss", "chunks.jsonl", "manifest.json"])
@pytest.mark.parametrize("damage", ["truncated", "changed", "missing"])
def test_reports_damage_in_one_line_that_names_the_file(tmp_path: Path, name: str, damage: str) -> None:
    build_index(corpus(5), tmp_path, Hashed())
    path = tmp_path / name
    content = path.read_bytes()
    if damage == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "changed":
        path.write_bytes(b"{" + content[:-1])
    else:
        path.unlink()
    with pytest.raises(UserError, match=name.replace(".", r"\.")) as error:
        open_index(tmp_path)
    assert "\n" not in str(error.value)


def test_rejects_files_of_another_index(tmp_path: Path) -> None:
    build_index(corpus(5), tmp_path / "a", Hashed())
    build_index(corpus(6), tmp_path / "b", Hashed())
    shutil.copy(tmp_path / "a" / "chunks.jsonl", tmp_path / "b" / "chunks.jsonl")
    with pytest.raises(UserError, match="does not belong to this index"):
        open_index(tmp_path / "b")


def test_rejects_a_model_with_other_dimensions(tmp_path: Path) -> None:
    build_index(corpus(5), tmp_path, Hashed())
    index = open_index(tmp_path)
    index.dense.embedder = Hashed(size=32)
    with pytest.raises(UserError, match="32 .*64"):
        index.search(["otter"], 1, "dense")


def test_does_not_overwrite_a_folder_that_is_not_an_index(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no index"):
        open_index(tmp_path)
    (tmp_path / "manifest.json").write_text('{"version": 1}', encoding="utf-8")  # a dataset's
    (tmp_path / "chunks.jsonl").write_text("{}", encoding="utf-8")
    with pytest.raises(UserError, match="something other than an index"):
        build_index(corpus(3), tmp_path, Hashed())
    assert (tmp_path / "chunks.jsonl").read_text(encoding="utf-8") == "{}"


def test_rejects_one_id_with_two_texts_and_an_empty_corpus(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the id x"):
        build_index([{**make_chunk("one"), "id": "x"}, {**make_chunk("two"), "id": "x"}], tmp_path, Hashed())
    with pytest.raises(UserError, match="no chunks"):
        build_index([], tmp_path, Hashed())


def test_counts_chunks_that_the_model_truncates(tmp_path: Path) -> None:
    chunks = corpus(6)
    assert all(chunk["tokens"] > 40 for chunk in chunks)
    assert build_index(chunks, tmp_path, Hashed())["cut"] == 6


def search_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have an index of over 300 chunks searched on disk, with lexical weights of several groups."""
    monkeypatch.setattr(vectors_module, "EXACT_UP_TO", 300)
    monkeypatch.setattr(weigh_module, "GROUP", 100)


@pytest.mark.parametrize("mode", ["lexical", "dense", "fused"])
def test_a_large_index_is_searched_on_disk_and_finds_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: Any
) -> None:
    chunks = corpus(400)
    queries = [" ".join(chunk["text"].split()[3:15]) for chunk in chunks[::9]]
    build_index(chunks, tmp_path / "small", Hashed(), sentences=True)
    search_on_disk(monkeypatch)
    manifest = build_index(chunks, tmp_path / "large", Hashed(), sentences=True)
    assert (manifest["kind"], manifest["chunks"]) == ("ivfpq", 400)
    small, large = open_hashed(tmp_path / "small"), open_hashed(tmp_path / "large")
    assert list(large.chunks) == chunks
    found, expected = large.search(queries, 3, mode), small.search(queries, 3, mode)
    pairs = [(hits[0], same[0]) for hits, same in zip(found, expected, strict=True)]
    assert np.mean([hit["id"] == same["id"] for hit, same in pairs]) > 0.9, "but for near ties"
    assert all(hit["score"] == pytest.approx(same["score"], rel=0.05) for hit, same in pairs)
    assert dict(large.lexical.count_texts()) == dict(small.lexical.count_texts())
    compared = [index.sentences.compare(["otter"], [[found[0][0]["text"]]]) for index in (small, large)]
    assert compared[0][0][0] == compared[1][0][0]
    np.testing.assert_allclose(compared[0][0][1], compared[1][0][1])


def test_an_index_grows_over_the_limit_and_shrinks_below_it_without_embedding_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search_on_disk(monkeypatch)
    chunks = corpus(400)
    build_index(chunks[:290], tmp_path, Hashed())
    embedder = Hashed()
    manifest = build_index(chunks, tmp_path, embedder)
    assert (manifest["kind"], len(embedder.texts)) == ("ivfpq", 110)
    embedder = Hashed()
    manifest = build_index(chunks[50:], tmp_path, embedder)
    assert (manifest["kind"], manifest["changes"]["removed"], embedder.texts) == ("ivfpq", 50, [])
    manifest = build_index(chunks[:200], tmp_path, embedder)
    assert (manifest["kind"], len(embedder.texts)) == ("exact", 50)
    assert len(open_hashed(tmp_path).search(["station"], 5)[0]) == 5
    assert {path.name for path in tmp_path.iterdir() if path.is_file()} == {
        "chunks.jsonl", "index.faiss", "manifest.json",
    }  # fmt: skip


def test_approximate_search_has_high_recall_and_is_reproducible() -> None:
    rng = np.random.default_rng(1)
    centres = rng.standard_normal((40, 64))

    def draw(count: int) -> np.ndarray:
        rows = centres[rng.integers(0, 40, count)] + rng.standard_normal((count, 64))
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

    vectors, queries = draw(8_000), draw(200)
    exact = np.argsort(-(queries @ vectors.T), axis=1)[:, :10]
    stored = DiskArray("float16", 64)
    stored.extend(vectors)
    index = compressed_index(stored)
    _, found = Refined(index, stored).search(queries, 10)
    recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found, exact, strict=True)])
    assert index.nprobe < index.nlist
    assert recall >= 0.95
    _, again = Refined(compressed_index(stored), stored).search(queries, 10)
    np.testing.assert_array_equal(found, again)


def test_many_threads_get_the_same_results_as_one(tmp_path: Path) -> None:
    """Use the real model, whose tokenizer is not thread-safe."""
    chunks = corpus(20)
    build_index(chunks, tmp_path, Embedder())
    index = open_index(tmp_path)
    found: dict[int, Any] = {}

    def ask(number: int) -> None:
        found[number] = index.search([chunks[number]["text"]], 3)[0]

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[number][0]["id"] for number in range(20)] == [chunk["id"] for chunk in chunks]


def test_the_sample_index_matches_the_sample_documents_and_questions() -> None:
    root = PROJECT
    index = open_index(root / "index")
    assert index.manifest["model"] == "all-MiniLM-L6-v2"
    for chunk in index.chunks:
        assert (root / "data" / "documents" / chunk["source"].partition("#")[0]).is_file()
    known = {chunk["id"] for chunk in index.chunks} | {chunk["source"] for chunk in index.chunks}
    for line in (
        (root / "flows" / "evaluate_retrieval" / "questions.jsonl").read_text(encoding="utf-8").splitlines()
    ):
        assert set(json.loads(line)["relevant"]) <= known
