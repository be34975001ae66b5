"""Decoder blocks of the Llama family with LoRA, both passes written out for training on a CPU in float32.

Four things make them faster than the modules of transformers with LoRA layers in them. The pairs are merged
into the weights once per step, so that both passes are few, large matrix products: one for the three
projections of attention, one for the gate and the up projection. Scores that no token looks at, those of
later tokens and of other examples, are hardly computed. What the backward pass needs is in buffers that all
packs share: no memory is given back to the system, and zeroed by it again, several times per block. And each
block passes on the gradients of the tokens that matter, see GRADIENT_ROWS.

Shapes: n tokens, d hidden size, f size of the MLP, k key heads of g query heads each, s head size, r rank.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from . import recompute

QUERIES = 256  # tokens per block of attention: more compute masked scores, fewer make small products
# The share of tokens whose gradients a block computes; those of the others skip it, unchanged. The reply,
# and what it looks at in the documents, have most of the gradient: with a third of the tokens, that of the
# LoRA pairs keeps its direction (cosine .96) and nine tenths of its length. After Wang et al. 2024 (arXiv
# 2402.17227), who draw the tokens at random; so many blocks make the variance of that explode.
GRADIENT_ROWS = 1 / 3


def fuse_blocks(model: Any) -> bool:
    """Replace the decoder blocks of a model with LoRA layers by FusedBlocks; return whether they can be."""
    config = model.config
    layers = model.model.layers
    biased = any(getattr(module, "bias", None) is not None for module in layers.modules())
    if config.model_type != "llama" or config.hidden_act != "silu" or biased:
        return False
    buffers = Buffers(model.dtype)
    for i, layer in enumerate(layers):
        layers[i] = FusedBlock(layer, f"block {i}", buffers, last=i == len(layers) - 1)
    return True


class Buffers:
    """Memory by name, shared by all packs."""

    def __init__(self, dtype: torch.dtype) -> None:
        self._dtype = dtype
        self._flat: dict[str, Tensor] = {}

    def __call__(self, name: str, *shape: int) -> Tensor:
        """Return uninitialised memory of this shape, valid until the name is asked for again."""
        size = math.prod(shape)
        flat = self._flat.get(name)
        if flat is None or flat.numel() < size:
            self._flat.pop(name, None)  # before the larger one is allocated
            flat = self._flat[name] = torch.empty(size, dtype=self._dtype)
        return flat[:size].view(shape)


class Projection:
    """Linear layers of the same input as one product, with their LoRA pairs merged into the weight."""

    def __init__(self, layers: Sequence[Any], buffers: Buffers) -> None:
        self.layers = layers
        self.sizes = [layer.base.out_features for layer in layers]
        self.rank = layers[0].lora_a.shape[0]
        self.weight = torch.cat([layer.base.weight for layer in layers])  # (out, in)
        self._versions: list[int] = []
        self._buffers = buffers

    @property
    def parameters(self) -> list[Tensor]:
        """Return the pairs, in the order of `gradients`."""
        return [p for layer in self.layers for p in (layer.lora_a, layer.lora_b)]

    @torch.no_grad()
    def merge(self) -> None:
        """Add the pairs' products to the base weights, if a pair has changed since."""
        versions = [p._version for p in self.parameters]
        if versions != self._versions:
            for rows, layer in zip(self.weight.split(self.sizes), self.layers, strict=True):
                torch.addmm(layer.base.weight, layer.lora_b, layer.lora_a, out=rows)
            self._versions = versions

    def forward(self, x: Tensor, out: Tensor) -> Tensor:
        """Compute x W' for x (n, in) into out (n, out)."""
        return torch.mm(x, self.weight.t(), out=out)

    def gradients(self, x: Tensor, grad: Tensor) -> list[Tensor]:
        """Compute the gradients of the pairs from the input (n, in) and the output's gradient (n, out)."""
        n, rank, pairs = len(x), self.rank, []
        lora_a = torch.cat([layer.lora_a for layer in self.layers])
        low = torch.mm(x, lora_a.t(), out=self._buffers("low", n, len(lora_a)))
        low_grad = self._buffers("low grad", n, len(lora_a))
        parts = grad.split(self.sizes, dim=1)
        for i, (layer, part) in enumerate(zip(self.layers, parts, strict=True)):
            columns = slice(i * rank, (i + 1) * rank)
            low_grad[:, columns] = part @ layer.lora_b
            pairs.append(part.t() @ low[:, columns])
        a_grads = (low_grad.t() @ x).split(rank)
        return [grad for pair in zip(a_grads, pairs, strict=True) for grad in pair]


