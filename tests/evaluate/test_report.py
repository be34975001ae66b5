"""The report: what comes first, what it shows, and that the text of documents and models is escaped."""

from __future__ import annotations

import base64
import hashlib
import html
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.rag.test_answer import hit
from tools.raft.evaluate.compare import (
    compare_arms,
    slices_of,
    summarise_distractor_sweep,
    summarise_without_oracle,
)
from tools.raft.evaluate.refusals import summarise_refusals
from tools.raft.evaluate.report.examples import cut_quotes, mark_quotes, pick_examples, tabulate
from tools.raft.evaluate.report.html import plain, write_report
from tools.raft.evaluate.report.text import classify_difference, find_headlines, show_break_even
from tools.raft.evaluate.score import Gold, score_answers
from tools.raft.rag.citations import read_reply

HOSTILE = '</p><script>alert(1)</script><img src="http://evil.example/x.png"> | ## Heading `code` [a](http://evil.example)'


def answer(id: str, arm: str, text: str, documents: list[Any], error: str = "") -> dict[str, Any]:
    reply = read_reply("" if error else text, documents)
    return {"id": id, "arm": arm, "question": f"Question {id}?", **reply, "documents": documents, "error": error,
            "prompt_tokens": 100, "completion_tokens": 10, "seconds": 0.5}  # fmt: skip


def compared(
    count: int = 40, failed: int = 0, hostile: str = ""
) -> tuple[dict[str, Any], list[Any], list[Any]]:
    """Compare two arms; the second is right twice as often, and fails on the first `failed` questions."""
    ids = [f"{number:03}" for number in range(count)]
    golds = [Gold((f"fish {id}",), frozenset({f"{id}.txt"})) for id in ids]
    documents = [
        [
            hit("Herons stand still.", source="x.txt"),
            hit(f"Otters eat fish {id}. {hostile}", rank=2, source=f"{id}.txt"),
        ]
        for id in ids
    ]
    questions = [
        {"question": f"What do otters eat, {id}? {hostile}", "source": f"{int(id) % 2}.txt"} for id in ids
    ]
    quote = "##begin_quote##Otters eat fish {}.##end_quote##"
    answers: dict[str, list[dict[str, Any]]] = {"rag": [], "raft": []}
    for i, id in enumerate(ids):
        wrong = f"Otters fly. ##begin_quote##Otters fly.##end_quote## {hostile}\n<ANSWER>: sky"
        right = f"It says {quote.format(id)}\n<ANSWER>: fish {id}"
        answers["rag"].append(answer(id, "rag", right if i % 3 == 0 else wrong, documents[i]))
        error = "HTTP 500" if i < failed else ""
        answers["raft"].append(answer(id, "raft", right if i % 3 else wrong, documents[i], error))
    scores = {arm: score_answers(rows, golds) for arm, rows in answers.items()}
    errors = {arm: sum(bool(row["error"]) for row in rows) for arm, rows in answers.items()}
    golds_by_id = dict(zip(ids, golds, strict=True))
    comparison = compare_arms(
        scores, baseline="rag", slices=slices_of(questions, golds, documents), errors=errors
    )
    cost = {"priced_as": "m", "measured": count, "unmeasured": 0, "prompt_tokens": 100.0,
            "completion_tokens": 10.0, "dollars_per_1000": 2.0, "hosting_hour": None}  # fmt: skip
    comparison |= {
        "costs": {"rag": cost, "raft": {**cost, "dollars_per_1000": 0.5}},
        "break_even": {"raft": {"dataset": 3.0, "training": 1.5, "ratio": 4.0, "saved_per_1000": 1.5, "questions": 3000}},
        "distractors": summarise_distractor_sweep(
            {arm: {0: rows[:10], 10: rows[10:20]} for arm, rows in answers.items()}, golds_by_id, total=10
        ),
        "refusals": summarise_refusals(
            {
                arm: [
                    *((row, gold) for row, gold in zip(rows, golds, strict=True)),
                    *(({**row, "documents": row["documents"][:1]}, gold)
                      for row, gold in zip(rows, golds, strict=True)),
                ]
                for arm, rows in answers.items()
            }
        ),
        "without_oracle": summarise_without_oracle(answers, golds_by_id, total=count),
        "settings": {"questions": "q.jsonl", "k": 2, "mode": "fused", "models": {"baseline": "m", "raft": "t"},
                     "judge": None, "index": {"chunks": 2}, "seen_in_training": 0},
    }  # fmt: skip
    results = (ids, questions, golds, answers, scores)
    return comparison, pick_examples(*results, baseline="rag"), tabulate(*results, baseline="rag")


def test_the_largest_wins_and_losses_are_picked() -> None:
    _, cases, table = compared()
    outcomes = [case["outcome"] for case in cases]
    assert outcomes == ["win"] * 10 + ["loss"] * 10
    differences = [case["difference"] for case in cases]
    assert differences[:10] == sorted(differences[:10], reverse=True) and min(differences[:10]) > 0 > max(
        differences[10:]
    )
    win = cases[0]
    assert [reply["answer"] for reply in win["replies"]] == ["sky", f"fish {win['id']}"]
    assert win["replies"][0]["reasoning"][1] == ("Otters fly.", "invented")
    assert win["replies"][1]["reasoning"][1] == (f"Otters eat fish {win['id']}.", "verbatim")
    assert [document["oracle"] for document in win["documents"]] == [False, True]
    assert win["documents"][1]["text"][0] == (f"Otters eat fish {win['id']}.", "verbatim")
    assert len(table) == 40 and {row["outcomes"][0] for row in table} == {"win", "loss"}


