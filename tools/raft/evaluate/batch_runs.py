"""Read the batch runs of promptflow: what each line was given, what it returned, and what its calls took.

A run's folder holds flow_artifacts/*.jsonl, a record for each line, and node_artifacts/NODE/*.jsonl, one for
each line of a node. That is their format in promptflow 1.18.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import UserError, one_line
from ..files import read_log

LINES, NODES = "flow_artifacts", "node_artifacts"
_MODEL = ("model", "deployment_name")


@dataclass
class Line:
    """One line of a run; `error` is the reason if it failed. What is not recorded is 0, empty or None."""

    inputs: dict[str, Any]
    outputs: dict[str, Any]
    error: str = ""
    documents: list[dict[str, Any]] | None = None  # retrieved, with their texts
    requests: list[dict[str, Any]] = field(default_factory=list)  # to models, without the models' names
    model: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float | None = None  # in calls to models


def is_run(folder: Path) -> bool:
    """Return whether a folder is that of a batch run."""
    return (folder / LINES).is_dir()


def read_lines(folder: Path) -> dict[int, Line]:
    """Read the lines of a run by their numbers, those that failed included.

    Tokens are only recorded with tracing (PF_DISABLE_TRACING=false). Raises UserError if there are no lines.
    """
    lines = {}
    for record in _records(folder / LINES):
        run = record["run_info"]
        failed = run["status"] != "Completed"
        error = one_line((run.get("error") or {}).get("message") or "the line failed") if failed else ""
        lines[int(record["line_number"])] = Line(run["inputs"] or {}, run["output"] or {}, error)
    if not lines:
        raise UserError(f"{folder} is not the folder of a batch run that has lines")
    for node in sorted(path for path in (folder / NODES).glob("*") if path.is_dir()):
        for record in _records(node):
            if line := lines.get(int(record["line_number"])):
                _read_node(line, record["run_info"])
    return dict(sorted(lines.items()))


def _records(folder: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(folder.glob("*.jsonl")):
        for record in read_log(path):
            if record.get("line_number") is not None:  # a node that aggregates has none
                yield record


def _read_node(line: Line, run: Mapping[str, Any]) -> None:
    """Take over what a node retrieved, and what its calls to models took."""
    output = run.get("output")
    if isinstance(output, list) and output and all(_is_document(entry) for entry in output):
        line.documents = output
    inputs = run.get("inputs") or {}
    calls = list(_model_calls(run.get("api_calls") or ()))
    if not calls and "max_tokens" in inputs and any(name in inputs for name in _MODEL):  # without tracing
        duration = (run.get("system_metrics") or {}).get("duration") or 0.0
        calls = [{"inputs": inputs, "start_time": 0.0, "end_time": duration}]
    for call in calls:
        inputs, usage = call["inputs"], (call.get("output") or {}).get("usage") or {}
        line.requests.append({name: value for name, value in inputs.items() if name not in _MODEL})
        line.model = next((str(inputs[name]) for name in _MODEL if inputs.get(name)), line.model)
        line.prompt_tokens += usage.get("prompt_tokens") or 0
        line.completion_tokens += usage.get("completion_tokens") or 0
        line.seconds = (line.seconds or 0.0) + call["end_time"] - call["start_time"]


def _is_document(entry: object) -> bool:
    return isinstance(entry, dict) and {"id", "source", "text"} <= entry.keys()


def _model_calls(calls: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the traced calls to models, wherever they are nested."""
    for call in calls:
        if call.get("type") == "LLM" and isinstance(call.get("inputs"), dict):
            yield call
        else:
            yield from _model_calls(call.get("children") or ())
