"""Trade time for memory on long packs: their blocks are computed again in the backward pass."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from typing import Any

KEPT_TOKENS = 3000  # up to which a pack's activations are kept


def recompute_long_packs(model: Any) -> None:
    """Let each decoder block of a transformers model keep only its input if a pack is long.

    That is gradient checkpointing (Chen et al. 2016, arXiv 1604.06174). That of transformers works only in
    training mode, in which a model with dropout drops.
    """
    for layer in model.model.layers:
        layer.forward = _recomputed(layer.forward)


def _recomputed(forward: Callable[..., Any]) -> Callable[..., Any]:
    import torch
    from torch.utils.checkpoint import checkpoint

    @wraps(forward)
    def wrapped(hidden_states: Any, **options: Any) -> Any:
        if hidden_states.shape[1] <= KEPT_TOKENS or not torch.is_grad_enabled():
            return forward(hidden_states, **options)
        return checkpoint(partial(forward, **options), hidden_states, use_reentrant=False)

    return wrapped
