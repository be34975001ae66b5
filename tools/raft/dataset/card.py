"""Write the manifest and the dataset card: what a dataset contains and how it was made."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..files import write_json, write_text
from ..models.pricing import show_dollars
from ..prompts import prompt_folder
from ..records import SPLITS, fields_of
from .pairs import sum_pairs

CARD = "dataset_card.jinja2"
MANIFEST_VERSION = 1

# Hugging Face names; the template spells out the types of lists and of the context.
_DTYPES = {str: "string", bool: "bool", int: "int64", dict: "context"}
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


def write_manifest(
    path: Path,
    *,
    settings: Mapping[str, Any],
    seed: int,
    models: Mapping[str, str],
    prompt_hashes: Mapping[str, str],
    counts: Mapping[str, Any],
    documents: Sequence[Mapping[str, Any]],
    rejected_by_reason: Mapping[str, int],
    tokens: Mapping[str, int],
    endpoints: Sequence[Mapping[str, Any]],
    cost: float | None,
    files: Mapping[str, Mapping[str, Any]],
    notes: Sequence[str] = (),
    times: Mapping[str, Any] | None = None,
    longest_row: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Write manifest.json, what is needed to repeat a run and its results, and return the manifest.

    `documents` is the account of the characters of each file; `models` names the model of each role
    (teacher, embeddings); `endpoints` says what each address did; `cost` is in dollars, None if no price is
    known; `files` is what `write_datasets` returns, plus any other files; `notes` are lines shown to the
    user; `longest_row` is the length of the longest row in tokens, and whose tokens. Two runs that are
    otherwise the same differ only in `times` and in `endpoints`, which has their speed. Never put a key
    (a secret) into `settings`.
    """
    manifest = {
        "version": MANIFEST_VERSION,
        "seed": seed,
        "models": dict(models),
        "settings": dict(settings),
        "prompt_hashes": dict(sorted(prompt_hashes.items())),
        "counts": dict(counts),
        "documents": list(documents),
        "rejected_by_reason": dict(sorted(rejected_by_reason.items(), key=lambda item: (-item[1], item[0]))),
        "longest_row": dict(longest_row or {}),
        "tokens": dict(tokens),
        "endpoints": [dict(endpoint) for endpoint in endpoints],
        "cost_dollars": cost,
        "notes": list(notes),
        "files": {name: dict(files[name]) for name in sorted(files)},
        "times": dict(times or {}),
    }
    write_json(path, manifest)
    return manifest


def write_card(
    path: Path, manifest: Mapping[str, Any], *, title: str = "RAFT dataset", languages: Sequence[str] = ()
) -> None:
    """Write the dataset card (README.md) that Hugging Face shows and `load_dataset` finds the splits by.

    Its content comes from the manifest. Empty splits are left out, since loaders do not accept an empty
    file. `languages` are ISO 639 codes, if known. The template is prompts/dataset_card.jinja2.
    Raises UserError if it cannot be read or rendered.
    """
    from jinja2 import Environment, StrictUndefined, TemplateError

    several = manifest["counts"].get("rows_with_several_oracles", 0) > 0
    rows = {split: manifest["files"].get(f"{split}.jsonl", {}).get("rows", 0) for split in SPLITS}
    total = sum(rows.values())
    template = prompt_folder() / CARD
    environment = Environment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    environment.filters["json"] = lambda value: json.dumps(value, ensure_ascii=False)
    environment.filters["cell"] = _cell
    try:
        text = environment.from_string(template.read_text(encoding="utf-8")).render(
            title=title,
            languages=list(languages),
            manifest=manifest,
            rows=rows,
            features={
                name: f"list of {_DTYPES[field.items]}" if field.type is list else _DTYPES[field.type]
                for name, field in fields_of(several=several).items()
            },
            several=several,
            written="teacher" in manifest["models"],  # by a model
            total=total,
            size=next((name for bound, name in _SIZES if total < bound), "n>1M"),
            configs=_configs(manifest["files"]),
            pairs=sum_pairs(manifest["files"])["pairs"],
            cost=show_dollars(manifest["cost_dollars"], manifest["models"].get("teacher", "")),
        )
    except OSError as error:
        raise UserError(
            f"cannot read {template}: {error.strerror}; copy it from the project's prompts/"
        ) from None
    except TemplateError as error:
        raise UserError(f"{template}: {error}") from None
    write_text(path, text)


def _configs(files: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """Return the files of each form of the rows by split, without the empty ones; the records come first."""
    configs: dict[str, dict[str, str]] = {"default": {}}
    for split in SPLITS:
        for name in sorted(files):
            if (match := re.fullmatch(rf"{split}\.(?:(\w+)\.)?jsonl", name)) and files[name].get("rows"):
                configs.setdefault(match[1] or "default", {})[split] = name
    return {name: splits for name, splits in configs.items() if splits}


def _cell(value: Any) -> str:
    """Format a value for a cell of a Markdown table."""
    if isinstance(value, Mapping):
        value = ", ".join(f"{name} {inner}" for name, inner in value.items())
    elif isinstance(value, (list, tuple)):
        value = ", ".join(map(str, value))
    return str(value).replace("|", "\\|").replace("\n", " ")
