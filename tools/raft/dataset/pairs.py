"""Make preference pairs of records: the accepted answer and a rejected one, to the same prompt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..on_disk import RowFile, RowsById
from ..prompts import assistant_message, render
from ..raft_format import Answer, FormatError, parse_answer, refusal
from ..text.answers import answers_agree
from ..text.quotes import anchor_quotes

REJECTED_ANSWERS = "rejected_answers.jsonl"  # beside raft.jsonl, a row for each record that has some
NOT_SHOWN = "answers although its document is not shown"
FALSE_REFUSAL = "refuses although its document is shown"
NOT_ANSWERED = ("not answered by its chunk", "not answered by its chunks")

# Why an answer is worse for whoever sees the prompt. An answer that was cut off says nothing about its
# content, and its many words would outweigh all else; one that may be right, as a guess, is not worse.
WORSE = frozenset(
    {
        *map(str, set(FormatError) - {FormatError.TRUNCATED, FormatError.THOUGHT_ONLY}),
        *NOT_ANSWERED,
        "disagrees with the expected answer",
        "answer does not name the call",
        "no call in the answer",
        "answer calls another API",
    }
)

Row = dict[str, Any]


class Pairs:
    """The pairs of a dataset, one a record at most, and their counts by split.

    refusals: whether some of its records are labelled with a refusal. Only then a refusal in place of the
    answer is a pair, too: where nothing is to be refused, it would teach never to refuse.
    """

    def __init__(self, raft_jsonl: Path, *, refusals: bool) -> None:
        path = raft_jsonl.with_name(REJECTED_ANSWERS)
        self._rejected = RowsById(RowFile(path)) if path.exists() else None
        self._refusal, self._refusals = refusal(), refusals
        self.made: dict[str, Counter[str]] = {}  # by split, then by the reason of the rejection
        self.missing: dict[str, Counter[str]] = {}  # by split, then by why a record makes no pair

    def make(self, record: Mapping[str, Any], prompt: str) -> Row | None:
        """Return a record as OpenAI's preference format, or None if it makes no pair.

        {"input": {"messages"}, "preferred_output", "non_preferred_output"}, each output one message of the
        assistant: schema FineTunePreferenceRequestInput of OpenAI's specification, also at Azure
        (https://learn.microsoft.com/azure/foundry/openai/how-to/fine-tuning-direct-preference-optimization of
        2026-02-11).
        """
        rejected, reason = self._find(record)
        counts = self.made if rejected else self.missing
        counts.setdefault(record["split"], Counter())[reason] += 1
        if not rejected:
            return None
        return {
            "input": {"messages": [*render(prompt, instruction=record["instruction"])]},
            "preferred_output": [assistant_message(record["cot_answer"])],
            "non_preferred_output": [assistant_message(rejected)],
        }

    def counts(self, split: str) -> dict[str, dict[str, int]]:
        """Return how many pairs a split has by reason, and why its other records make none."""
        return {
            name: dict(counts.get(split, Counter()).most_common())
            for name, counts in (("pairs", self.made), ("without", self.missing))
        }

    def _find(self, record: Mapping[str, Any]) -> tuple[str, str]:
        """Return the rejected answer of a record and its reason, or an empty text and why there is none."""
        row = self._rejected.get(record["id"]) if self._rejected else None
        answers = row["answers"] if row else []
        why = "no other answer was given"
        if not record["has_oracle"]:
            if record["final_answer"] != self._refusal.final:
                return "", "its document is not shown, and its answer is the label all the same"
            for answer in answers:
                if answer["reason"] == NOT_SHOWN:
                    return answer["cot_answer"], NOT_SHOWN
            return "", why
        for answer in answers:
            reason = answer["reason"]
            text = self._refusal.text if reason in NOT_ANSWERED else _canonical(answer["cot_answer"])
            if reason not in WORSE:
                why = f"the other answer is no worse to its readers: {reason}"
            elif _is_as_good(text, record):
                why = "the other answer is as good beside this document"
            else:
                return text, reason
        return (self._refusal.text, FALSE_REFUSAL) if self._refusals else ("", why)


def sum_pairs(files: Mapping[str, Mapping[str, Any]]) -> dict[str, Counter[str]]:
    """Return the pairs of all splits by reason ("pairs"), and the records without one by why ("without").

    files: the files of a dataset as its manifest lists them.
    """
    return {
        name: sum((Counter(file.get(name, {})) for file in files.values()), Counter[str]())
        for name in ("pairs", "without")
    }


def _canonical(text: str) -> str:
    """Return an answer in the form that accepted ones have, so that a pair differs in more than its form."""
    parsed = parse_answer(text)
    return parsed.text if isinstance(parsed, Answer) else text.strip()


def _is_as_good(text: str, record: Mapping[str, Any]) -> bool:
    """Return whether an answer quotes what the record's oracles say and agrees with its final answer.

    It may have been rejected for another chunk than the one that was accepted in the end.
    """
    parsed = parse_answer(text)
    if isinstance(parsed, FormatError):
        return False
    (documents,) = record["context"]["sentences"]
    places = record.get("oracle_indices") or [record["oracle_index"]]
    quoted = anchor_quotes(parsed, *(documents[place] for place in places))
    return isinstance(quoted, Answer) and answers_agree(parsed.final, record["final_answer"])
