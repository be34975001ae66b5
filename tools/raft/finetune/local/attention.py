"""Attention as plain matrix products, by segment: faster than PyTorch's kernel for training on CPU."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

NAME = "matrix_products"
MAX_QUERIES = 1024  # beyond this the n x n scores no longer fit the caches, and PyTorch's kernel is faster
MAX_MASK = 4_000_000  # elements of a mask that is kept


def use_matrix_products(model: Any) -> None:
    """Switch a transformers model to this attention; its attention mask has to be additive."""
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
    segment_lengths: Sequence[int] = (),
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Compute softmax(q k' * scaling + mask) v, with one product for the query heads that share a key.

    query (b, heads, n, d), key and value (b, key heads, n, d), mask (b or 1, 1, n, n); returns
    (b, n, heads, d) and None, as transformers' attention functions do. segment_lengths sum to n: the first
    segment is the prefix that all others attend to, and no other segment attends to another. If they are
    given, the mask is ignored and scores between those others are not computed.
    """
    import torch

    if not segment_lengths:
        out = _attend(query, key, value, attention_mask, scaling)
        return out.transpose(1, 2).contiguous(), None
    # Split instead of sliced: the gradient of each slice would be as large as the whole tensor.
    (query, *queries), (key, *keys), (value, *values) = (
        x.split(segment_lengths, dim=2) for x in (query, key, value)
    )
    prefix = key.shape[2]
    outputs = []
    if prefix > MAX_QUERIES:
        outputs.append(
            torch.nn.functional.scaled_dot_product_attention(
                query, key, value, is_causal=True, scale=scaling, enable_gqa=True
            )
        )
    elif prefix:
        mask = _causal_mask(prefix, 0, key.dtype, key.device)
        outputs.append(_attend(query, key, value, mask, scaling))
    for q, k, v in zip(queries, keys, values, strict=True):
        mask = _causal_mask(q.shape[2], prefix, key.dtype, key.device)
        outputs.append(_attend(q, torch.cat([key, k], dim=2), torch.cat([value, v], dim=2), mask, scaling))
    return torch.cat(outputs, dim=2).transpose(1, 2).contiguous(), None


def _attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor, scaling: float
) -> torch.Tensor:
    """Compute attention of m queries over n keys under a mask (…, m, n); returns (b, heads, m, d)."""
    import torch

    batch, heads, m, size = query.shape
    key_heads, n = key.shape[1:3]
    if m > MAX_QUERIES:
        return torch.nn.functional.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, scale=scaling, enable_gqa=True
        )
    grouped = (query * scaling).reshape(batch, key_heads, heads // key_heads * m, size)
    scores = (grouped @ key.transpose(2, 3)).view(batch, heads, m, n) + mask
    weights = torch.softmax(scores, dim=-1).view(batch, key_heads, heads // key_heads * m, n)
    return (weights @ value).view(batch, heads, m, size)


def _causal_mask(m: int, prefix: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Return an additive mask (m, prefix + m), a small one from the cache."""
    small = m * (prefix + m) <= MAX_MASK
    return (_kept_mask if small else _make_mask)(m, prefix, dtype, device)


def _make_mask(m: int, prefix: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Return an additive mask (m, prefix + m): a query sees the whole prefix and its own past."""
    import torch

    mask = torch.full((m, m), -30000.0, dtype=dtype, device=device).triu(1)
    return torch.nn.functional.pad(mask, (prefix, 0))


_kept_mask = lru_cache(maxsize=64)(_make_mask)
