"""What the embedded teacher is taught, and that packing changes nothing about it."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from tests.conftest import BATS
from tests.tiny import Words, tiny_model
from tools.raft.errors import UserError
from tools.raft.finetune.local.pack import pack_loss
from tools.raft.finetune.local.teacher import make_tasks, pack_tasks, vary_layout
from tools.raft.ingest.squad import Paragraph, read_paragraphs
from tools.raft.raft_format import parse_answer

QAS = [
    ("How much does an adult weigh?", "between five and nine grams"),
    ("What does it hunt?", "midges"),
    ("What hangs free?", "lesser horseshoe bat"),
]
PARAGRAPH = Paragraph("Bats", BATS, [(question, answer, BATS.index(answer)) for question, answer in QAS])


def test_both_tasks_come_out_of_each_question() -> None:
    tasks = make_tasks(PARAGRAPH, random.Random(0))
    assert len(tasks) == 6
    asked, answered = tasks[0], tasks[1]
    assert asked.reply == "Answer: between five and nine grams\nQuestion: How much does an adult weigh?"
    assert asked.messages[-1]["content"].endswith("An adult weighs between five and nine grams.")
    read = parse_answer(answered.reply)
    assert not isinstance(read, str)
    assert read.quotes == ("An adult weighs between five and nine grams.",)
    assert answered.messages[-1]["content"].endswith("How much does an adult weigh?")
    begin, end = answered.copied
    assert answered.reply[:begin].endswith("##An adult weighs betw"), "what decides the choice counts in full"
    assert answered.reply[end:] == "##end_quote##\n<ANSWER>: between five and nine grams"


def test_drills_are_more_questions_to_answer_about_the_same_passage() -> None:
    tasks = make_tasks(PARAGRAPH, random.Random(0), drills=5)
    assert len(tasks) == 11
    for task in tasks[6:]:
        answer = parse_answer(task.reply)
        assert not isinstance(answer, str) and answer.quotes[0] in " ".join(BATS.split())
        assert task.messages[-1]["content"].startswith(tasks[0].messages[-1]["content"][:200])


def test_an_answer_over_two_sentences_is_left_out() -> None:
    across = "a cave. An adult"
    assert make_tasks(Paragraph("", BATS, [("What?", across, BATS.index(across))]), random.Random(0)) == []


def test_layouts_differ_and_keep_every_word() -> None:
    sentences = ["One bat sleeps.", "Two bats fly."] * 10
    layouts = {vary_layout("Bats", sentences, random.Random(seed)) for seed in range(40)}
    assert len(layouts) > 20
    for layout in layouts:
        assert layout.removeprefix("## Bats").split() == " ".join(sentences).split()


def test_a_packed_passage_teaches_what_its_tasks_teach_one_by_one() -> None:
    tokenizer, model = Words(), tiny_model()
    tasks = make_tasks(PARAGRAPH, random.Random(0))
    alone = [pack for task in tasks for pack in pack_tasks([task], tokenizer)]
    (pack,) = pack_tasks(tasks, tokenizer)
    together = pack_loss(model, pack).item()
    assert len(pack.tokens) < 0.7 * sum(len(one.tokens) for one in alone)
    assert together == pytest.approx(sum(pack_loss(model, one).item() for one in alone), rel=0.01)
    assert pack.weight == pytest.approx(sum(one.weight for one in alone))
    split = list(pack_tasks(tasks, tokenizer, limit=len(pack.tokens) - 1))
    assert len(split) == 2, "what does not fit goes into a second pack"
    assert sum(pack_loss(model, part).item() for part in split) == pytest.approx(together, rel=0.01)


def test_data_of_another_form_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.json: No such file"):
        read_paragraphs(tmp_path / "none.json")
    other = tmp_path / "other.json"
    other.write_text('[{"question": "Why?"}]', encoding="utf-8")
    with pytest.raises(UserError, match="not in SQuAD format"):
        read_paragraphs(other)
    good = {"data": [{"title": "Bats_of_Aru", "paragraphs": [{"context": BATS, "qas": [
        {"question": "What does it hunt? ", "answers": [{"text": "midges", "answer_start": BATS.index("midges")}]},
        {"question": "Unanswerable?", "answers": []},
    ]}]}]}  # fmt: skip
    other.write_text(json.dumps(good), encoding="utf-8")
    assert read_paragraphs(other) == [
        Paragraph("Bats of Aru", BATS, [("What does it hunt?", "midges", BATS.index("midges"))])
    ]
