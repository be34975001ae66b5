"""APIBench (Patil et al., NeurIPS 2024): which call of an API list does a task."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from ..evaluate.apibench import Hub, ReferenceScorer
from ..ingest.chunks import make_chunk
from ..ingest.formats.json_rows import render_api
from ..prompts import render
from ..records import Chunk
from ..text.api_calls import judge_call, read_apis
from ..text.sanitize import sanitize
from .data import find_file, need_file, read_rows
from .questions import Collection, Question

_QUESTION = "bench_api_call.jinja2"
_PUBLISHED: dict[Hub, str] = {
    "huggingface": "huggingface",
    "torchhub": "torchhub",
    "tensorflowhub": "tensorflow",
}
# Rows of the evaluation files, from 1, that the published question files leave out.
_NOT_ASKED: dict[Hub, frozenset[int]] = {
    "huggingface": frozenset((117, 150, 204, 339, 414, 425, 800)),
    "tensorflowhub": frozenset((429, 456, 516)),
    "torchhub": frozenset(),
}
# Shown to the models: what a choice depends on. Example code repeats the call, figures are long.
_SHOWN = ("api_name", "api_call", "functionality", "description", "domain", "framework", "api_arguments")
_FIELDS = ("code", "api_call", "api_data")
_INSTRUCTION = (
    re.compile(r"###\s*Instruction:\s*(.*?)\s*\n###\s*Output", re.DOTALL),
    re.compile(r"""['"]?Instruction['"]?\s*:\s*['"]?(.*?)['"]?\s*,\s*['"]?Output['"]?\s*:""", re.DOTALL),
)

Row = Mapping[str, Any]
Score = Callable[[Question, Row], dict[str, float]]


def read_apibench(hub: Hub, folder: Path) -> Collection:
    """Read an API list and the tasks of its evaluation file, and those of its training file if it is there.

    Files as published, or with `apibench_` before the hub's name. An entry of the list is a document; so is
    the documentation that a task names where the list has it in another form. Raises UserError if a file is
    missing.
    """
    published = _PUBLISHED[hub]
    apis = _read_list(hub, folder)
    evaluation = need_file(folder, f"{published}_eval.json", f"apibench_{hub}_eval.jsonl")
    training = find_file(folder, f"{published}_train.json", f"apibench_{hub}_train.jsonl")
    documents: dict[str, Chunk] = {}
    for api in apis:
        _add_document(documents, hub, api)
    left_out: Counter[str] = Counter()
    asked = [
        (number, row)
        for number, row in enumerate(read_rows(evaluation, *_FIELDS), start=1)
        if number not in _NOT_ASKED[hub]
    ]
    test = _read_tasks(hub, "eval", asked, documents, left_out)
    train = (
        _read_tasks(hub, "train", enumerate(read_rows(training, *_FIELDS), start=1), documents, left_out)
        if training
        else []
    )
    return Collection(documents, test, train, listed=True, left_out=left_out)


def open_scorer(hub: Hub, folder: Path) -> Score:
    """Return the scorer of a hub: by syntax tree as published, by domain, and strictly, by the gold call.

    Raises UserError if the list is missing, or tree-sitter.
    """
    apis = _read_list(hub, folder)
    reference = ReferenceScorer(hub, apis)
    known = read_apis(api["api_call"] for api in apis)

    def score(question: Question, row: Row) -> dict[str, float]:
        answer = row["answer"]
        # The reference expects the call in a field of that name and judges other text of Torch Hub as wrong.
        reply = answer if "api_call" in answer else f"<<<api_call>>>: {answer}"
        by_tree = reference.judge(reply, question.about["domain"]).verdict
        strict = judge_call(answer, question.answer, known)
        return {
            "accuracy": float(by_tree == "correct"),
            "hallucination": float(by_tree == "hallucination"),
            "gold_call": float(strict == "correct"),
            "invented_call": float(strict == "hallucination"),
        }

    return score


def read_instruction(code: str) -> str:
    """Return the task of a row's free text; empty if it has none."""
    found = next(filter(None, (pattern.search(code) for pattern in _INSTRUCTION)), None)
    return re.sub(r"\n\s*\n", "\n", sanitize(found[1])).strip() if found else ""


def _read_list(hub: Hub, folder: Path) -> list[dict[str, Any]]:
    path = need_file(folder, f"{hub}_api.jsonl", f"apibench_{hub}_api.jsonl")
    return read_rows(path, "api_call", "domain")


def _read_tasks(
    hub: Hub,
    part: str,
    rows: Iterable[tuple[int, Row]],
    documents: dict[str, Chunk],
    left_out: Counter[str],
) -> list[Question]:
    tasks = []
    for number, row in rows:
        task, call = read_instruction(row["code"]), " ".join(sanitize(row["api_call"]).split())
        chunk = _add_document(documents, hub, row["api_data"])
        functionality = str(row["api_data"].get("functionality") or "").strip()
        quotes = tuple(quote for quote in (sanitize(functionality), call) if quote and quote in chunk["text"])
        if not task:
            left_out["it states no task"] += 1
            continue
        tasks.append(
            Question(
                id=f"{hub}-{part}-{number}",
                text=render(_QUESTION, question=task)[0]["content"],
                query=task,
                answer=call,
                oracles=(chunk["id"],),
                quotes=quotes,
                group=call,
                about={"domain": row["api_data"]["domain"]},
            )
        )
    return tasks


def _add_document(documents: dict[str, Chunk], hub: Hub, api: Row) -> Chunk:
    text = render_api({name: api[name] for name in _SHOWN if name in api})
    name = str(api.get("api_name") or "")
    chunk = make_chunk(text, title=name, source=f"{hub} {name}", page=None, kind="api")
    return documents.setdefault(chunk["id"], chunk)
