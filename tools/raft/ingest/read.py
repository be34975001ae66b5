"""Read documents: files, folders and patterns in; sanitized text out, and a reason for what is unreadable."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path

from ..errors import UserError
from ..records import Document
from ..text.sanitize import sanitize, sanitize_line
from .formats import BY_CONTENT, BY_SUFFIX, Format
from .formats.json_rows import Item
from .formats.plain import Parsed, Unreadable, sniff
from .sandbox import Parser

MAX_BYTES = 50 * 1024**2
TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Skipped:
    """A file, or a row or page of a file, that could not be read, and why."""

    source: str
    reason: str


@dataclass(frozen=True)
class _File:
    path: Path
    source: str  # sanitized, unique among the files
    explicit: bool  # named by the user, not found in a folder


def read_documents(
    paths: Sequence[str | Path],
    *,
    strict: bool = False,
    max_bytes: int = MAX_BYTES,
    timeout_s: float = TIMEOUT_S,
    text_field: str = "text",
) -> Iterator[Document | Skipped]:
    """Read files, folders (recursively, without hidden files) and glob patterns, in a fixed order.

    Each JSON row or API entry is a document of its own. PDF, DOCX and HTML are parsed in a separate
    process, for at most `timeout_s` seconds each. Raises UserError immediately if a path does not
    exist; while reading, if nothing is readable and, with `strict`, at the first unreadable item.
    """
    files = _name_sources(_find(paths))
    if not files:
        raise UserError(f"no files in {', '.join(map(str, paths)) or 'an empty list of paths'}")
    return _read_all(files, strict, max_bytes, timeout_s, text_field)


def _read_all(
    files: list[_File], strict: bool, max_bytes: int, timeout_s: float, text_field: str
) -> Iterator[Document | Skipped]:
    skipped: list[Skipped] = []
    documents = 0
    with Parser(timeout_s=timeout_s) as parser:
        for file in files:
            for result in _read_file(file, parser, max_bytes, text_field):
                if isinstance(result, Skipped):
                    if strict:
                        raise UserError(f"{result.source}: {result.reason} (--strict stops here)")
                    if len(skipped) < 5:
                        skipped.append(result)
                else:
                    documents += 1
                yield result
    if not documents:
        reasons = "; ".join(f"{item.source}: {item.reason}" for item in skipped)
        raise UserError(f"no readable documents: {reasons}" + (" …" if len(skipped) == 5 else ""))


def _find(paths: Sequence[str | Path]) -> list[tuple[Path, str, bool]]:
    """Return each file once: its path, its name below the user's path, and whether the user named it."""
    found: dict[str, tuple[Path, str, bool]] = {}
    for argument in paths:
        path = Path(argument).expanduser()
        if path.exists():
            matches = [path]
        elif glob.has_magic(str(path)):
            # A folder that a recursive pattern matches would add files that the pattern does not match.
            matches = [Path(match) for match in sorted(glob.glob(str(path), recursive=True))]  # noqa: PTH207
            if any(match.is_file() for match in matches):
                matches = [match for match in matches if not match.is_dir()]
        else:
            matches = []
        if not matches:
            raise UserError(f"{argument}: no such file or folder, and no file matches it as a pattern")
        for match in matches:
            if match.is_dir():
                below = ((file, file.relative_to(match).as_posix(), False) for file in _walk(match))
            else:
                below = ((file, file.name, True) for file in [match])
            for file, name, explicit in below:
                found.setdefault(os.path.realpath(file), (file, name, explicit))
    return list(found.values())


def _walk(folder: Path) -> Iterator[Path]:
    """Return the files below a folder, sorted, without hidden ones; links to folders are not followed."""
    files = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        files += [Path(parent, name) for name in names if not name.startswith(".")]
    return iter(sorted(files, key=lambda file: file.relative_to(folder).parts))


def _name_sources(found: list[tuple[Path, str, bool]]) -> list[_File]:
    """Name each file by its path below the user's folder, with as many parents as make the name unique."""
    names = [name for _, name, _ in found]
    depth = 0
    while True:
        sources = [sanitize_line(name) or "file" for name in names]
        counts = Counter(sources)
        clashing = [index for index, source in enumerate(sources) if counts[source] > 1]
        if not clashing:
            break
        depth += 1
        for index in clashing:
            path, name, _ = found[index]
            parents = path.absolute().as_posix().removesuffix("/" + name).split("/")
            if depth <= len(parents):
                names[index] = "/".join([*parents[-depth:], name])
            else:  # they differ only in characters that sanitize_line removes
                names[index] = f"{name} ({index + 1})"
    return [_File(path, source, explicit) for (path, _, explicit), source in zip(found, sources, strict=True)]


