"""Train the embedded teacher: a LoRA adapter that writes questions and quoted answers about a passage."""

from __future__ import annotations

import random
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ...errors import UserError
from ...generate.small_model.drills import make_drills
from ...generate.small_model.grammar import answer_reply, question_reply
from ...ingest.chunks import make_chunk
from ...ingest.squad import Paragraph, read_paragraphs
from ...models.weights import default_model
from ...prompts import render
from ...text.sentences import sentence_spans
from .attention import use_matrix_products
from .export_gguf import export_adapter
from .pack import PACK_TOKENS, Pack, copied_spans, pack_examples, tokenise
from .train import Step, TrainingConfig, train_adapter

DRILLS = 6  # made by rule, a passage: to find a sentence and to copy it takes more practice than people asked
COPYING = 0.1  # weight of a copied token in the loss


@dataclass(frozen=True)
class Task:
    """One thing to learn about a passage: messages and the reply to them."""

    messages: list[Any]
    reply: str
    copied: tuple[int, int] = (0, 0)  # the part of the reply that only copies, once its beginning is chosen
    drill: bool = False


def make_tasks(paragraph: Paragraph, draw: random.Random, *, drills: int = 0) -> list[Task]:
    """Make both tasks of every question whose answer stands whole in one sentence, and drills to answer."""
    spans = list(sentence_spans(paragraph.text))
    passage = vary_layout(paragraph.title, [sentence for _, _, sentence in spans], draw)
    tasks = []
    for question, answer, start in paragraph.qas:
        target = next((s for begin, end, s in spans if begin <= start and start + len(answer) <= end), None)
        if target is None or not question.endswith("?"):
            continue
        asked = list(render("guided_question.jinja2", passage=passage, target=target))
        tasks.append(Task(asked, question_reply(answer, question)))
        tasks.append(_answer_task(passage, question, answer_reply(question, target, answer)))
    chunk = make_chunk(paragraph.text, title=paragraph.title, source="", page=None, kind="text")
    for drill in make_drills(chunk, drills, seed=draw.randrange(2**31)):
        tasks.append(_answer_task(passage, drill["question"], drill["cot_answer"], drill=True))
    return tasks


def _answer_task(passage: str, question: str, reply: str, *, drill: bool = False) -> Task:
    messages = list(render("guided_answer.jinja2", passage=passage, question=question))
    return Task(messages, reply, copied_spans(reply)[0], drill)


def vary_layout(title: str, sentences: list[str], draw: random.Random) -> str:
    """Lay a paragraph out as chunks of documents are: some with a heading, paragraphs, hard line ends."""
    text = "".join(s + (" " if draw.random() > 0.08 else "\n\n") for s in sentences).strip()
    if draw.random() < 0.15:
        text = "\n\n".join(textwrap.fill(part, draw.randint(60, 100)) for part in text.split("\n\n"))
    return f"## {title}\n\n{text}" if title and draw.random() < 0.35 else text


def pack_tasks(tasks: list[Task], tokenizer: Any, *, limit: int = PACK_TOKENS) -> Iterator[Pack]:
    """Pack the tasks of one passage: their common beginning once, then every task's own end."""
    return pack_examples(
        [
            tokenise(
                [*task.messages, {"role": "assistant", "content": task.reply}],
                tokenizer,
                [task.copied],
                COPYING,
                drill=task.drill,
            )
            for task in tasks
        ],
        limit=limit,
    )


def train_teacher(
    qa_path: Path,
    out_dir: Path,
    *,
    epochs: float = 2.5,
    learning_rate: float = 1e-3,
    rank: int = 16,
    seed: int = 42,
    hold_out: int = 20,
    say: Callable[[str], None] = print,
) -> Path:
    """Train the teacher's adapter on SQuAD-format data and write `teacher.gguf` into out_dir.

    The base model is frozen in bfloat16, the adapter is float32; loss only on the replies. One
    optimiser step a passage. `hold_out` paragraphs, drawn by the seed, are kept for validation.
    About 16 minutes an epoch of XQuAD (240 paragraphs) on one core. Raises UserError for bad data.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    draw = random.Random(seed)
    paragraphs = read_paragraphs(qa_path)
    if len(paragraphs) <= hold_out:
        raise UserError(f"{qa_path} has {len(paragraphs)} paragraphs; more than {hold_out} are needed")
    draw.shuffle(paragraphs)

    gguf = default_model()
    tokenizer = AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name)
    model = AutoModelForCausalLM.from_pretrained(str(gguf.parent), gguf_file=gguf.name, dtype=torch.bfloat16)

    use_matrix_products(model)

    def packs_of(some: list[Paragraph], drills: int) -> list[Pack]:
        return [
            pack
            for paragraph in some
            for pack in pack_tasks(make_tasks(paragraph, draw, drills=drills), tokenizer)
        ]

    valid, train = packs_of(paragraphs[:hold_out], 0), packs_of(paragraphs[hold_out:], DRILLS)
    say(f"{len(train)} packs to learn, {sum(len(p.tokens) for p in train)} tokens; {len(valid)} to validate")
    recipe = TrainingConfig(
        epochs=epochs, learning_rate=learning_rate, rank=rank, batch=1, seed=seed, validations=2
    )
    train_adapter(model, train, valid, out_dir, recipe, on_step=partial(_tell, say))
    return export_adapter(out_dir, out_dir / "teacher.gguf", base=gguf)


def _tell(say: Callable[[str], None], step: Step) -> None:
    if step["step"] % 20 == 0 or step["valid_loss"] is not None:
        left = step["seconds"] / step["step"] * (step["steps"] - step["step"])
        measured = f", validation loss {step['valid_loss']:.4f}" if step["valid_loss"] is not None else ""
        say(
            f"step {step['step']} of {step['steps']}: loss {step['train_loss']:.4f}{measured}, "
            f"{left / 60:.0f} min left"
        )