class FusedBlock(torch.nn.Module):
    """A decoder block; its forward pass takes what transformers passes to a LlamaDecoderLayer."""

    def __init__(self, layer: Any, name: str, buffers: Buffers, *, last: bool) -> None:
        super().__init__()
        self.layer = layer  # keeps its parameters registered
        self.name, self.memory, self.last = name, buffers, last
        attention, mlp = layer.self_attn, layer.mlp
        self.qkv = Projection([attention.q_proj, attention.k_proj, attention.v_proj], buffers)
        self.out = Projection([attention.o_proj], buffers)
        self.gate_up = Projection([mlp.gate_proj, mlp.up_proj], buffers)
        self.down = Projection([mlp.down_proj], buffers)
        self.head_size = attention.head_dim
        self.key_heads = attention.k_proj.base.out_features // self.head_size
        self.group = attention.q_proj.base.out_features // attention.k_proj.base.out_features

    def forward(
        self,
        hidden_states: Tensor,
        *,
        position_embeddings: tuple[Tensor, Tensor],
        segment_lengths: Sequence[int],
        labelled: Tensor,
        **_: Any,
    ) -> Tensor:
        """Compute the block for one pack: (1, n, d) to (1, n, d).

        labelled: the indices of the tokens that have a loss; the last block computes no others.
        """
        projections = (self.qkv, self.out, self.gate_up, self.down)
        parameters = [p for projection in projections for p in projection.parameters]
        for projection in projections:
            projection.merge()
        half = self.head_size // 2
        rotation = tuple(part[0, :, None, :half] for part in position_embeddings)
        rows = labelled if self.last else None
        y = _Block.apply(hidden_states[0], self, rotation, segment_lengths, rows, *parameters)
        return y[None]


class Saved(NamedTuple):
    """What the backward pass of a block needs; m rows are computed behind the keys and values."""

    x: Tensor  # (n, d), the input
    q: Tensor  # (k, n g, s), rotated and scaled
    k: Tensor  # (k, n, s), rotated
    v: Tensor  # (k, n, s)
    attended: Tensor  # (m, k g s)
    middle: Tensor  # (m, d), between attention and MLP
    gate_up: Tensor  # (m, 2 f)


class _Block(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, block: Any, rotation: Any, lengths: Any, rows: Any, *_: Tensor
    ) -> Tensor:
        ctx.block, ctx.rotation, ctx.lengths, ctx.rows = block, rotation, lengths, rows
        keep = len(x) <= recompute.KEPT_TOKENS
        y, saved = _forward(block, x, rotation, lengths, rows, block.name if keep else "every block")
        ctx.saved, ctx.x = saved if keep else None, x
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        block, rotation, lengths, rows = ctx.block, ctx.rotation, ctx.lengths, ctx.rows
        saved = ctx.saved or _forward(block, ctx.x, rotation, lengths, rows, "every block")[1]
        x_grad, parameter_grads = _backward(block, saved, grads[0], rotation, lengths, rows)
        return x_grad if ctx.needs_input_grad[0] else None, None, None, None, None, *parameter_grads


