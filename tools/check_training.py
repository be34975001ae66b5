"""Node: a dataset and settings → a checked fine-tuning spec."""

from pathlib import Path

from promptflow.core import tool

from tools.raft.finetune.backend import FineTuneSpec
from tools.raft.finetune.job import open_backend, spec_fields


@tool
def check_training(
    dataset: str,
    backend: str,
    model: str,
    api: str,
    epochs: float,
    learning_rate: float,
    batch_size: int,
    training_type: str = "",
) -> dict:
    """Check that the backend can train on the dataset; a 0 or an empty text is the backend's default."""
    spec = FineTuneSpec(
        dataset=Path(__file__).parent.parent / dataset,  # relative to the flow's folder, unless absolute
        model=model,
        api=api,
        epochs=epochs,
        learning_rate=learning_rate or None,
        batch_size=batch_size or None,
        training_type=training_type or None,
    )
    open_backend(backend, model, spec.dataset).check(spec)
    return spec_fields(spec)
