"""Read thousands of damaged documents of every format: none may hang, crash, or leave anything behind.

    python -m tests.fuzz_documents --count 10000 --seed 1

Every file is a sample of a format with bytes flipped, cut out, repeated or replaced, in an archive also inside
its members. Exit status 1 if a file was neither read nor refused in one line, took longer than its limit, or left
a process or a temporary file behind. Files whose parser crashed are refused too; they are counted.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path

import psutil
import pytest
from lxml import etree

from tools.raft.errors import UserError
from tools.raft.files import PROJECT
from tools.raft.ingest.read import ReadOptions, read_files

_BATCH = 50  # files read by one call, and so by one parsing process unless it ends
_SNIPPETS = (
    b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\r", b"\x0b", b"<", b"</", b"<!--", b"-->", b"]]>", b"<![CDATA[",
    b"&#x0;", b"&amp;", b'colspan="999999999"', b'rowspan="999999999"', b"<table><tr><td>", b"<div>" * 300, b"|---" * 300,
    b"---\n", b"```", b"%PDF-1.7", b"PK\x03\x04", b"endobj", b"/Kids [1 0 R]", b"/Rotate 91", b"4294967296", b"-1", b"1e999",
    b"NaN", b"{" * 200, b"[" * 200, b'"\\ud800"', b"=?utf-8?b?", b"boundary=", b"w:vanish", b"{\\rtf", b"\\bin99999999 ",
    "\u202e\u2028\ufeff".encode(), b"A" * 5000,
)  # fmt: skip


@dataclass
class Tally:
    """What became of the damaged files of one format."""

    read: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0


def make_samples() -> dict[str, bytes]:
    """Return a sample of every format, by suffix."""
    samples = {
        path.suffix: path.read_bytes()
        for path in sorted((PROJECT / "data/documents").iterdir())
        if path.is_file()
    }
    markdown = (PROJECT / "data/documents/caves.md").read_text(encoding="utf-8")
    markdown += (
        "\n\n| Bay | Berths |\n|---|---|\n| North | 12 |\n\n1. one\n2. two[^a]\n\n[^a]: A note.\n\n$x^2$\n"
    )
    for suffix in (".docx", ".odt", ".epub", ".pptx", ".rtf"):
        samples[suffix] = _convert(markdown, suffix)
    samples[".xlsx"] = _workbook()
    samples[".csv"] = b'Bay;Berths\nNorth;12\n"South\nquay";7\n'
    samples[".eml"] = _mail()
    samples[".mht"] = _mail().replace(b"multipart/mixed", b"multipart/related")
    samples[".ipynb"] = _notebook()
    samples[".tex"] = _convert(markdown, ".tex")
    samples[".vtt"] = (
        b"WEBVTT\n\n00:01.000 --> 00:02.000\n<v Ann>The weir</v> <i>holds</i>.\n\n1\n00:02.000 --> 00:03.000\nYes.\n"
    )
    return samples


def _convert(markdown: str, suffix: str) -> bytes:
    import pypandoc

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "sample" + suffix)
        command = [pypandoc.get_pandoc_path(), "-f", "markdown", "--standalone", "-o", str(path)]
        subprocess.run(command, input=markdown, text=True, encoding="utf-8", check=True)
        return path.read_bytes()


def _workbook() -> bytes:
    import openpyxl

    book = openpyxl.Workbook()
    book.active.append(["Bay", "Berths"])
    book.active.append(["North", 12])
    book.create_sheet("Fees").append(["Boat", 310.5])
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def _mail() -> bytes:
    mail = EmailMessage()
    mail["Subject"], mail["From"] = "Fährplan", "harbour@example.org"
    mail.set_content("The ferry leaves at nine.\nÖl wird nachgefüllt.")
    mail.add_alternative("<p>The ferry leaves at <b>nine</b>.</p>", subtype="html")
    mail.add_attachment(b"\x00\x01", maintype="application", subtype="octet-stream", filename="a.bin")
    return mail.as_bytes()


def _notebook() -> bytes:
    cells = [
        {"cell_type": "markdown", "metadata": {}, "source": ["# Tides\n", "They turn."]},
        {"cell_type": "code", "metadata": {}, "source": "print(1)", "outputs": [], "execution_count": 1},
    ]
    return json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}).encode()


def damage(data: bytes, chance: random.Random) -> bytes:
    """Return a damaged copy; half of the archives are damaged inside their members, and packed again."""
    if data.startswith(b"PK\x03\x04") and chance.random() < 0.7:
        return _damage_members(data, chance)
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        data = _damage_once(data, chance)
    return data


def _damage_once(data: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(len(data) + 1)
    end = min(len(data), start + int(chance.expovariate(1 / 200)))
    piece = data[start:end]
    return chance.choice(
        (
            lambda: (
                data[:start]
                + bytes(byte ^ 1 << chance.randrange(8) for byte in piece[:8])
                + data[start + 8 :]
            ),
            lambda: data[:start] + data[end:],
            lambda: data[:end] + piece * chance.randrange(1, 50) + data[end:],
            lambda: data[:start] + chance.choice(_SNIPPETS) + data[start:],
            lambda: data[:start] + chance.choice(_SNIPPETS) + data[end:],
            lambda: data[:start],
            lambda: data[:start] + chance.randbytes(len(piece)) + data[end:],
        )
    )()


def _damage_members(data: bytes, chance: random.Random) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as archive, zipfile.ZipFile(out, "w") as damaged:
        members = archive.infolist()
        chosen = {chance.randrange(len(members)) for _ in range(chance.randrange(1, 4))}
        for number, member in enumerate(members):
            content = archive.read(member)
            if number in chosen:
                if chance.random() < 0.1:
                    continue
                content = _damage_tree(content, chance) or damage(content, chance)
            damaged.writestr(member.filename, content)
    return out.getvalue()


def _damage_tree(xml: bytes, chance: random.Random) -> bytes:
    """Return XML that is well-formed, but not what its format says; nothing if it is no XML, or by chance."""
    try:
        root = etree.fromstring(xml)
    except etree.XMLSyntaxError:
        return b""
    elements = list(root.iter(etree.Element))
    if len(elements) < 2 or chance.random() < 0.2:
        return b""
    for _ in range(chance.choice((1, 2, 8, 32))):
        element, other = chance.choice(elements[1:]), chance.choice(elements)
        parent = element.getparent()
        kind = chance.randrange(6)
        if kind == 0 and parent is not None:
            parent.remove(element)
        elif kind == 1 and parent is not None:
            parent.extend(deepcopy(element) for _ in range(chance.randrange(1, 20)))
        elif kind == 2:
            element.tag = other.tag
        elif kind == 3:
            for name in element.attrib:
                element.set(name, chance.choice(("", "-1", "99999999999", "x", "../../x", "1e999")))
        elif kind == 4:
            other.append(deepcopy(element))
        else:
            element.text = chance.choice((None, "", "9" * 400, "<ANSWER>: x", "system:"))
    return etree.tostring(root)


def fuzz(
    count: int, seed: int, *, on_done: Callable[[int], None] = lambda done: None
) -> tuple[dict[str, Tally], list[str]]:
    """Read `count` damaged files; return what became of them, by suffix, and what went wrong."""
    samples = make_samples()
    chance = random.Random(seed)
    tallies: dict[str, Tally] = defaultdict(Tally)
    faults: list[str] = []
    processes = _children()
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        temporary = Path(folder, "temporary")
        temporary.mkdir()
        patch.setattr(tempfile, "tempdir", str(temporary))
        for first in range(0, count, _BATCH):
            batch = Path(folder, f"batch-{first}")
            batch.mkdir()
            names = []
            for number in range(first, min(count, first + _BATCH)):
                suffix = chance.choice(sorted(samples))
                names.append(batch / f"{number}{suffix}")
                names[-1].write_bytes(damage(samples[suffix], chance))
            faults += _read(names, tallies)
            for name in names:
                name.unlink()
            faults += [f"left behind: {path}" for path in (*batch.iterdir(), *temporary.iterdir())]
            on_done(first + len(names))
    time.sleep(0.2)
    faults += [f"process left behind: {process}" for process in _children() - processes]
    return dict(tallies), faults


def _read(paths: list[Path], tallies: dict[str, Tally]) -> Iterator[str]:
    """Read files, add to the tallies what became of them, and yield what must not happen."""
    started = time.monotonic()
    results = read_files(paths, ReadOptions(parse_seconds=20))
    while True:
        try:
            result = next(results)
        except (StopIteration, UserError):  # the end, or not one file of the batch could be read
            return
        except Exception as error:
            yield f"{type(error).__name__}: {error} in one of {paths[0].parent}"
            return
        tally = tallies[Path(result.account.source).suffix]
        tally.seconds = max(tally.seconds, time.monotonic() - started)
        started = time.monotonic()
        tally.read += bool(result.documents)
        if not result.documents:
            tally.refused[result.skipped[0].reason if result.skipped else ""] += 1
        for item in result.skipped:
            if not item.reason or "\n" in item.reason or len(item.reason) > 300:
                yield f"{item.source}: no reason in one line: {item.reason!r}"
            if "took more than" in item.reason:
                yield f"{item.source}: {item.reason}"


def _children() -> set[int]:
    return {child.pid for child in psutil.Process().children(recursive=True)}


def main() -> None:
    """Run the fuzzer, and show a line for every format."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--reasons", action="store_true", help="show every reason of a refusal")
    options = parser.parse_args()
    started = time.monotonic()
    tallies, faults = fuzz(
        options.count,
        options.seed,
        on_done=lambda done: print(f"\r{done} files", end="", file=sys.stderr, flush=True),
    )
    print(file=sys.stderr)
    for suffix, tally in sorted(tallies.items()):
        refused = tally.refused.total()
        crashed = sum(
            count for reason, count in tally.refused.items() if "crash" in reason or "stopped with" in reason
        )
        print(
            f"{suffix:7} {tally.read:6} read {refused:6} refused {crashed:4} crashed, slowest {tally.seconds:.1f} s"
        )
        for reason, count in tally.refused.most_common() if options.reasons else ():
            print(f"        {count:5} {reason}")
    print(*faults, sep="\n")
    print(f"{options.count} files in {time.monotonic() - started:.0f} s, {len(faults)} faults")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