def _forward(
    block: FusedBlock, x: Tensor, rotation: Any, lengths: Sequence[int], rows: Tensor | None, name: str
) -> tuple[Tensor, Saved]:
    """Compute the output of a block; what the backward pass needs is in buffers of this name.

    rows: the sorted indices of the m tokens to compute, by default all; the output of the others is 0.
    """
    buffers, n, layer = block.memory, len(x), block.layer
    key_heads, group, size = block.key_heads, block.group, block.head_size
    normed = _normalise(x, layer.input_layernorm, buffers("normed", *x.shape))[0]
    qkv = block.qkv.forward(normed, buffers("qkv", n, sum(block.qkv.sizes)))
    queries, keys, values = qkv.split(block.qkv.sizes, dim=1)
    q = buffers(f"{name} q", key_heads, n, group, size)
    k = buffers(f"{name} k", key_heads, n, 1, size)
    v = buffers(f"{name} v", key_heads, n, size)
    scale = size**-0.5
    _rotate(queries.view(n, key_heads, group, size).transpose(0, 1), rotation, q, scale)
    _rotate(keys.view(n, key_heads, 1, size).transpose(0, 1), rotation, k)
    v.copy_(values.view(n, key_heads, size).transpose(0, 1))
    q, k = q.view(key_heads, n * group, size), k.view(key_heads, n, size)

    skipped = x if rows is None else x[rows]
    m = len(skipped)
    attended = buffers(f"{name} attended", m, key_heads, group, size)
    for piece, part, chosen in _queries(lengths, rows):
        piece_q = q.view(key_heads, n, group, size)[:, chosen].view(key_heads, -1, size)
        weights, _, piece_v = _weights(block, piece_q, k, v, piece, chosen)
        found = torch.bmm(weights, piece_v, out=buffers("found", *weights.shape[:2], size))
        attended[part] = found.view(key_heads, -1, group, size).transpose(0, 1)
    attended = attended.view(m, -1)
    middle = buffers(f"{name} middle", *skipped.shape)
    block.out.forward(attended, middle).add_(skipped)
    normed = _normalise(middle, layer.post_attention_layernorm, buffers("normed", *middle.shape))[0]
    gate_up = block.gate_up.forward(normed, buffers(f"{name} gate_up", m, sum(block.gate_up.sizes)))
    gate, up = gate_up.chunk(2, dim=1)
    inner = torch.ops.aten.silu.out(gate, out=buffers("inner", *gate.shape)).mul_(up)
    y = block.down.forward(inner, torch.empty_like(middle)).add_(middle)
    if rows is not None:
        y = torch.zeros_like(x).index_copy_(0, rows, y)
    return y, Saved(x, q, k, v, attended, middle, gate_up)


