"""Load what a local training needs: the model and its tokenizer, the packs, the settings."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from ...dataset.student import open_student
from ...errors import UserError, one_line
from ...files import read_object
from ...models.gguf_reading import reading_once
from ...models.weights import find_base, pretrained_source
from ..backend import CONFIG, FineTuneSpec
from ..lengths import refuse_long
from .pack import Pack
from .rows import PARTS, make_packs, measure_rows
from .train import TrainingConfig


def load_training(spec: FineTuneSpec) -> tuple[Any, list[Pack], list[Pack], TrainingConfig]:
    """Return the model of a spec, the packs to train on, those to validate on, and the settings."""
    from .attention import use_matrix_products

    base, _, rank = resolve_base(spec)
    with reading_once():
        refuse_long(measure_rows(spec, open_student(spec.model)))
        model, tokenizer = load_model(base)
    if next(model.parameters()).device.type == "cpu":
        use_matrix_products(model)
    config = TrainingConfig(
        epochs=spec.epochs,
        learning_rate=spec.learning_rate or TrainingConfig.learning_rate,
        rank=rank,
        batch=spec.batch_size or TrainingConfig.batch,
        seed=spec.seed,
    )
    # Rows about the same documents stay together, even if that makes some batches larger.
    max_examples = 2 * config.batch
    train, valid = (list(make_packs(spec, parts, tokenizer, max_examples)) for parts in (PARTS, ("valid",)))
    return model, train, valid, config


def resolve_base(spec: FineTuneSpec) -> tuple[Path, Path | None, int]:
    """Return the base model, the adapter to start from (if any: a folder or a GGUF file), and the rank.

    Raises UserError if either is missing, or if the spec's rank differs from the adapter's.
    """
    base, start = find_base(spec.model), Path(spec.model)
    if (start / CONFIG).is_file():
        rank = int(read_object(start / CONFIG).get("r", 0))
    elif start.is_file() and start != base:  # find_base found that it is an adapter
        from .import_gguf import adapter_rank

        rank = adapter_rank(start)
    else:
        return base, None, spec.rank or TrainingConfig.rank
    if spec.rank not in (None, rank):
        raise UserError(f"{start} holds an adapter of rank {rank}, which cannot be changed: omit --rank")
    return base, start, rank


def load_model(base: Path) -> tuple[Any, Any]:
    """Load model and tokenizer for training, in bfloat16 if that is faster than float32 on this machine."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    device = "cuda" if torch.cuda.is_available() else "cpu"
    source = pretrained_source(base)
    try:
        with reading_once():
            tokenizer = AutoTokenizer.from_pretrained(**source)
            model: Any = AutoModelForCausalLM.from_pretrained(**source, dtype=_faster_dtype(device))
    except (OSError, ValueError) as error:
        raise UserError(f"{base} cannot be loaded: {one_line(error)}") from None
    return model.to(device), tokenizer


def _faster_dtype(device: str) -> Any:
    """Return bfloat16 or float32, whichever multiplies matrices faster in a short benchmark."""
    import torch

    def seconds(dtype: Any) -> float:
        matrix = torch.ones(768, 768, dtype=dtype, device=device)
        best = float("inf")
        for _ in range(5):
            started = time.perf_counter()
            float((matrix @ matrix)[0, 0])
            best = min(best, time.perf_counter() - started)
        return best

    return torch.bfloat16 if seconds(torch.bfloat16) < seconds(torch.float32) else torch.float32
