"""Train the embedded teacher: a LoRA adapter that writes questions about a passage, and quoted answers."""

from __future__ import annotations

import random
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import UserError
from ...generate.small_model.drills import make_drills
from ...generate.small_model.grammar import answer_reply, question_reply
from ...ingest.chunks import make_chunk
from ...ingest.squad import Paragraph, find_sentence, read_paragraphs
from ...models.weights import default_model
from ...prompts import render
from ...text.sentences import sentence_spans
from .attention import use_matrix_products
from .export_gguf import export_adapter
from .pack import PACK_TOKENS, Pack, copied_spans, pack_examples, tokenise
from .train import Step, TrainingConfig, train_adapter

DRILLS = 6  # per passage: people's questions alone are too few to learn finding and copying a sentence
COPY_WEIGHT = 0.1  # of a copied token in the loss


@dataclass(frozen=True)
class Task:
    """One training example about a passage: messages and the reply to them."""

    messages: list[Any]
    reply: str
    copied: tuple[int, int] = (0, 0)  # span of the reply that only copies, see copied_spans
    drill: bool = False


def make_tasks(paragraph: Paragraph, draw: random.Random, *, drills: int = 0) -> list[Task]:
    """Build a question task and an answer task for each question answered in one sentence, and drills."""
    spans = list(sentence_spans(paragraph.text))
    passage = vary_layout(paragraph.title, [sentence for _, _, sentence in spans], draw)
    tasks = []
    for question in paragraph.questions:
        found = find_sentence(question, spans)
        if found is None or not question.text.endswith("?"):
            continue
        target, answer = found
        messages = list(render("guided_question.jinja2", passage=passage, target=target))
        tasks.append(Task(messages, question_reply(answer, question.text)))
        tasks.append(_answer_task(passage, question.text, answer_reply(question.text, target, answer)))
    chunk = make_chunk(paragraph.text, title=paragraph.title, source="", page=None, kind="text")
    for drill in make_drills(chunk, drills, seed=draw.randrange(2**31)):
        tasks.append(_answer_task(passage, drill["question"], drill["cot_answer"], drill=True))
    return tasks


def _answer_task(passage: str, question: str, reply: str, *, drill: bool = False) -> Task:
    messages = list(render("guided_answer.jinja2", passage=passage, question=question))
    return Task(messages, reply, copied_spans(reply)[0], drill)


def vary_layout(title: str, sentences: list[str], draw: random.Random) -> str:
    """Lay out a paragraph like chunks of documents: some with a heading, paragraphs or hard line breaks."""
    text = "".join(s + (" " if draw.random() > 0.08 else "\n\n") for s in sentences).strip()
    if draw.random() < 0.15:
        text = "\n\n".join(textwrap.fill(part, draw.randint(60, 100)) for part in text.split("\n\n"))
    return f"## {title}\n\n{text}" if title and draw.random() < 0.35 else text


def pack_tasks(tasks: list[Task], tokenizer: Any, *, max_tokens: int = PACK_TOKENS) -> Iterator[Pack]:
    """Pack the tasks of one passage: their shared prefix once, then the rest of each task."""
    return pack_examples(
        [
            tokenise(
                [*task.messages, {"role": "assistant", "content": task.reply}],
                tokenizer,
                [task.copied],
                COPY_WEIGHT,
                drill=task.drill,
            )
            for task in tasks
        ],
        max_tokens=max_tokens,
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
    report: Callable[[str], None] = print,
    on_step: Callable[[Step], None] = lambda step: None,
) -> Path:
    """Train the teacher's adapter on SQuAD-format data and write `teacher.gguf` into out_dir.

    The base model is frozen in bfloat16, the adapter is float32; the loss covers the replies only. One
    optimiser step per passage. `hold_out` paragraphs, drawn by the seed, are held out for validation. Takes
    about 16 minutes per epoch of XQuAD (240 paragraphs) on one core. Raises UserError for bad data.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    draw = random.Random(seed)
    paragraphs, left_out = read_paragraphs(qa_path)
    for reason, count in Counter(row["reason"] for row in left_out).most_common():
        report(f"questions left out, {reason}: {count}")
    if len(paragraphs) <= hold_out:
        raise UserError(f"{qa_path} has {len(paragraphs)} paragraphs; more than {hold_out} are required")
    draw.shuffle(paragraphs)

    gguf = default_model()
    tokenizer = AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name)
    model = AutoModelForCausalLM.from_pretrained(str(gguf.parent), gguf_file=gguf.name, dtype=torch.bfloat16)

    use_matrix_products(model)

    def make_packs(selected: list[Paragraph], drills: int) -> list[Pack]:
        return [
            pack
            for paragraph in selected
            for pack in pack_tasks(make_tasks(paragraph, draw, drills=drills), tokenizer)
        ]

    valid, train = make_packs(paragraphs[:hold_out], 0), make_packs(paragraphs[hold_out:], DRILLS)
    tokens = sum(len(pack.tokens) for pack in train)
    report(f"{len(train)} packs to train on, {tokens} tokens; {len(valid)} for validation")
    config = TrainingConfig(
        epochs=epochs, learning_rate=learning_rate, rank=rank, batch=1, seed=seed, validations=2
    )
    train_adapter(model, train, valid, out_dir, config, on_step=on_step)
    return export_adapter(out_dir, out_dir / "teacher.gguf", base=gguf)
