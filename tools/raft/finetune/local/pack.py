"""Pack training examples into sequences, so that a prefix they share is computed once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...raft_format import END_QUOTE, QUOTE

if TYPE_CHECKING:
    import torch

PACK_TOKENS = 1500  # per sequence: more is not faster, and training takes 4 GB at this size
QUOTE_PREFIX = 20  # characters at the start of a quote that select it; the rest is copying
IGNORE_INDEX = -100  # the label that cross-entropy ignores


@dataclass(frozen=True)
class Example:
    """Token ids of a prompt and of the reply to learn, and the loss weights of the reply's tokens."""

    prompt: list[int]
    reply: list[int]
    weights: list[float]


@dataclass(frozen=True)
class Pack:
    """Examples in one sequence: their shared prefix once, and no example attends to another.

    Lists of equal length; labels are -100 and weights 0 where there is no loss. segment_ids: 0 for the
    shared prefix, 1… for the examples.
    """

    tokens: list[int]
    positions: list[int]
    labels: list[int]
    weights: list[float]
    segment_ids: list[int]

    @property
    def examples(self) -> int:
        """Return the number of examples."""
        return self.segment_ids[-1]

    @property
    def segment_lengths(self) -> list[int]:
        """Return the number of tokens of the shared prefix, then of each example."""
        return [self.segment_ids.count(i) for i in range(self.examples + 1)]

    @property
    def weight(self) -> float:
        """Return the sum of the loss weights."""
        return sum(self.weights)


def copied_spans(reply: str) -> list[tuple[int, int]]:
    """Return the character spans of a reply that only copy: its quotes after their first QUOTE_PREFIX."""
    return [(quote.start(1) + QUOTE_PREFIX, quote.end(1)) for quote in QUOTE.finditer(reply)]


def tokenise(
    messages: Sequence[Any],
    tokenizer: Any,
    copied: Iterable[tuple[int, int]] = (),
    copy_weight: float = 1.0,
    *,
    drill: bool = False,
) -> Example:
    """Tokenise a chat: its last message is the reply to learn, the messages before it are the prompt.

    The model's chat template decides how a turn begins and ends; the end of the turn is learnt as well.
    copied: character spans of the reply that weigh `copy_weight` in the loss. A drill is learnt up to the
    end of its quote, because its rule-made answer is not an example to follow.
    """
    reply = messages[-1]["content"]
    prompt = tokenizer.apply_chat_template(list(messages[:-1]), tokenize=False, add_generation_prompt=True)
    whole = tokenizer.apply_chat_template(list(messages), tokenize=False)
    # A template may rewrite earlier turns, for example drop their reasoning: then eos_token ends the reply.
    unchanged = isinstance(whole, str) and whole.startswith(prompt + reply)
    ending = whole[len(prompt) + len(reply) :].rstrip() if unchanged else ""
    return tokenise_pair(prompt, reply, tokenizer, copied, copy_weight, ending=ending, drill=drill)


def tokenise_pair(
    prompt: str,
    reply: str,
    tokenizer: Any,
    copied: Iterable[tuple[int, int]] = (),
    copy_weight: float = 1.0,
    *,
    ending: str = "",
    drill: bool = False,
) -> Example:
    """Tokenise a prompt and a completion; `ending` closes the completion, by default the eos_token."""
    spans = list(copied)
    # A drill without a quote is a refusal, which is learnt whole.
    end = reply.rindex(END_QUOTE) + len(END_QUOTE) if drill and END_QUOTE in reply else None
    encoded = tokenizer(
        reply + (ending or tokenizer.eos_token), add_special_tokens=False, return_offsets_mapping=True
    )
    learnt = [
        (token, copy_weight if any(start <= offset < stop for start, stop in spans) else 1.0)
        for token, (offset, _) in zip(encoded.input_ids, encoded.offset_mapping, strict=True)
        if end is None or offset < end
    ]
    return Example(
        list(tokenizer(prompt, add_special_tokens=False).input_ids),
        [token for token, _ in learnt],
        [weight for _, weight in learnt],
    )


