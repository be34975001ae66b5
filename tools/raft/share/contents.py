"""Read what of a dataset folder is shared: the files of its manifest, never drafts, caches or keys."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ..errors import UserError
from ..files import hash_file, read_object
from ..records import SPLITS, content_id

CARD, MANIFEST = "README.md", "manifest.json"
# What is about one run, not about the data: addresses and speed of endpoints, seconds and date.
_OF_THE_RUN = ("endpoints", "times")


@dataclass(frozen=True)
class Contents:
    """A dataset to be shared."""

    folder: Path
    manifest: Mapping[str, Any]  # as it is shared
    hashes: Mapping[str, str]  # SHA-256 of each file of the manifest, by name
    edited: list[str]  # names of those that are not as the manifest describes them

    @property
    def version(self) -> str:
        """The id of the data: the same rows have the same, wherever and whenever they were written."""
        return content_id(*(part for name in sorted(self.hashes) for part in (name, self.hashes[name])))

    @property
    def rows(self) -> dict[str, int]:
        """The number of rows of each split."""
        listed = self.manifest["files"]
        return {split: listed.get(f"{split}.jsonl", {}).get("rows", 0) for split in SPLITS}

    @property
    def card(self) -> str:
        """The text of the dataset card."""
        return (self.folder / CARD).read_text(encoding="utf-8-sig")

    @property
    def files(self) -> dict[str, Path | bytes]:
        """What is shared, by name: a file of the folder, or the content that stands in for it."""
        manifest = json.dumps(self.manifest, ensure_ascii=False, indent=2) + "\n"
        return {
            CARD: self.card.encode("utf-8"),
            MANIFEST: manifest.encode("utf-8"),
            **{name: self.folder / name for name in sorted(self.hashes)},
        }


def read_contents(folder: Path) -> Contents:
    """Read the manifest of a dataset and hash its files.

    Raises UserError if the folder is not a dataset that `generate` or `squad` finished.
    """
    manifest = read_object(folder / MANIFEST)
    listed = manifest.get("files")
    if not isinstance(listed, dict) or not listed or any(Path(name).name != name for name in listed):
        raise UserError(
            f"{folder} is not a dataset: {MANIFEST} is missing or damaged; pass a folder that `generate` "
            "or `squad` wrote"
        )
    missing = [name for name in (CARD, *listed) if not (folder / name).is_file()]
    if missing:
        raise UserError(f"{folder / missing[0]} is missing: make the dataset again, with the same command")
    hashes = {name: hash_file(folder / name) for name in listed}
    return Contents(
        folder,
        {name: value for name, value in manifest.items() if name not in _OF_THE_RUN},
        hashes,
        [name for name, described in listed.items() if described.get("sha256") != hashes[name]],
    )


@contextmanager
def staged(contents: Contents, name: str) -> Iterator[Path]:
    """Yield a temporary folder called `name` with what is shared and nothing else.

    Files are linked where the file system can, else copied.
    """
    with TemporaryDirectory() as scratch:
        folder = Path(scratch) / name
        folder.mkdir()
        for file, content in contents.files.items():
            if isinstance(content, bytes):
                (folder / file).write_bytes(content)
                continue
            try:
                os.link(content.resolve(), folder / file)
            except OSError:  # another file system, or one without links
                shutil.copyfile(content, folder / file)
        yield folder
