"""Rows as the local training reads them."""

from __future__ import annotations

import json
from pathlib import Path

from tests.tiny import WordTokenizer, save_tiny_model
from tools.raft.finetune.backend import FineTuneSpec
from tools.raft.finetune.local.backend import LocalBackend
from tools.raft.finetune.local.rows import PARTS, make_packs, to_example


def test_copied_quote_tokens_have_a_lower_weight() -> None:
    quote = "The gap between the bars of the gate is 15 centimetres."
    row = {"prompt": "Q?", "completion": f"##begin_quote##{quote}##end_quote##\n<ANSWER>: 15"}
    tokenizer = WordTokenizer()
    example = to_example(row, tokenizer)
    assert 1.0 in example.weights and 0.3 in example.weights
    assert example.weights[-1] == 1.0, "the answer and the end of the turn have full weight"
    drill = to_example(row, tokenizer, drill=True)
    quoted = tokenizer(row["completion"].partition("\n")[0]).input_ids
    assert drill.prompt == example.prompt and drill.reply == quoted, (
        "the rule-made answer of a drill is not learnt"
    )
    refused = {**row, "completion": "None of the documents says so.\n<ANSWER>: not answerable"}
    assert to_example(refused, tokenizer, drill=True) == to_example(refused, tokenizer), "a refusal is, whole"


def test_drills_are_trained_on_with_the_train_rows(tmp_path: Path) -> None:
    rows = [
        {
            "messages": [
                {
                    "role": "user",
                    "content": f"<DOCUMENT>The door is {name}.</DOCUMENT>\nWhich colour is {name}?",
                },
                {
                    "role": "assistant",
                    "content": f"##begin_quote##The door is {name}.##end_quote##\n<ANSWER>: {name}",
                },
            ]
        }
        for name in ("red", "green", "blue", "white")
    ]
    spec = FineTuneSpec(tmp_path, str(save_tiny_model(tmp_path / "model")))
    spec.file("train").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    backend = LocalBackend(spec.dataset)
    before, key, tokens = (
        list(make_packs(spec, PARTS, WordTokenizer(), 4)),
        spec.key,
        backend.estimate(spec).tokens,
    )
    train, drills = (spec.dataset / f"{part}.chat.jsonl" for part in PARTS)
    row = train.read_text(encoding="utf-8").splitlines()[0].replace("Which colour", "What colour")
    drills.write_text(row + "\n", encoding="utf-8")
    after = list(make_packs(spec, PARTS, WordTokenizer(), 4))
    assert sum(pack.examples for pack in after) == sum(pack.examples for pack in before) + 1
    assert spec.key != key, "the drills are part of the spec"
    assert backend.estimate(spec).tokens > tokens
