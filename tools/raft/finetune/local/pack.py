"""Pack examples into sequences to learn from: what they have in common is computed once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...raft_format import END_QUOTE, QUOTE

if TYPE_CHECKING:
    import torch

PACK_TOKENS = 1500  # in one sequence: no faster with more, and training takes 4 GB at this
CHOICE = 20  # characters of a quote by which it is chosen; what follows is copying
NOT_LEARNT = -100  # the label that cross-entropy leaves out


@dataclass(frozen=True)
class Example:
    """A prompt and the reply to learn, in tokens; weights of the reply's tokens in the loss."""

    prompt: list[int]
    reply: list[int]
    weights: list[float]


@dataclass(frozen=True)
class Pack:
    """Examples in one sequence: their common beginning once, and none sees another.

    Lists of equal length; labels are -100 and weights 0 where nothing is learnt. block: 0 for the
    shared beginning, 1… for the examples.
    """

    tokens: list[int]
    positions: list[int]
    labels: list[int]
    weights: list[float]
    block: list[int]

    @property
    def examples(self) -> int:
        """Count the examples in it."""
        return self.block[-1]

    @property
    def pieces(self) -> list[int]:
        """Count the tokens of the shared beginning, then of each example."""
        return [self.block.count(number) for number in range(self.examples + 1)]

    @property
    def weight(self) -> float:
        """Sum the weights of what is learnt."""
        return sum(self.weights)


def copied_spans(reply: str) -> list[tuple[int, int]]:
    """Find the characters of a reply that only copy: its quotes, past the beginning that chooses them."""
    return [(quote.start(1) + CHOICE, quote.end(1)) for quote in QUOTE.finditer(reply)]


def tokenise(
    messages: Sequence[Any],
    tokenizer: Any,
    copied: Iterable[tuple[int, int]] = (),
    copying: float = 1.0,
    *,
    drill: bool = False,
) -> Example:
    """Turn a chat into an example: all but its last message is the prompt, the last one is learnt.

    The model's own chat template says how a turn begins and ends, and its end is learnt as well.
    copied: spans of the reply, in characters, that weigh `copying` in the loss. A drill is learnt up to
    the end of its quote: what a rule answers with teaches no one to answer.
    """
    reply = messages[-1]["content"]
    prompt = tokenizer.apply_chat_template(list(messages[:-1]), tokenize=False, add_generation_prompt=True)
    whole = tokenizer.apply_chat_template(list(messages), tokenize=False)
    # A template may change what was said before, dropping reasoning, say: then the usual token ends it.
    kept = isinstance(whole, str) and whole.startswith(prompt + reply)
    ending = whole[len(prompt) + len(reply) :].rstrip() if kept else ""
    return tokenise_pair(prompt, reply, tokenizer, copied, copying, ending=ending, drill=drill)


def tokenise_pair(
    prompt: str,
    reply: str,
    tokenizer: Any,
    copied: Iterable[tuple[int, int]] = (),
    copying: float = 1.0,
    *,
    ending: str = "",
    drill: bool = False,
) -> Example:
    """Turn a prompt and a completion into an example; `ending` closes it, the usual token by default."""
    spans = list(copied)
    learnt_to = reply.rindex(END_QUOTE) + len(END_QUOTE) if drill else None
    encoded = tokenizer(
        reply + (ending or tokenizer.eos_token), add_special_tokens=False, return_offsets_mapping=True
    )
    learnt = [
        (token, copying if any(begin <= at < end for begin, end in spans) else 1.0)
        for token, (at, _) in zip(encoded.input_ids, encoded.offset_mapping, strict=True)
        if learnt_to is None or at < learnt_to
    ]
    return Example(
        list(tokenizer(prompt, add_special_tokens=False).input_ids),
        [token for token, _ in learnt],
        [weight for _, weight in learnt],
    )


