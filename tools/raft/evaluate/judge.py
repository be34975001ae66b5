"""Judge answers with a model, 1 to 5, by the rubrics in prompts/judge_*.jinja2."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..models.client import RETRY_TEMPERATURE, Client
from ..models.failed_calls import CallFailed
from ..prompts import Message, prompt_hash, render
from ..raft_format import FormatError
from ..text.sanitize import sanitize
from .metrics import JUDGEMENTS
from .score import Gold

_REPLY_TOKENS = 200  # two sentences and the score
_SCORE = re.compile(r"Score: ?([1-5])")
_ANY_SCORE = re.compile(r"(?im)^\W*score\W")
_PROMPT_TAGS = re.compile(r"<(?=/?\s*(?:QUESTION|REFERENCE|RESPONSE|DOCUMENTS)\s*>)", re.IGNORECASE)
_QUOTE_MARKERS = re.compile(r"##\s*(?:begin|end)_quote\s*##", re.IGNORECASE)


@dataclass(frozen=True)
class Verdict:
    """The judge's score and reply; without a score, `error` is the reason."""

    score: int | None
    said: str
    error: str = ""


_NO_ANSWER = Verdict(None, "", "there is no answer to judge")


def parse_score(text: str) -> int | None:
    """Parse the score on the last line of a judge's reply; None for any other format.

    There must be exactly one score line: a judge that gives two scores has not decided.
    """
    lines = [line for line in text.strip().splitlines() if line.strip()]
    match = _SCORE.fullmatch(lines[-1].strip()) if lines else None
    return int(match.group(1)) if match and len(_ANY_SCORE.findall(text)) == 1 else None


def judge_values(row: Mapping[str, Any], gold: Gold) -> dict[str, str]:
    """Return what the judge's prompts show, sanitized: `question`, `gold`, `documents`, `answer`, `reply`.

    `gold` is empty if no gold answer is known, `documents` if there are none. Similarity, groundedness and
    relevance are judged on the final `answer`, coherence and fluency on the whole `reply`.
    """
    final = row["answer"].strip() or "(no answer)"
    documents = enumerate(row.get("documents") or (), start=1)
    values = {
        "question": row["question"],
        "gold": "\n(or)\n".join(gold.answers or ()),
        "documents": "\n\n".join(f"[{number}] {document['text']}" for number, document in documents),
        "answer": final,
        "reply": _QUOTE_MARKERS.sub('"', f"{row['reasoning']}\n{final}".strip()),
    }
    return {key: _PROMPT_TAGS.sub("< ", sanitize(str(value))) for key, value in values.items()}


def applicable_judgements(values: Mapping[str, str]) -> list[str]:
    """Return the judgements that apply: similarity needs a gold answer, groundedness needs documents."""
    needs = {"similarity": values["gold"], "groundedness": values["documents"]}
    return [name for name in JUDGEMENTS if needs.get(name, "always")]


def judge_messages(name: str, values: Mapping[str, str]) -> list[Message]:
    """Build the messages of one judgement from the values that `judge_values` returns."""
    judged = values["reply"] if name in ("coherence", "fluency") else values["answer"]
    return render(prompt_file(name), **{**values, "answer": judged})


def prompt_file(name: str) -> str:
    """Return the file name of a judgement's prompt."""
    return f"judge_{name}.jinja2"


def judge_hash(names: Sequence[str]) -> str:
    """Hash the prompts of these judgements."""
    return prompt_hash(*map(prompt_file, names))


async def ask_judge(messages: Sequence[Message], client: Client) -> Verdict:
    """Ask for one judgement; a malformed reply is retried once, then the score is None and `error` says why.

    Raises EndpointRefused if no call will succeed.
    """
    text = ""
    for attempt in (0, 1):
        try:
            reply = await client.ask(
                messages,
                max_tokens=_REPLY_TOKENS,
                temperature=RETRY_TEMPERATURE if attempt else 0.0,
                attempt=attempt,
            )
        except CallFailed as failure:
            return Verdict(None, text, failure.reason)
        text = reply.text
        score = None if reply.finish_reason == "length" else parse_score(text)
        if score is not None:
            return Verdict(score, text)
    if not text:
        return Verdict(None, text, f"{FormatError.THOUGHT_ONLY}, twice")
    return Verdict(None, text, "no line 'Score: N' at the end, twice")


async def judge_answers(
    rows: Sequence[Mapping[str, Any]],
    golds: Sequence[Gold],
    client: Client,
    *,
    names: Sequence[str] = tuple(JUDGEMENTS),
    on_verdict: Callable[[], None] = lambda: None,
) -> list[dict[str, Verdict]]:
    """Judge many answers concurrently, as far as the client allows; return the verdicts by name for each.

    Judgements that do not apply are left out.
    """

    async def judge(name: str, row: Mapping[str, Any], gold: Gold) -> Verdict | None:
        values = judge_values({"answer": "", **row}, gold)
        verdict = None
        if name in applicable_judgements(values):
            failed = bool(row.get("error"))
            verdict = _NO_ANSWER if failed else await ask_judge(judge_messages(name, values), client)
        on_verdict()
        return verdict

    tasks = [
        asyncio.ensure_future(judge(name, row, gold))
        for row, gold in zip(rows, golds, strict=True)
        for name in names
    ]
    try:
        verdicts = iter(await asyncio.gather(*tasks))
    finally:
        for task in tasks:  # if one call was refused, do not leave the others running
            task.cancel()
    return [{name: verdict for name in names if (verdict := next(verdicts)) is not None} for _ in rows]
