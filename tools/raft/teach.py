"""Train the embedded teacher: a LoRA adapter that writes questions and quoted answers about a passage."""

from __future__ import annotations

import json
import math
import random
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .adapter import write_adapter
from .errors import UserError
from .guide import answer_reply, question_reply
from .prompts import render
from .sentences import split_sentences
from .serve import default_model

if TYPE_CHECKING:
    import torch

PACK_TOKENS = 1400  # one passage with its tasks in one sequence; more only costs attention
CHOICE = 20  # characters of a sentence by which it is chosen; what follows is copying
COPYING = 0.1  # weight of a copied token in the loss
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@dataclass(frozen=True)
class Task:
    """One thing to learn about a passage: messages and the reply to them."""

    messages: list[Any]
    reply: str
    copied: tuple[int, int] = (0, 0)  # the part of the reply that only copies, once its beginning is chosen


@dataclass(frozen=True)
class Pack:
    """A passage and its tasks in one sequence: the passage is computed once, no task sees another.

    Lists of equal length; labels are -100 and weights 0 where nothing is learnt. block: 0 for the
    shared passage, 1… for the tasks.
    """

    tokens: list[int]
    positions: list[int]
    labels: list[int]
    weights: list[float]
    block: list[int]


@dataclass(frozen=True)
class Paragraph:
    """A text with questions people asked about it."""

    title: str
    text: str
    qas: list[tuple[str, str, int]]  # question, answer, offset of the answer in the text


def read_paragraphs(path: Path) -> list[Paragraph]:
    """Read question-answering data in the format of SQuAD 1.1; raises UserError for another form."""
    try:
        return [
            Paragraph(
                article.get("title", "").replace("_", " "),
                paragraph["context"],
                [
                    (
                        qa["question"].strip(),
                        qa["answers"][0]["text"].strip(),
                        int(qa["answers"][0]["answer_start"]),
                    )
                    for qa in paragraph["qas"]
                    if qa["answers"]
                ],
            )
            for article in json.loads(path.read_text(encoding="utf-8"))["data"]
            for paragraph in article["paragraphs"]
        ]
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; name a file in SQuAD format") from None
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise UserError(f"{path} is not in SQuAD format ({type(error).__name__}: {error})") from None


def make_tasks(paragraph: Paragraph, draw: random.Random) -> list[Task]:
    """Make both tasks of every question whose answer stands whole in one sentence of the paragraph."""
    spans, at = [], 0
    for sentence in split_sentences(paragraph.text):
        at = paragraph.text.index(sentence, at)
        spans.append((at, at + len(sentence), " ".join(sentence.split())))
        at += len(sentence)
    passage = vary_layout(paragraph.title, [sentence for _, _, sentence in spans], draw)
    tasks = []
    for question, answer, start in paragraph.qas:
        target = next((s for begin, end, s in spans if begin <= start and start + len(answer) <= end), None)
        if target is None or not question.endswith("?"):
            continue
        asked = list(render("guided_question.jinja2", passage=passage, target=target))
        tasks.append(Task(asked, question_reply(answer, question)))
        answered = list(render("guided_answer.jinja2", passage=passage, question=question))
        reply = answer_reply(question, target, answer)
        quoted = reply.index(target)
        tasks.append(Task(answered, reply, (quoted + CHOICE, quoted + len(target))))
    return tasks


def vary_layout(title: str, sentences: list[str], draw: random.Random) -> str:
    """Lay a paragraph out as chunks of documents are: some with a heading, paragraphs, hard line ends."""
    text = "".join(s + (" " if draw.random() > 0.08 else "\n\n") for s in sentences).strip()
    if draw.random() < 0.15:
        text = "\n\n".join(textwrap.fill(part, draw.randint(60, 100)) for part in text.split("\n\n"))
    return f"## {title}\n\n{text}" if title and draw.random() < 0.35 else text