def _backward(
    block: FusedBlock,
    saved: Saved,
    grad: Tensor,
    rotation: Any,
    lengths: Sequence[int],
    rows: Tensor | None,
) -> tuple[Tensor, list[Tensor]]:
    """Compute the gradients of a block's input and of its LoRA pairs from that of its output (n, d)."""
    buffers, n, layer = block.memory, len(grad), block.layer
    key_heads, group, size = block.key_heads, block.group, block.head_size
    computed: Any = slice(None)  # all that the forward pass computed
    if rows is None:
        rows = computed = _largest_rows(grad)
    row_grad = grad[rows]
    # MLP
    gate, up = saved.gate_up[computed].chunk(2, dim=1)
    inner_grad = torch.mm(row_grad, block.down.weight, out=buffers("inner grad", *gate.shape))
    silu = torch.ops.aten.silu.out(gate, out=buffers("silu", *gate.shape))
    inner = torch.mul(silu, up, out=buffers("inner", *gate.shape))
    down_pairs = block.down.gradients(inner, row_grad)
    gate_up_grad = buffers("gate_up grad", len(rows), 2 * gate.shape[1])
    gate_grad, up_grad = gate_up_grad.chunk(2, dim=1)
    torch.mul(inner_grad, silu, out=up_grad)
    inner_grad.mul_(up)
    torch.ops.aten.silu_backward.grad_input(inner_grad, gate, grad_input=gate_grad)
    norm, middle = layer.post_attention_layernorm, saved.middle[computed]
    normed, factor = _normalise(middle, norm, buffers("normed", *middle.shape))
    gate_up_pairs = block.gate_up.gradients(normed, gate_up_grad)
    normed_grad = torch.mm(gate_up_grad, block.gate_up.weight, out=buffers("normed grad", *middle.shape))
    row_grad += _normalise_backward(normed_grad, middle, factor, norm)
    x_grad = grad.index_copy(0, rows, row_grad)
    # attention
    attended = saved.attended[computed]
    out_pairs = block.out.gradients(attended, row_grad)
    attended_grad = torch.mm(row_grad, block.out.weight, out=buffers("attended grad", *attended.shape))
    found_grad = attended_grad.view(-1, key_heads, group, size).transpose(0, 1)
    q_grad = buffers("q grad", *saved.q.shape).zero_()
    k_grad = buffers("k grad", *saved.k.shape).zero_()
    v_grad = buffers("v grad", *saved.v.shape).zero_()
    for piece, part, chosen in _queries(lengths, rows):
        q = saved.q.view(key_heads, n, group, size)[:, chosen].view(key_heads, -1, size)
        weights, piece_k, piece_v = _weights(block, q, saved.k, saved.v, piece, chosen)
        piece_grad = found_grad[:, part].reshape(q.shape)
        _add(v_grad, piece, weights.transpose(1, 2) @ piece_grad)
        weights_grad = torch.bmm(piece_grad, piece_v.transpose(1, 2), out=buffers("scores", *weights.shape))
        scores_grad = torch.ops.aten._softmax_backward_data.out(
            weights_grad, weights, -1, weights.dtype, grad_input=buffers("scores grad", *weights.shape)
        )
        piece_q_grad = (scores_grad @ piece_k).view(key_heads, -1, group, size)
        q_grad.view(key_heads, n, group, size)[:, chosen] = piece_q_grad
        _add(k_grad, piece, scores_grad.transpose(1, 2) @ q)
    qkv_grad = buffers("qkv", n, sum(block.qkv.sizes))
    queries, keys, values = qkv_grad.split(block.qkv.sizes, dim=1)
    cos, sin = rotation
    back = (cos, -sin)
    _rotate(
        q_grad.view(key_heads, n, group, size),
        back,
        queries.view(n, key_heads, group, size).transpose(0, 1),
        size**-0.5,
    )
    _rotate(k_grad.view(key_heads, n, 1, size), back, keys.view(n, key_heads, 1, size).transpose(0, 1))
    values.view(n, key_heads, size).transpose(0, 1).copy_(v_grad)
    rows = _largest_rows(qkv_grad)
    qkv_grad, x = qkv_grad[rows], saved.x[rows]
    norm = layer.input_layernorm
    normed, factor = _normalise(x, norm, buffers("normed", *x.shape))
    qkv_pairs = block.qkv.gradients(normed, qkv_grad)
    normed_grad = torch.mm(qkv_grad, block.qkv.weight, out=buffers("normed grad", *x.shape))
    x_grad.index_add_(0, rows, _normalise_backward(normed_grad, x, factor, norm))
    return x_grad, [*qkv_pairs, *out_pairs, *gate_up_pairs, *down_pairs]


def _largest_rows(grad: Tensor) -> Tensor:
    """Return the sorted indices of the share GRADIENT_ROWS of rows with the largest norms."""
    norms = torch.linalg.vector_norm(grad, dim=1, dtype=torch.float32)
    return norms.topk(math.ceil(GRADIENT_ROWS * len(grad))).indices.sort().values


def _normalise(x: Tensor, norm: Any, out: Tensor) -> tuple[Tensor, Tensor]:
    """Compute RMSNorm (Zhang & Sennrich 2019) into out; also return the factor of each row, (n, 1)."""
    length = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
    factor = torch.rsqrt(length.square() / x.shape[-1] + norm.variance_epsilon).to(x.dtype)
    return torch.mul(x, factor, out=out).mul_(norm.weight), factor


