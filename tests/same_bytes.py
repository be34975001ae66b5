"""Check that a refactoring changes no output: run the pipeline of another revision and of this tree, compare bytes.

    python -m tests.same_bytes --against origin/main

Both trees run the same commands (generate, squad, index, compare) against one scripted endpoint, with the same seed
and with the prompts of this tree, so that only code is compared. Times are ignored, and the names in RENAMED are mapped.
The exit status is 1 if a file differs; the outputs of both trees are kept.
"""

from __future__ import annotations

import argparse
import difflib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.scripted_endpoint import scripted_endpoint

ROOT = Path(__file__).parent.parent

# Names that differ from the other revision: (pattern, replacement), applied to the files of the other revision.
RENAMED: tuple[tuple[str, str], ...] = ()
# Every byte of these files has to be the same, except for times; with --reports, of the others too.
PATTERNS, REPORTS = ("*.jsonl", "*.json"), ("*.md", "*.html", "*.svg")
_TIMES = (
    (r'"seconds": (?:null|[\d.]+)', '"seconds": 0'),
    (r'"finished": "[^"]*"', '"finished": ""'),
    # The metric `seconds`, with mean and interval: in comparison.json, and its row in the reports.
    (r'"seconds": \{[^{}]*\}', '"seconds": {}'),
    (r"<tr><th>seconds .*?</tr>", ""),
    (r"\| seconds .[^\n]*\n", ""),
)

QA = {
    "data": [
        {
            "title": "Station_3",
            "paragraphs": [
                {
                    "context": f"Station {number} counts herons on the river Aru. In the year {1900 + number} it saw "
                    f"{number * 3 + 11} of them near bridge {number}. The warden writes book {number + 500}.",
                    "qas": [
                        {
                            "question": f"How many herons did station {number} see?",
                            "answers": [{"text": str(number * 3 + 11), "answer_start": 0}],
                        },
                        {
                            "question": f"Which book does the warden of station {number} write?",
                            "answers": [{"text": f"book {number + 500}", "answer_start": 0}],
                        },
                    ],
                }
                for number in range(12)
            ],
        }
    ]
}


def run_pipeline(tree: Path, out: Path, url: str) -> None:
    """Run every step of the pipeline in a checkout. Raise CalledProcessError, with the output shown, if one fails."""
    paragraphs = QA["data"][0]["paragraphs"]
    for paragraph in paragraphs:  # type: ignore[attr-defined]
        for qa in paragraph["qas"]:
            qa["answers"][0]["answer_start"] = paragraph["context"].index(qa["answers"][0]["text"])
    out.mkdir(parents=True)
    (out / "qa.txt").write_text(json.dumps(QA), encoding="utf-8")
    # The prompts sent to models are those of this tree; the card template belongs to the code that renders it.
    prompts = out / "prompts"
    shutil.copytree(ROOT / "prompts", prompts)
    shutil.copy(tree / "prompts" / "dataset_card.jinja2", prompts)
    model = ["--base-url", url, "--model", "m"]
    formats = [f"--format={name}" for name in ("chat", "completion", "dsf", "eval")]
    data = ROOT / "data"
    generate = ["generate", "--docs", str(data / "documents"), "--chunk-size", "160", *model, *formats]
    steps = [
        [*generate, "--out", out / "dataset", "--questions", "2", "--drills", "2",
         "--questions-file", data / "questions.jsonl"],
        [*generate, "--out", out / "refusals", "--questions", "1", "--p", "0.5", "--no-oracle", "refuse",
         "--negatives", "random", "--seed", "7"],
        ["squad", "--qa", out / "qa.txt", "--out", out / "squad", "--rounds", "2", "--drills", "1"],
        ["index", "--chunks", out / "dataset" / "chunks.jsonl", "--out", out / "index"],
        ["compare", "--questions", data / "held_out.jsonl", "--index", out / "index", "--out", out / "compare",
         "--baseline", f"{url}:base", "--raft", f"{url}:raft", "--dsf", f"{url}:dsf", "--judge", f"{url}:judge",
         "--arms", "rag,closed_book,few_shot,dsf,dsf_rag,raft", "--k", "3", "--distractor-questions", "6",
         "--without-oracle", "--dataset", out / "dataset"],
    ]  # fmt: skip
    for step in steps:
        done = subprocess.run(
            [sys.executable, "-m", "tools", *map(str, step)],
            cwd=tree,
            env={**os.environ, "RAFT_PROMPTS": str(prompts), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
        )
        if done.returncode:
            print(done.stdout[-2000:], done.stderr[-2000:], sep="\n")
            done.check_returncode()


def read_outputs(
    out: Path, patterns: tuple[str, ...], renamed: tuple[tuple[str, str], ...] = ()
) -> dict[str, str]:
    """Read the files to compare, by relative path, with their times removed."""
    files = sorted(
        {path for pattern in patterns for path in out.rglob(pattern) if ".cache" not in path.parts}
    )
    outputs = {}
    for path in files:
        text = path.read_text(encoding="utf-8")
        for pattern, replacement in (*_TIMES, *renamed):
            text = re.sub(pattern, replacement, text, flags=re.DOTALL)
        outputs[path.relative_to(out).as_posix()] = text
    return outputs


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--against", required=True, metavar="REV", help="revision, or folder of a checkout")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="folder that keeps all outputs")
    parser.add_argument("--reports", action="store_true", help="compare reports, cards and plots as well")
    options = parser.parse_args()
    patterns = (*PATTERNS, *REPORTS) if options.reports else PATTERNS
    work = options.keep or Path(tempfile.mkdtemp(prefix="same-bytes-"))
    other = Path(options.against)
    if not other.is_dir():
        other = work / "tree"
        subprocess.run(
            ["git", "worktree", "add", "--detach", str(other), options.against], cwd=ROOT, check=True
        )
    try:
        for tree, name in ((other, "before"), (ROOT, "after")):
            # The same port for both, as the address is in the files.
            with scripted_endpoint(port=8917) as endpoint:
                run_pipeline(tree, work / name, endpoint.url)
    finally:
        if other == work / "tree":
            subprocess.run(["git", "worktree", "remove", "--force", str(other)], cwd=ROOT, check=True)
    before = read_outputs(work / "before", patterns, RENAMED)
    after = read_outputs(work / "after", patterns)
    differing = [name for name in sorted(before.keys() | after.keys()) if before.get(name) != after.get(name)]
    for name in differing:
        print(f"\n{name}" + ("" if name in before and name in after else ": only in one of the trees"))
        pairs = (before.get(name, ""), after.get(name, ""))
        lines = difflib.unified_diff(
            *(text.splitlines() for text in pairs), "before", "after", lineterm="", n=0
        )
        print("\n".join(line[:300] for line, _ in zip(lines, range(12), strict=False)))
    print(f"{len(after) - len(differing)} of {len(after)} files have the same bytes; outputs in {work}")
    sys.exit(bool(differing))


if __name__ == "__main__":
    main()