def pack_examples(examples: Sequence[Example], *, limit: int, most: int = 64) -> Iterator[Pack]:
    """Pack examples in their order: as many together as fit `limit` tokens, `most` at most.

    Examples that begin alike should stand beside each other: a pack holds their common beginning once,
    and ends where the next one has less than half of its prompt in common. Runs of more than `most`
    are cut evenly. One that is longer than the limit stands alone.
    """
    for run in _runs(examples):
        packs = -(-len(run) // most)
        for i in range(packs):
            yield from _fill(run[i * len(run) // packs : (i + 1) * len(run) // packs], limit)


def _runs(examples: Sequence[Example]) -> Iterator[list[Example]]:
    """Cut examples where one and the next have too little in common to be computed together."""
    run: list[Example] = []
    for example in examples:
        prompt = example.prompt
        if run and _common(run[0].prompt, prompt, len(prompt)) < len(prompt) // 2:
            yield run
            run = []
        run.append(example)
    if run:
        yield run


def _fill(examples: Sequence[Example], limit: int) -> Iterator[Pack]:
    waiting: list[Example] = []
    shared = 0
    for example in examples:
        common = _common(waiting[0].prompt, example.prompt, shared) if waiting else len(example.prompt) - 1
        together = [*waiting, example]
        if waiting and _size(together, common) > limit:
            yield _join(waiting, shared)
            together, common = [example], len(example.prompt) - 1
        waiting, shared = together, common
    if waiting:
        yield _join(waiting, shared)


def _common(first: Sequence[int], other: Sequence[int], longest: int) -> int:
    """Count the tokens two prompts share at their beginning; the last of a prompt is never shared."""
    end = min(longest, len(first) - 1, len(other) - 1)
    return next((i for i in range(end) if first[i] != other[i]), end)


def _size(examples: Sequence[Example], shared: int) -> int:
    return shared + sum(len(e.prompt) + len(e.reply) - shared for e in examples)


def _join(examples: Sequence[Example], shared: int) -> Pack:
    beginning = examples[0].prompt[:shared]
    tokens, positions, block = list(beginning), list(range(shared)), [0] * shared
    labels, weights = [NOT_LEARNT] * shared, [0.0] * shared
    for number, example in enumerate(examples, start=1):
        own = example.prompt[shared:] + example.reply
        tokens += own
        positions += range(shared, shared + len(own))
        block += [number] * len(own)
        # The label stands where its token is predicted: one place earlier.
        silent = len(example.prompt) - shared - 1
        labels += [NOT_LEARNT] * silent + example.reply + [NOT_LEARNT]
        weights += [0.0] * silent + example.weights + [0.0]
    return Pack(tokens, positions, labels, weights, block)


def attention_mask(block: Sequence[int]) -> torch.Tensor:
    """Give the additive mask (1, 1, n, n): causal, and an example sees the beginning and itself only."""
    import torch

    blocks = torch.tensor(block)
    seen = (blocks[:, None] == blocks[None, :]) | (blocks[None, :] == 0)
    seen &= torch.ones(len(block), len(block), dtype=torch.bool).tril()
    return torch.zeros(seen.shape).masked_fill_(~seen, -30000.0)[None, None]


def pack_loss(model: Any, pack: Pack) -> torch.Tensor:
    """Compute the weighted cross-entropy summed over a pack; divide by `pack.weight` for the mean."""
    import torch

    device = next(model.parameters()).device
    hidden = model.model(
        input_ids=torch.tensor([pack.tokens], device=device),
        attention_mask=attention_mask(pack.block).to(device, model.dtype),
        position_ids=torch.tensor([pack.positions], device=device),
        use_cache=False,
        pieces=pack.pieces,
    ).last_hidden_state[0]
    labels = torch.tensor(pack.labels, device=device)
    weights = torch.tensor(pack.weights, device=device)
    kept = labels != NOT_LEARNT
    # The vocabulary is large: logits only where something is learnt.
    logits = model.lm_head(hidden[kept]).float()
    return torch.nn.functional.cross_entropy(logits, labels[kept], reduction="none") @ weights[kept]