def _normalise_backward(grad: Tensor, x: Tensor, factor: Tensor, norm: Any) -> Tensor:
    """Compute the gradient of RMSNorm's input; overwrites grad."""
    grad.mul_(norm.weight)
    along = (grad * x).mean(dim=-1, keepdim=True) * factor.square()
    return grad.sub_(x * along).mul_(factor).clone()


def _rotate(x: Tensor, rotation: tuple[Tensor, Tensor], out: Tensor, scale: float = 1.0) -> None:
    """Apply rotary position embeddings (Su et al. 2021) to x (k, n, g, s); rotation: (n, 1, s/2) each."""
    cos, sin = (part * scale for part in rotation)
    (first, second), (out_first, out_second) = x.chunk(2, dim=-1), out.chunk(2, dim=-1)
    torch.mul(first, cos, out=out_first).addcmul_(second, sin, value=-1)
    torch.mul(second, cos, out=out_second).addcmul_(first, sin)


class Piece(NamedTuple):
    """Queries start to stop, which attend to the keys up to `prefix` and to those from `first` to stop."""

    start: int
    stop: int
    prefix: int
    first: int


def _pieces(lengths: Sequence[int]) -> Iterator[Piece]:
    """Divide the segments of a pack into blocks of queries; the first segment is the shared prefix."""
    first = 0
    for i, length in enumerate(lengths):
        for start in range(first, first + length, QUERIES):
            yield Piece(start, min(start + QUERIES, first + length), lengths[0] if i else 0, first)
        first += length


def _queries(lengths: Sequence[int], rows: Tensor | None) -> Iterator[tuple[Piece, slice, Any]]:
    """Yield pieces, and of their queries that are in `rows` (sorted) the places there and the indices."""
    pieces = list(_pieces(lengths))
    if rows is None:
        for piece in pieces:
            every = slice(piece.start, piece.stop)
            yield piece, every, every
        return
    bounds = torch.searchsorted(rows, torch.tensor([(piece.start, piece.stop) for piece in pieces])).tolist()
    for piece, (start, stop) in zip(pieces, bounds, strict=True):
        if start < stop:
            yield piece, slice(start, stop), rows[start:stop]


def _weights(
    block: FusedBlock, queries: Tensor, k: Tensor, v: Tensor, piece: Piece, chosen: Any
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute attention weights (k, m g, keys) of a piece's queries; return its keys and values, too.

    chosen: the slice or the m indices of the tokens that the queries are of.
    """
    buffers, group = block.memory, block.group
    start, stop, prefix, first = piece
    if prefix == first:
        keys, values = k[:, :stop], v[:, :stop]
    else:
        shape = (len(k), prefix + stop - first, k.shape[2])
        keys, values = buffers("keys", *shape), buffers("values", *shape)
        for source, out in ((k, keys), (v, values)):
            out[:, :prefix], out[:, prefix:] = source[:, :prefix], source[:, first:stop]
    m = stop - start
    scores = torch.bmm(
        queries, keys.transpose(1, 2), out=buffers("scores", *queries.shape[:2], keys.shape[1])
    )
    own = slice(None) if isinstance(chosen, slice) else chosen - start
    scores.view(len(k), -1, group, scores.shape[2])[..., -m:].add_(_later(m, scores.dtype)[own])
    weights = torch.ops.aten._softmax.out(scores, -1, False, out=buffers("weights", *scores.shape))
    return weights, keys, values


def _add(total: Tensor, piece: Piece, part: Tensor) -> None:
    """Add the gradient of a piece's keys or values to that of all."""
    total[:, : piece.prefix] += part[:, : piece.prefix]
    total[:, piece.first : piece.stop] += part[:, piece.prefix :]


_MASKS: dict[Any, Tensor] = {}


def _later(m: int, dtype: torch.dtype) -> Tensor:
    """Return the additive mask (m, 1, m) that hides later tokens."""
    if (m, dtype) not in _MASKS:
        _MASKS[m, dtype] = torch.full((m, m), -torch.inf, dtype=dtype).triu(1)[:, None]
    return _MASKS[m, dtype]
