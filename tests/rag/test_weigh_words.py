"""Weighing words: what it needs, and what it leaves alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_weighing_does_not_load_jax_where_it_is_installed(tmp_path: Path) -> None:
    (tmp_path / "jax").mkdir()
    (tmp_path / "jax" / "__init__.py").write_text("print('JAX takes the GPU')\n", encoding="utf-8")
    (tmp_path / "jax" / "lax.py").write_text("def top_k(*_): ...\n", encoding="utf-8")
    script = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from tools.raft.rag.weigh_words import weigh_words\n"
        "weights = weigh_words(['a bat flies', 'a fish swims'])\n"
        "print(len(weights.words), 'jax' in sys.modules)\n"
        "import jax"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split("\n")[:2] == ["5 False", "JAX takes the GPU"]