def pack_examples(examples: Sequence[Example], *, max_tokens: int, max_examples: int = 64) -> Iterator[Pack]:
    """Pack examples in their order: as many per pack as fit `max_tokens` and `max_examples`.

    Examples with a common prefix should be adjacent: a pack holds the prefix once, and ends before an
    example that shares less than half of its prompt. Runs of more than `max_examples` are divided evenly.
    An example of more than `max_tokens` gets a pack of its own.
    """
    for run in _runs(examples):
        packs = -(-len(run) // max_examples)
        for i in range(packs):
            yield from _fill(run[i * len(run) // packs : (i + 1) * len(run) // packs], max_tokens)


def _runs(examples: Sequence[Example]) -> Iterator[list[Example]]:
    """Split examples into runs that share enough of their prompts to be packed together."""
    run: list[Example] = []
    for example in examples:
        prompt = example.prompt
        if run and _common_prefix(run[0].prompt, prompt, len(prompt)) < len(prompt) // 2:
            yield run
            run = []
        run.append(example)
    if run:
        yield run


def _fill(examples: Sequence[Example], max_tokens: int) -> Iterator[Pack]:
    """Pack a run greedily, in its order."""
    group: list[Example] = []
    prefix = 0
    for example in examples:
        longest = len(example.prompt) - 1
        common = _common_prefix(group[0].prompt, example.prompt, prefix) if group else longest
        extended = [*group, example]
        if group and _packed_size(extended, common) > max_tokens:
            yield _join(group, prefix)
            extended, common = [example], longest
        group, prefix = extended, common
    if group:
        yield _join(group, prefix)


def _common_prefix(first: Sequence[int], other: Sequence[int], longest: int) -> int:
    """Return the length of the common prefix of two prompts; the last token is never shared."""
    end = min(longest, len(first) - 1, len(other) - 1)
    return next((i for i in range(end) if first[i] != other[i]), end)


def _packed_size(examples: Sequence[Example], prefix: int) -> int:
    return prefix + sum(len(e.prompt) + len(e.reply) - prefix for e in examples)


def _join(examples: Sequence[Example], prefix: int) -> Pack:
    """Join examples that share the first `prefix` tokens of their prompts into one pack."""
    tokens, positions, segment_ids = examples[0].prompt[:prefix], list(range(prefix)), [0] * prefix
    labels, weights = [IGNORE_INDEX] * prefix, [0.0] * prefix
    for number, example in enumerate(examples, start=1):
        rest = example.prompt[prefix:] + example.reply
        tokens += rest
        positions += range(prefix, prefix + len(rest))
        segment_ids += [number] * len(rest)
        # A label is at the position that predicts its token: one before the token.
        unlabelled = len(example.prompt) - prefix - 1
        labels += [IGNORE_INDEX] * unlabelled + example.reply + [IGNORE_INDEX]
        weights += [0.0] * unlabelled + example.weights + [0.0]
    return Pack(tokens, positions, labels, weights, segment_ids)


def attention_mask(segment_ids: torch.Tensor) -> torch.Tensor:
    """Return an additive mask (1, 1, n, n): causal, and an example sees only the prefix and itself."""
    import torch

    visible = (segment_ids[:, None] == segment_ids[None, :]) | (segment_ids[None, :] == 0)
    visible = visible.tril()
    mask = torch.zeros(visible.shape, device=segment_ids.device)
    return mask.masked_fill_(~visible, -30000.0)[None, None]


def pack_loss(model: Any, pack: Pack) -> torch.Tensor:
    """Compute the weighted cross-entropy, summed over a pack; divide by `pack.weight` for the mean."""
    import torch

    device = next(model.parameters()).device
    labels = torch.tensor(pack.labels, device=device)
    labelled = (labels != IGNORE_INDEX).nonzero()[:, 0]
    hidden = model.model(
        input_ids=torch.tensor([pack.tokens], device=device),
        attention_mask=attention_mask(torch.tensor(pack.segment_ids, device=device)).to(model.dtype),
        position_ids=torch.tensor([pack.positions], device=device),
        use_cache=False,
        segment_lengths=pack.segment_lengths,
        labelled=labelled,
    ).last_hidden_state[0]
    weights = torch.tensor(pack.weights, device=device)
    # The vocabulary is large: compute logits only where there is a label.
    logits = model.lm_head(hidden[labelled]).float()
    losses = torch.nn.functional.cross_entropy(logits, labels[labelled], reduction="none")
    return losses @ weights[labelled]
