"""Read documents: files, folders and patterns in; sanitized text out, and a reason for what is unreadable."""

from __future__ import annotations

import glob
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate, pairwise
from pathlib import Path

from ..errors import UserError
from ..records import Document
from ..text.sanitize import sanitize, sanitize_line, sanitize_name
from .account import LARGE_SHARE, Account
from .formats import ADVICE, BY_CONTENT, BY_SUFFIX, Format
from .formats.json_rows import Item
from .formats.office.unpack import sniff_archive
from .formats.parsed import OnPage, Parsed, Unreadable, count_characters, make_parsed
from .formats.plain import sniff
from .sandbox import Parser

_LONGEST_REASON = 300  # characters


@dataclass(frozen=True)
class ReadOptions:
    """How documents are read, and the limits of what is read."""

    strict: bool = False  # fail at the first file that is unreadable or loses more than a tenth of its text
    text_field: str = "text"  # of JSON rows and tables
    ocr: str = ""  # languages, such as "eng+deu", in which pages without text are recognised
    max_bytes: int = 50 * 1024**2  # of a file
    parse_seconds: float = 60.0  # processor time for a page, or for a file of a format without pages
    parse_memory: int = 2 * 1024**3  # bytes, if the system can limit them


@dataclass(frozen=True)
class _File:
    path: Path
    source: str  # sanitized, unique among the files
    explicit: bool  # named by the user, not found in a folder


@dataclass(frozen=True)
class Skipped:
    """A file, or a row or page of a file, that could not be read, and why."""

    source: str
    reason: str


@dataclass
class FileResult:
    """What was read of a file: its documents, what of it was skipped, and the account of its characters.

    Each JSON row or API entry is a document of its own.
    """

    account: Account
    documents: list[Document] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)

    def add(self, document: Document, parsed: Parsed) -> None:
        """Add a document and its account."""
        self.documents.append(document)
        self.account.add(count_characters(document["text"]), parsed["seen"], parsed["left_out"])


def read_files(
    paths: Sequence[str | Path],
    options: ReadOptions | None = None,
    *,
    on_page: Callable[[str, int, int], None] = lambda source, done, total: None,
) -> Iterator[FileResult]:
    """Read files, folders (recursively, without hidden files) and glob patterns, in a fixed order.

    All formats but text, Markdown, CSV and JSON are parsed in a separate process, with limits. on_page gets
    the file and the pages read and in all. Raises UserError immediately if a path does not exist; while
    reading, if nothing is readable and, with `strict`, at the first item that is unreadable or loses text.
    """
    files = _name_sources(_find(paths))
    if not files:
        raise UserError(f"no files in {', '.join(map(str, paths)) or 'an empty list of paths'}")
    return _read_all(files, options or ReadOptions(), on_page)


def _read_all(
    files: list[_File], options: ReadOptions, on_page: Callable[[str, int, int], None]
) -> Iterator[FileResult]:
    skipped: list[Skipped] = []
    documents = 0
    with Parser(seconds=options.parse_seconds, max_memory=options.parse_memory) as parser:
        for file in files:
            result = _read_file(file, parser, options, partial(on_page, file.source))
            if options.strict:
                _check_strictly(result)
            documents += len(result.documents)
            skipped += result.skipped[: 5 - len(skipped)]
            yield result
    if not documents:
        reasons = "; ".join(f"{item.source}: {item.reason}" for item in skipped)
        raise UserError(f"no readable documents: {reasons}" + (" …" if len(skipped) == 5 else ""))


def _check_strictly(result: FileResult) -> None:
    for item in result.skipped:
        raise UserError(f"{item.source}: {item.reason} (--strict stops here)")
    if result.account.share_lost > LARGE_SHARE:
        loss = result.account.describe_loss()
        raise UserError(f"{result.account.source}: left out {loss} (--strict stops here)")


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
    """Return the files and the links below a folder, sorted, without hidden ones and lock files of Office."""
    files = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        # Links to folders are not followed, and listed like files, so that this is said.
        names += [name for name in folders if Path(parent, name).is_symlink()]
        files += [Path(parent, name) for name in names if not name.startswith((".", "~$"))]
    return iter(sorted(files, key=lambda file: file.relative_to(folder).parts))


def _name_sources(found: list[tuple[Path, str, bool]]) -> list[_File]:
    """Name each file by its path below the user's folder, with as many parents as make the name unique."""
    names = [name for _, name, _ in found]
    depth = 0
    while True:
        sources = [sanitize_name(name) or "file" for name in names]
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
            else:  # they differ only in what sanitize_name makes equal
                names[index] = f"{name} ({index + 1})"
    return [_File(path, source, explicit) for (path, _, explicit), source in zip(found, sources, strict=True)]


def _read_file(file: _File, parser: Parser, options: ReadOptions, on_page: OnPage) -> FileResult:
    result = FileResult(Account(file.source))
    try:
        format, data = _open(file, options.max_bytes)
        if format.rows:
            _read_rows(file, format.load()(data, text_field=options.text_field), result)
            return result
        if format.sandboxed:
            parsed: Parsed = parser.parse(file.path, format.name, ocr=options.ocr, on_page=on_page)
        else:
            parsed = format.load()(data)
        if not parsed["text"].strip():
            raise Unreadable("no text in it")
        result.add(_document(file, parsed), parsed)
        result.skipped += [Skipped(file.source, _shown(note)) for note in parsed["notes"]]
    except Unreadable as error:
        result.skipped.append(Skipped(file.source, _shown(str(error))))
    except OSError as error:
        reason = f"cannot be opened: {error.strerror or type(error).__name__}"
        result.skipped.append(Skipped(file.source, reason))
    return result


