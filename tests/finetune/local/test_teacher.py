"""The training tasks of the embedded teacher, and that packing does not change them."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from tests.conftest import BATS
from tests.tiny import WordTokenizer, tiny_model
from tools.raft.errors import UserError
from tools.raft.finetune.local.pack import pack_loss
from tools.raft.finetune.local.teacher import make_tasks, pack_tasks, vary_layout
from tools.raft.ingest.squad import Paragraph, Question, read_paragraphs
from tools.raft.raft_format import parse_answer

QAS = [
    ("How much does an adult weigh?", "between five and nine grams"),
    ("What does it hunt?", "midges"),
    ("What hangs free?", "lesser horseshoe bat"),
]
PARAGRAPH = Paragraph(
    "Bats", BATS, [Question(question, [(BATS.index(answer), answer)]) for question, answer in QAS]
)


def test_makes_both_tasks_from_each_question() -> None:
    tasks = make_tasks(PARAGRAPH, random.Random(0))
    assert len(tasks) == 6
    ask, answer = tasks[0], tasks[1]
    assert ask.reply == "Answer: between five and nine grams\nQuestion: How much does an adult weigh?"
    assert ask.messages[-1]["content"].endswith("An adult weighs between five and nine grams.")
    parsed = parse_answer(answer.reply)
    assert not isinstance(parsed, str)
    assert parsed.quotes == ("An adult weighs between five and nine grams.",)
    assert answer.messages[-1]["content"].endswith("How much does an adult weigh?")
    begin, end = answer.copied
    assert answer.reply[:begin].endswith("##An adult weighs betw"), "the start of a quote has full weight"
    assert answer.reply[end:] == "##end_quote##\n<ANSWER>: between five and nine grams"


def test_drills_add_answer_tasks_about_the_same_passage() -> None:
    tasks = make_tasks(PARAGRAPH, random.Random(0), drills=5)
    assert len(tasks) == 11
    for task in tasks[6:]:
        answer = parse_answer(task.reply)
        assert not isinstance(answer, str) and answer.quotes[0] in " ".join(BATS.split())
        assert task.messages[-1]["content"].startswith(tasks[0].messages[-1]["content"][:200])


def test_skips_an_answer_that_spans_two_sentences() -> None:
    answer = "a cave. An adult"
    assert (
        make_tasks(Paragraph("", BATS, [Question("What?", [(BATS.index(answer), answer)])]), random.Random(0))
        == []
    )


def test_layouts_vary_and_keep_every_word() -> None:
    sentences = ["One bat sleeps.", "Two bats fly."] * 10
    layouts = {vary_layout("Bats", sentences, random.Random(seed)) for seed in range(40)}
    assert len(layouts) > 20
    for layout in layouts:
        assert layout.removeprefix("## Bats").split() == " ".join(sentences).split()


def test_a_packed_passage_has_the_loss_of_its_separate_tasks() -> None:
    tokenizer, model = WordTokenizer(), tiny_model()
    tasks = make_tasks(PARAGRAPH, random.Random(0))
    separate = [pack for task in tasks for pack in pack_tasks([task], tokenizer)]
    (pack,) = pack_tasks(tasks, tokenizer)
    loss = pack_loss(model, pack).item()
    assert len(pack.tokens) < 0.7 * sum(len(single.tokens) for single in separate)
    assert loss == pytest.approx(sum(pack_loss(model, single).item() for single in separate), rel=0.01)
    assert pack.weight == pytest.approx(sum(single.weight for single in separate))
    split = list(pack_tasks(tasks, tokenizer, max_tokens=len(pack.tokens) - 1))
    assert len(split) == 2, "tasks that do not fit go into a second pack"
    assert sum(pack_loss(model, part).item() for part in split) == pytest.approx(loss, rel=0.01)


def test_rejects_data_that_is_not_squad(tmp_path: Path) -> None:
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
    hunt = Question("What does it hunt?", [(BATS.index("midges"), "midges")])
    assert read_paragraphs(other) == (
        [Paragraph("Bats of Aru", BATS, [hunt])],
        [{"question": "Unanswerable?", "source": "Bats of Aru", "reason": "it has no answer"}],
    )
