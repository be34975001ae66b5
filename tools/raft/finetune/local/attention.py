"""Attend with plain matrix products, piece by piece: in training on processors, faster than PyTorch does."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

NAME = "matrix_products"
LONGEST = 1024  # tokens; beyond, the n x n scores no longer fit the caches and the kernel is faster


def use_matrix_products(model: Any) -> None:
    """Have a model of transformers attend this way; its attention mask has to be additive."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, attend)
    model.set_attn_implementation(NAME)


def attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor,
    scaling: float,
    *,
    pieces: Sequence[int] = (),
    **rest: Any,
) -> tuple[torch.Tensor, None]:
    """Compute softmax(q k' * scaling + mask) v, query heads that share a key in one product.

    query (b, heads, n, d), key and value (b, key heads, n, d), mask (b or 1, 1, n, n); gives
    (b, n, heads, d). The interface is that of transformers' attention functions. pieces: lengths that
    sum to n, the first the beginning that all others see, and no other piece sees another; with them
    nothing is computed that the mask would take out again, and the mask is not looked at.
    """
    import torch

    if not pieces:
        out = _attend(query, key, value, attention_mask, scaling)
        return out.transpose(1, 2).contiguous(), None
    # Split, not sliced: the gradient of every slice would be as large as the whole.
    (query, *queries), (key, *keys), (value, *values) = (x.split(pieces, dim=2) for x in (query, key, value))
    shared = key.shape[2]
    parts = [_attend(query, key, value, _causal(shared, 0, key.dtype, key.device), scaling)] if shared else []
    for q, k, v in zip(queries, keys, values, strict=True):
        mask = _causal(q.shape[2], shared, key.dtype, key.device)
        parts.append(_attend(q, torch.cat([key, k], dim=2), torch.cat([value, v], dim=2), mask, scaling))
    return torch.cat(parts, dim=2).transpose(1, 2).contiguous(), None


def _attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor, scaling: float
) -> torch.Tensor:
    """Attend from m queries to n keys under a mask (…, m, n); gives (b, heads, m, d)."""
    import torch

    batch, heads, m, size = query.shape
    keys, n = key.shape[1:3]
    if m > LONGEST:
        return torch.nn.functional.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, scale=scaling, enable_gqa=True
        )
    grouped = (query * scaling).reshape(batch, keys, heads // keys * m, size)
    scores = (grouped @ key.transpose(2, 3)).view(batch, heads, m, n) + mask
    shares = torch.softmax(scores, dim=-1).view(batch, keys, heads // keys * m, n)
    return (shares @ value).view(batch, heads, m, size)


@lru_cache(maxsize=64)
def _causal(m: int, before: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Give the additive mask (m, before + m): a query sees all that is before, and its own past."""
    import torch

    mask = torch.full((m, m), -30000.0, dtype=dtype, device=device).triu(1)
    return torch.nn.functional.pad(mask, (before, 0))
