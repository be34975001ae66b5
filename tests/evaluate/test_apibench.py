"""APIBench's reference scorers: small cases, and their own verdicts where ../shared/qa is there."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from tools.raft.errors import UserError
from tools.raft.evaluate.apibench import Judgement, ReferenceScorer

QA = Path(__file__).parents[3] / "shared" / "qa"
needs_parser = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ["tree_sitter", "tree_sitter_python"])),
    reason="needs requirements-apibench.txt",
)
HUBS = ("torchhub", "tensorflowhub", "huggingface")


def api(call: str, domain: str) -> dict[str, str]:
    return {"api_call": call, "domain": domain}


TORCH = [
    api("torch.hub.load(repo_or_dir='owner/nets', model='net18', pretrained=True)", "Images"),
    api("torch.hub.load(repo_or_dir='owner/speech', model='talker')", "Sound"),
    api("torch.hub.load(repo_or_dir='owner/more', model='net50')", "Images"),
]


def tagged(call: str) -> str:
    return f"<<<domain>>>: x\n<<<api_call>>>: {call}\n<<<api_provider>>>: y"


@needs_parser
def test_torchhub_compares_repository_and_model_and_judges_by_domain():
    judge = ReferenceScorer("torchhub", TORCH).judge
    assert judge(tagged("torch.hub.load('owner/nets', 'net18')"), "Images") == ("correct", 0)
    assert judge(tagged('torch.hub.load("owner/more", "net50", verbose=False)'), "Images") == ("correct", 2)
    assert judge(tagged("torch.hub.load('owner/speech', 'talker')"), "Images") == ("wrong", 1)
    assert judge(tagged("torch.hub.load('owner/nets', 'net50')"), "Images") == ("hallucination", None)
    assert judge(tagged("torch.hub.load('owner/nets', 'net18', pretr"), "Images") == ("correct", 0), "cut off"


@needs_parser
def test_torchhub_judges_a_reply_without_the_word_api_call_wrong_and_the_others_read_it_whole():
    call = "torch.hub.load('owner/nets', 'net18', pretrained=True)"
    assert ReferenceScorer("torchhub", TORCH).judge(call, "Images") == Judgement("wrong")
    apis = [api("hub.load('https://hub.example/encoder/4')", "Text")]
    for hub in ("tensorflowhub", "huggingface"):
        judge = ReferenceScorer(hub, apis).judge
        assert judge("You may call hub.load('https://hub.example/encoder/4') here.", "Text") == ("correct", 0)
        assert judge("", "Text") == ("hallucination", None)


@needs_parser
def test_the_first_api_whose_values_occur_as_substrings_is_the_match():
    apis = [api("pipeline('summarization')", "Text"), api("pipeline('summarization', model='a/b')", "Other")]
    judge = ReferenceScorer("huggingface", apis).judge
    assert judge("pipeline('summarization', model='a/b')", "Other") == ("wrong", 0)
    assert judge("pipeline('summarization', model='invented')", "Text") == ("correct", 0)


@needs_parser
def test_tensorflow_hub_compares_options_too():
    apis = [api("hub.KerasLayer('https://hub.example/a/1', trainable=False)", "Images")]
    judge = ReferenceScorer("tensorflowhub", apis).judge
    assert judge("hub.KerasLayer('https://hub.example/a/1', trainable=False)", "Images").verdict == "correct"
    assert judge("hub.KerasLayer('https://hub.example/a/1')", "Images").verdict == "hallucination"


@needs_parser
def test_an_api_that_is_no_call_matches_nothing():
    apis = [api("", "Text"), api("net", "Text"), api("hub.load()", "Text")]
    for hub in HUBS:
        judgement = ReferenceScorer(hub, apis).judge(tagged("other.load('x')"), "Text")
        assert judgement.verdict == "hallucination"


def test_without_the_parser_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "tree_sitter", None)
    with pytest.raises(UserError, match=r"pip install -r requirements-apibench\.txt"):
        ReferenceScorer("torchhub", [])


def read(name: str) -> list[dict]:
    return [json.loads(line) for line in (QA / name).read_text(encoding="utf-8").splitlines()]


@needs_parser
@pytest.mark.skipif(not QA.is_dir(), reason="needs ../shared/qa")
def test_the_verdicts_of_the_reference_scorers():
    scorers = {hub: ReferenceScorer(hub, read(f"apibench_{hub}_api.jsonl")) for hub in HUBS}
    rows = read("apibench_verdicts.jsonl")
    assert len(rows) == 90
    for row in rows:
        judgement = scorers[row["hub"]].judge(row["reply"], row["gold_domain"])
        assert judgement == (row["verdict"], row["matched_api_index"]), row["kind"]


@needs_parser
@pytest.mark.skipif(not QA.is_dir(), reason="needs ../shared/qa")
@pytest.mark.parametrize(
    ("hub", "constant", "correct", "gold_correct"),
    [
        ("torchhub", "torch.hub.load('pytorch/vision', 'resnet18', pretrained=True)", 158, 186),
        ("tensorflowhub", "hub.load('https://tfhub.dev/google/universal-sentence-encoder/4')", 205, 658),
        ("huggingface", "pipeline('summarization')", 23, 861),
    ],
)
def test_the_scores_of_a_constant_reply_and_of_the_gold_calls(hub, constant, correct, gold_correct):
    judge = ReferenceScorer(hub, read(f"apibench_{hub}_api.jsonl")).judge
    rows = read(f"apibench_{hub}_questions.jsonl")
    assert sum(judge(tagged(constant), row["gold_domain"]).verdict == "correct" for row in rows) == correct
    verdicts = [judge(tagged(row["gold_api_call"]), row["gold_domain"]).verdict for row in rows]
    assert verdicts == [row["gold_verdict"] for row in rows]
    assert verdicts.count("correct") == gold_correct