def pack_tasks(tasks: list[Task], tokenizer: Any, *, limit: int = PACK_TOKENS) -> Iterator[Pack]:
    """Pack the tasks of one passage: their common beginning once, then every task's own end."""
    rows = []
    for task in tasks:
        prompt = tokenizer.apply_chat_template(task.messages, tokenize=False, add_generation_prompt=True)
        ids = tokenizer(prompt, add_special_tokens=False).input_ids
        reply = tokenizer(
            task.reply + tokenizer.eos_token, add_special_tokens=False, return_offsets_mapping=True
        )
        begin, end = task.copied
        weights = [COPYING if begin <= at < end else 1.0 for at, _ in reply.offset_mapping]
        rows.append((ids, reply.input_ids, weights))
    if not rows:
        return
    prompts = [ids for ids, _, _ in rows]
    shared = 0
    while all(len(ids) > shared + 1 and ids[shared] == prompts[0][shared] for ids in prompts):
        shared += 1

    def empty() -> Pack:
        return Pack(prompts[0][:shared], list(range(shared)), [-100] * shared, [0.0] * shared, [0] * shared)

    pack = empty()
    for ids, reply, weights in rows:
        own = ids[shared:] + reply
        if len(pack.tokens) + len(own) > limit and len(pack.tokens) > shared:
            yield pack
            pack = empty()
        block = pack.block[-1] + 1
        pack.tokens.extend(own)
        pack.positions.extend(range(shared, shared + len(own)))
        # The label stands where its token is predicted: one place earlier.
        pack.labels.extend([-100] * (len(ids) - shared - 1) + reply + [-100])
        pack.weights.extend([0.0] * (len(ids) - shared - 1) + weights + [0.0])
        pack.block.extend([block] * len(own))
    yield pack


def attention_mask(block: list[int]) -> torch.Tensor:
    """Give the additive mask (1, 1, n, n): causal, and a task sees the passage and itself only."""
    import torch

    blocks = torch.tensor(block)
    seen = (blocks[:, None] == blocks[None, :]) | (blocks[None, :] == 0)
    seen &= torch.ones(len(block), len(block), dtype=torch.bool).tril()
    return torch.zeros(seen.shape).masked_fill_(~seen, -30000.0)[None, None]


def pack_loss(model: Any, pack: Pack) -> tuple[torch.Tensor, float]:
    """Compute the weighted cross-entropy summed over a pack, and the sum of the weights."""
    import torch

    hidden = model.model(
        input_ids=torch.tensor([pack.tokens]),
        attention_mask=attention_mask(pack.block).to(model.dtype),
        position_ids=torch.tensor([pack.positions]),
        use_cache=False,
    ).last_hidden_state[0]
    labels, weights = torch.tensor(pack.labels), torch.tensor(pack.weights)
    kept = labels != -100
    # The vocabulary is large: logits only where something is learnt.
    logits = model.lm_head(hidden[kept]).float()
    losses = torch.nn.functional.cross_entropy(logits, labels[kept], reduction="none")
    return losses @ weights[kept], float(weights.sum())