def test_a_question_that_one_arm_failed_on_is_neither_a_win_nor_a_loss() -> None:
    _, cases, table = compared(failed=18)
    assert not {case["id"] for case in cases} & {f"{number:03}" for number in range(18)}
    assert [row["outcomes"] for row in table[:18]] == [["missing"]] * 18


def test_46_percent_missing_is_reported_before_any_figure(tmp_path: Path) -> None:
    comparison, cases, table = compared(count=50, failed=23)
    write_report(comparison, cases, table, tmp_path)
    for name in ("report.html", "report.md"):
        text = (tmp_path / name).read_text(encoding="utf-8")
        position = text.index("46% of the answers of raft are missing (23 of 50 calls failed)")
        assert position < text.index("Results") < text.index("All metrics"), name
        assert "23 missing" in text
        assert "If every missing score were the worst for one arm" in text, name


def test_the_page_is_self_contained_and_runs_only_its_own_script(tmp_path: Path) -> None:
    page = write_report(*compared(hostile=HOSTILE), tmp_path).read_text(encoding="utf-8")
    policy = html.unescape(re.search(r'Content-Security-Policy" content="([^"]+)"', page).group(1))
    assert policy.startswith("default-src 'none'; img-src data:;")
    scripts = re.findall(r"<script[^>]*>(.*?)</script>", page, re.DOTALL)
    assert len(scripts) == 1
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert not re.search(r'(?:src|href|action)="(?!data:)', page)
    assert "url(" not in page and "@import" not in page
    assert html.escape(HOSTILE, quote=False).split("<")[0][:40] in page, "the text of a document is escaped"
    images = re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', page)
    assert len(images) == 4
    for image in images:
        svg = base64.b64decode(image).decode()
        assert "<svg" in svg and "<script" not in svg


def test_markdown_escapes_the_text_of_documents_and_models(tmp_path: Path) -> None:
    write_report(*compared(count=60, hostile=HOSTILE), tmp_path)
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "<script>" not in text and "<img" not in text
    assert not re.search(r"(?<!\\)\]\(http", text), "links appear only as escaped text"
    assert plain("a | b <i> [x](y) `c`\n# d") == "a \\| b &lt;i&gt; \\[x\\](y) \\`c\\` \\# d"
    for plot in re.findall(r"\]\((plots/[^)]+)\)", text):
        assert (tmp_path / plot).read_text(encoding="utf-8").startswith("<?xml")
    (row,) = [line for line in text.splitlines() if line.startswith("| F1")]
    assert "better" in row and "n 60" in row


def test_the_same_numbers_give_the_same_bytes(tmp_path: Path) -> None:
    results = compared()
    first = write_report(*results, tmp_path / "a").read_bytes()
    assert write_report(*results, tmp_path / "b").read_bytes() == first


def test_headlines_and_verdicts_claim_only_what_the_intervals_show() -> None:
    comparison, _, _ = compared(count=60)
    (headline,) = find_headlines(comparison)
    assert headline["arm"] == "raft" and headline["metric"] == "f1" and headline["verdict"] == "better"
    assert classify_difference("f1", {"low": -0.1, "high": 0.2}) == ""
    assert classify_difference("f1", {"low": -0.2, "high": -0.1}) == "worse"
    assert classify_difference("false_refusal", {"low": -0.2, "high": -0.1}) == "better"
    assert classify_difference("answer_words", {"low": 1.0, "high": 2.0}) == "", (
        "neither long nor short is better"
    )
    assert classify_difference("f1", {"low": None, "high": None}) == "" == classify_difference("f1", None)
    assert show_break_even(comparison) == [
        "raft costs 4.0 times less per question than rag; the cost (dataset $3.00, training $1.50) is recovered after 3,000 questions"
    ]
    comparison["break_even"]["raft"] |= {"ratio": 0.5, "questions": None}
    assert (
        "2.0 times more" in show_break_even(comparison)[0]
        and "never recovered" in show_break_even(comparison)[0]
    )


def test_quotes_are_marked_in_the_text() -> None:
    documents = [hit("Otters eat “fish”. Herons wait.")]
    reasoning = 'First ##begin_quote##Otters eat "fish".##end_quote## then ##begin_quote##never##end_quote##.'
    assert cut_quotes(reasoning, documents) == [
        ("First ", ""), ('Otters eat "fish".', "verbatim"), (" then ", ""), ("never", "invented"), (".", ""),
    ]  # fmt: skip
    assert mark_quotes("abcdef", ["bcd", "cde", "zz"]) == [("a", ""), ("bcde", "verbatim"), ("f", "")]
    assert mark_quotes("abc", []) == [("abc", "")]


@pytest.mark.skipif(not shutil.which("chromium"), reason="chromium is not installed")
def test_a_browser_runs_the_filters_and_no_request_leaves_the_page(tmp_path: Path) -> None:
    page = write_report(*compared(hostile=HOSTILE), tmp_path)
    log = tmp_path / "net.json"
    done = subprocess.run(
        ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
         "--disable-background-networking", "--disable-component-update", f"--log-net-log={log}", "--dump-dom",
         page.as_uri()],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert ">40 of 40 questions<" in done.stdout
    assert '<form id="filters">' in done.stdout, "the page's own script ran"
    urls = re.findall(r'"url":"([^"]*)"', log.read_text(encoding="utf-8"))
    assert urls and not [url for url in urls if "evil.example" in url]