def _read_file(file: _File, parser: Parser, max_bytes: int, text_field: str) -> Iterator[Document | Skipped]:
    try:
        format, data = _open(file, max_bytes)
        if format.rows:
            yield from _read_rows(file, format.load()(data, text_field=text_field))
            return
        parsed: Parsed = parser.parse(file.path, format.name) if format.sandboxed else format.load()(data)
        if not parsed["text"].strip():
            raise Unreadable("no text in it")
        yield _document(file.source, parsed, file.path.stem)
        for note in parsed["notes"]:
            yield Skipped(file.source, note)
    except Unreadable as error:
        yield Skipped(file.source, sanitize_line(str(error)))
    except OSError as error:
        yield Skipped(file.source, f"cannot be opened: {error.strerror or type(error).__name__}")


def _open(file: _File, max_bytes: int) -> tuple[Format, bytes]:
    """Return the format and the content of a file. Raises Unreadable if they do not match."""
    suffix = file.path.suffix.lower()
    format = BY_SUFFIX.get(suffix)
    if format is None and suffix and not file.explicit:
        raise Unreadable(f"no reader for {suffix} files")
    if not file.path.is_file():
        raise Unreadable("not a regular file")
    with file.path.open("rb") as stream:
        data = stream.read(max_bytes + 1)
    if len(data) > max_bytes:
        size = file.path.stat().st_size / 1024**2
        raise Unreadable(f"{size:.1f} MiB, over the limit of {max_bytes / 1024**2:g} MiB")
    if not data.strip():
        raise Unreadable("empty")
    found = sniff(data[:4096])
    if format is None:  # no known suffix: the content decides
        format = BY_CONTENT.get(found)
        if format is None:
            raise Unreadable(f"no reader for {suffix or found} files")
        return format, data
    if "PDF" in format.content and b"%PDF-" in data[:1024]:  # PDF readers accept junk before the header
        found = "PDF"
    if found not in format.content:
        raise Unreadable(_mismatch(format, suffix, found))
    return format, data


def _mismatch(format: Format, suffix: str, found: str) -> str:
    """Return the reason for skipping a file whose content does not match its suffix."""
    if format.name == "docx" and found == "OLE":
        return "encrypted, or an old .doc: save it as .docx without a password"
    if "" not in format.content:
        what = f"its content is {found}" if found not in ("", "binary") else "its content is something else"
        return f"broken: named {suffix}, but {what}"
    return "binary, not text" if found == "binary" else f"named {suffix}, but its content is {found}"


def _read_rows(file: _File, items: Iterator[Item]) -> Iterator[Document | Skipped]:
    """Yield the rows of a file; raise Unreadable, with one reason for the whole file, if no row is usable."""
    pending: list[Skipped] = []  # held back until a usable row shows that the file is of the right kind
    document = None
    for item in items:
        source = sanitize_line(item.source) or f"{file.source}#{item.number}"
        if item.reason:
            reason = sanitize_line(item.reason)
            pending.append(Skipped(f"{file.source}#{item.number}", reason))
            continue
        starts = [0] * (item.page or 0)  # the row starts on this page; the pages before it are empty
        parsed: Parsed = {"text": item.text, "title": item.title, "page_starts": starts, "notes": []}
        document = _document(source, parsed, file.path.stem)
        document["kind"] = item.kind
        yield from pending
        pending.clear()
        yield document
    if document is None:
        first = pending[0].reason if pending else "empty"
        more = f", and {len(pending) - 1} more rows of no use" if len(pending) > 1 else ""
        raise Unreadable(first + more)
    yield from pending


def _document(source: str, parsed: Parsed, stem: str) -> Document:
    text, starts = _sanitize_with_offsets(parsed["text"], parsed["page_starts"])
    title = sanitize_line(parsed["title"]) or sanitize_line(stem)
    return {"source": source, "title": title[:300], "text": text, "page_starts": starts, "kind": "text"}


def _sanitize_with_offsets(text: str, offsets: list[int]) -> tuple[str, list[int]]:
    """Sanitize text and shift the offsets by the characters gained or lost before them.

    A tag that spans a page boundary is defused as well, and shifts the later pages by one character.
    """
    sanitized = sanitize(text)
    if sanitized == text or not offsets:
        return sanitized, offsets
    parts = [sanitize(text[start:end]) for start, end in pairwise([0, *offsets])]
    return sanitized, [min(offset, len(sanitized)) for offset in accumulate(len(part) for part in parts)]