def train_teacher(
    qa_path: Path,
    out_dir: Path,
    *,
    epochs: float = 3,
    learning_rate: float = 6e-4,
    rank: int = 16,
    seed: int = 42,
    hold_out: int = 20,
    start: Path | None = None,
    say: Callable[[str], None] = print,
) -> Path:
    """Train the teacher's adapter on SQuAD-format data and write `teacher.gguf` into out_dir.

    The base model is frozen in bfloat16, the adapter is float32; loss only on the replies. One
    optimiser step a passage. `hold_out` paragraphs, drawn by the seed, are kept for validation.
    About 10 minutes an epoch of XQuAD (240 paragraphs) on 2 cores. Raises UserError for bad data.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(seed)
    draw = random.Random(seed)
    paragraphs = read_paragraphs(qa_path)
    if len(paragraphs) <= hold_out:
        raise UserError(f"{qa_path} has {len(paragraphs)} paragraphs; more than {hold_out} are needed")
    draw.shuffle(paragraphs)
    out_dir.mkdir(parents=True, exist_ok=True)

    gguf = default_model()
    tokenizer = AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name)
    model = AutoModelForCausalLM.from_pretrained(str(gguf.parent), gguf_file=gguf.name, dtype=torch.bfloat16)
    layers = add_lora(model, rank)
    if start:
        load_adapter(layers, start)

    def packs_of(some: list[Paragraph]) -> list[Pack]:
        return [pack for paragraph in some for pack in pack_tasks(make_tasks(paragraph, draw), tokenizer)]

    valid, train = packs_of(paragraphs[:hold_out]), packs_of(paragraphs[hold_out:])
    say(f"{len(train)} packs to learn, {sum(len(p.tokens) for p in train)} tokens; {len(valid)} to validate")

    # The adapter computes in bfloat16; small steps would be lost there, so the optimiser keeps float32.
    weights = [p for layer in layers.values() for p in (layer.lora_a, layer.lora_b)]
    masters = [p.detach().float() for p in weights]
    optimiser = torch.optim.AdamW(masters, lr=learning_rate, weight_decay=0.0, betas=(0.9, 0.98))
    steps = math.ceil(epochs * len(train))
    warm = max(1, steps // 20)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda i: min((i + 1) / warm, 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * i / steps)))
    )

    def validate() -> float:
        with torch.no_grad():
            pairs = [pack_loss(model, pack) for pack in valid]
        return float(sum(loss for loss, _ in pairs) / sum(n for _, n in pairs))

    began, running = time.monotonic(), 0.0
    order: list[Pack] = []
    for step in range(steps):
        if not order:
            order = draw.sample(train, len(train))
        loss, count = pack_loss(model, order.pop())
        (loss / count).backward()
        for master, weight in zip(masters, weights, strict=True):
            master.grad, weight.grad = weight.grad.float(), None
        torch.nn.utils.clip_grad_norm_(masters, 1.0)
        optimiser.step()
        schedule.step()
        with torch.no_grad():
            for master, weight in zip(masters, weights, strict=True):
                weight.copy_(master)
        running = 0.95 * running + 0.05 * loss.item() / count if step else loss.item() / count
        if (step + 1) % 20 == 0 or step + 1 == steps:
            left = (time.monotonic() - began) / (step + 1) * (steps - step - 1)
            say(f"step {step + 1} of {steps}: loss {running:.4f}, {left / 60:.0f} min left")
        if (step + 1) % (len(train) // 2) == 0 or step + 1 == steps:
            say(f"step {step + 1}: validation loss {validate():.4f}")
            save_adapter(layers, masters, rank, out_dir)
    return write_adapter(out_dir, out_dir / "teacher.gguf", base=gguf)


def add_lora(model: Any, rank: int) -> dict[str, Any]:
    """Freeze the model and put a LoRA pair (Hu et al. 2021) beside every linear layer of its blocks.

    Gives the new layers by name; lora_a is (rank, in), lora_b (out, rank) and zero. The scale is 1.
    """
    import torch

    class Lora(torch.nn.Module):
        def __init__(self, base: Any) -> None:
            super().__init__()
            self.base = base
            a = torch.randn(rank, base.in_features) / math.sqrt(base.in_features)
            self.lora_a = torch.nn.Parameter(a.to(base.weight.dtype))
            self.lora_b = torch.nn.Parameter(torch.zeros(base.out_features, rank, dtype=base.weight.dtype))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            linear = torch.nn.functional.linear
            small = linear(x, self.lora_a).flatten(0, -2)
            return torch.addmm(self.base(x).flatten(0, -2), small, self.lora_b.t()).view(*x.shape[:-1], -1)

    model.requires_grad_(False)
    layers = {}
    for name, module in list(model.named_modules()):
        if name.split(".")[-1] in TARGETS:
            parent = model.get_submodule(name.rpartition(".")[0])
            layers[name] = Lora(module)
            setattr(parent, name.rpartition(".")[2], layers[name])
    return layers


def load_adapter(layers: dict[str, Any], folder: Path) -> None:
    """Take the weights of an adapter that save_adapter wrote, to go on training it."""
    import torch
    from safetensors.torch import load_file

    try:
        tensors = load_file(str(folder / "adapter_model.safetensors"))
    except OSError as error:
        raise UserError(f"{folder} holds no adapter to start from ({error})") from None
    with torch.no_grad():
        for name, layer in layers.items():
            layer.lora_a.copy_(tensors[f"base_model.model.{name}.lora_A.weight"])
            layer.lora_b.copy_(tensors[f"base_model.model.{name}.lora_B.weight"])


def save_adapter(layers: dict[str, Any], masters: list[torch.Tensor], rank: int, folder: Path) -> None:
    """Write the adapter as PEFT does: adapter_config.json and adapter_model.safetensors."""
    from safetensors.torch import save_file

    pairs = iter(masters)
    tensors = {
        f"base_model.model.{name}.{part}.weight": next(pairs).contiguous()
        for name in layers
        for part in ("lora_A", "lora_B")
    }
    save_file(tensors, str(folder / "adapter_model.safetensors"))
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": rank,
        "lora_alpha": rank,
        "target_modules": TARGETS,
    }
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