def _shown(reason: str) -> str:
    """Return a reason as it is shown: names out of a file may have line ends in them, or no end."""
    reason = sanitize_line(reason)
    return reason if len(reason) <= _LONGEST_REASON else reason[: _LONGEST_REASON - 2] + " …"


def _open(file: _File, max_bytes: int) -> tuple[Format, bytes]:
    """Return the format and the content of a file. Raises Unreadable if they do not match."""
    suffix = file.path.suffix.lower()
    if not re.fullmatch(r"\.\w+", suffix):  # as in "Chapter 1. Otters"
        suffix = ""
    format = BY_SUFFIX.get(suffix)
    if file.path.is_dir():
        raise Unreadable("a link to a folder, which is not followed; name it to read it")
    if format is None and ((suffix and not file.explicit) or suffix in ADVICE):
        raise Unreadable(_no_reader(suffix))
    if not file.path.is_file():
        raise Unreadable("not a regular file")
    with file.path.open("rb") as stream:
        data = stream.read(max_bytes + 1)
    if len(data) > max_bytes:
        size = file.path.stat().st_size / 1024**2
        raise Unreadable(
            f"{size:.1f} MiB, over the limit of {max_bytes / 1024**2:g} MiB; --max-file-mb raises it"
        )
    if not data.strip():
        raise Unreadable("empty")
    found = sniff(data[:4096])
    if found == "ZIP":
        found = sniff_archive(data)
    if format is None:  # no known suffix: the content decides
        format = BY_SUFFIX[".json"] if not found and _JSON.match(data) else BY_CONTENT.get(found)
        if format is None:
            raise Unreadable(_no_reader(suffix or found))
        return format, data
    if "PDF" in format.content and b"%PDF-" in data[:1024]:  # PDF readers accept junk before the header
        found = "PDF"
    if found in _MISNAMED.get(format.name, ()):
        return BY_CONTENT[found], data
    if found not in format.content:
        raise Unreadable(_mismatch(format, suffix, found))
    return format, data


_JSON = re.compile(rb'(?:\xef\xbb\xbf)?\s*(?:\{\s*"|\[\s*[{"])')
# Text whose content is known for sure is read as what it is, whatever its name.
_MISNAMED = {"text": ("HTML", "mail", "notebook"), "json": ("notebook",), "html": ("mail",)}


def _no_reader(suffix: str) -> str:
    advice = ADVICE.get(suffix)
    return f"no reader for {suffix} files" + (f": {advice}" if advice else "")


def _mismatch(format: Format, suffix: str, found: str) -> str:
    """Return the reason for skipping a file whose content does not match its suffix."""
    if found == "OLE" and "ZIP" in format.content:
        old = {"docx": ".doc", "pptx": ".ppt", "xlsx": ".xls"}.get(format.name, "Office file")
        return f"encrypted, or an old {old}: save it as {suffix} without a password"
    if "" not in format.content:
        what = f"its content is {found}" if found not in ("", "binary") else "its content is something else"
        return f"broken: named {suffix}, but {what}"
    return "binary, not text" if found == "binary" else f"named {suffix}, but its content is {found}"


def _read_rows(file: _File, items: Iterator[Item], result: FileResult) -> None:
    """Add the rows of a file; raise Unreadable, with one reason for the whole file, if no row is usable."""
    skipped: list[Skipped] = []
    for item in items:
        if item.reason:
            skipped.append(Skipped(f"{file.source}#{item.number}", _shown(item.reason)))
            continue
        starts = [0] * (item.page or 0)  # the row starts on this page; the pages before it are empty
        parsed = make_parsed(item.text, title=item.title, page_starts=starts, left_out=item.left_out)
        document = _document(file, parsed)
        number = f"#{item.number}" if item.number else ""  # 0: the whole file
        document["source"] = sanitize_name(item.source) or file.source + number
        document["kind"] = item.kind
        result.add(document, parsed)
    if not result.documents:
        first = skipped[0].reason if skipped else "empty"
        more = f", and {len(skipped) - 1} more rows of no use" if len(skipped) > 1 else ""
        raise Unreadable(first + more)
    result.skipped += skipped


def _document(file: _File, parsed: Parsed) -> Document:
    text, starts = _sanitize_with_offsets(parsed["text"], parsed["page_starts"])
    title = sanitize_line(parsed["title"]) or sanitize_name(file.path.stem)
    return {"source": file.source, "title": title[:300], "text": text, "page_starts": starts, "kind": "text"}


def _sanitize_with_offsets(text: str, offsets: list[int]) -> tuple[str, list[int]]:
    """Sanitize text and shift the offsets by the characters gained or lost before them.

    A tag that spans a page boundary is defused as well, and shifts the later pages by one character.
    """
    sanitized = sanitize(text)
    if sanitized == text or not offsets:
        return sanitized, offsets
    parts = [sanitize(text[start:end]) for start, end in pairwise([0, *offsets])]
    return sanitized, [min(offset, len(sanitized)) for offset in accumulate(len(part) for part in parts)]
