"""API calls in replies, and their strict comparison with the gold call."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tools.raft.text.api_calls import (
    call_field,
    documented_call,
    documents_api,
    judge_call,
    read_apis,
    read_calls,
)

QA = Path(__file__).parents[3] / "shared" / "qa"
GOLD = "torch.hub.load(repo_or_dir='owner/nets', model='net18', pretrained=True)"
APIS = read_apis([
    GOLD,
    "torch.hub.load('owner/nets', 'net50', pretrained=True)",
    "hub.load('https://hub.example/encoder/4')",
    "./run.sh --download_model net",
])  # fmt: skip


@pytest.mark.parametrize(
    "reply",
    [
        GOLD,
        "torch.hub.load(pretrained = True, model='net18', repo_or_dir='owner/nets')",
        'torch.hub.load("owner/nets", "net18", pretrained=True)',
        "torch.hub.load(\n    'owner/nets',\n    model='net18',\n    pretrained=True,\n)",
        f"It's for images:\n```python\nimport torch\nprint('loading')\nmodel = {GOLD}\n```\n",
        f"That's what I'd call: {GOLD}, then feed it images.",
        f"<<<domain>>>: Images (small)\n<<<api_call>>>: {GOLD}\n<<<api_provider>>>: PyTorch\n<<<code>>>: load()",
        f"{{'domain': 'load(1)', 'api_call': \"{GOLD}\", 'api_provider': 'PyTorch'}}",
    ],
)
def test_the_gold_call_is_correct_however_it_is_written(reply):
    assert judge_call(reply, GOLD, APIS) == "correct"


@pytest.mark.parametrize(
    "reply",
    [
        "torch.hub.load('owner/nets', 'net50', pretrained=True)",
        "torch.hub.load('owner/nets', 'net18')",
        "torch.hub.load('owner/nets', 'net18', pretrained=False)",
        "torch.hub.load('owner/nets', 'net18', pretrained=True, verbose=False)",
        f"hub.load('https://hub.example/encoder/4') or {GOLD}",
        GOLD[:-1],
        "I know no such model.",
        "",
    ],
)
def test_another_api_other_options_or_no_call_are_wrong(reply):
    assert judge_call(reply, GOLD, APIS) == "wrong"


@pytest.mark.parametrize(
    "reply",
    [
        "torch.hub.load('owner/nets', 'net34', pretrained=True)",
        "torch.hub.load('owner/nets', 'Net18', pretrained=True)",
        "torch.load('owner/nets', 'net18', pretrained=True)",
        "hub.load('https://hub.example/encoder/42')",
        "url = 'https://hub.example/encoder/4'\nhub.load(url)",
    ],
)
def test_a_call_of_no_listed_api_is_a_hallucination(reply):
    assert judge_call(reply, GOLD, APIS) == "hallucination"


def test_a_gold_call_outside_the_list_can_be_answered_and_missed():
    gold = "Net.from_pretrained('owner/net')"
    assert judge_call(gold, gold, APIS) == "correct"
    assert judge_call("Net.from_pretrained('owner/net', device=0)", gold, APIS) == "wrong"


def test_calls_that_are_broken_as_published_are_compared_nevertheless():
    twice = "torch.hub.load(repo_or_dir='a/b', 'net', model='net18')"
    assert judge_call(twice.replace("'", '"'), twice, frozenset()) == "correct"
    assert judge_call(twice.replace("net18", "net50"), twice, frozenset()) == "hallucination"
    unquoted = "pipeline(sentiment-analysis, model=a/Net_V1.4)"
    assert (
        judge_call("pipeline('sentiment-analysis', model='a/Net_V1.4')", unquoted, frozenset()) == "correct"
    )
    shell = "./run.sh --download_model 'net'"
    assert judge_call(f"<<<api_call>>>: {shell}\n<<<api_provider>>>: x", shell, APIS) == "correct"
    assert judge_call("./run.sh --download_model 'net2'", shell, APIS) == "wrong"


def test_brackets_commas_and_quotes_inside_strings_do_not_end_an_argument():
    (call,) = read_calls(r"""f('a)b, "c"', [1, (2, 3)], key={'x': 'it\'s'})""")
    assert call.function == "f"
    assert call.arguments == {("0", 'a)b, "c"'), ("1", "[1,(2,3)]"), ("key", """{'x':"it's"}""")}


def test_calls_come_in_order_outer_ones_first():
    names = [call.function for call in read_calls("a.b(c(1), 2) then (d) and e (f) and g()")]
    assert names == ["a.b", "c", "g"]


def test_the_documented_call_is_that_of_the_line_call():
    entry = f"Name: f(1)\nCall: {GOLD}\nDescription: like g(2)\nExample code:\nh(3)"
    assert call_field(entry) == GOLD
    lower = "api_call: torch.hub.load('owner/nets', 'net18')\nh(3)"
    assert documented_call(lower).same_api(documented_call(entry))
    assert documents_api(entry, "torch.hub.load('owner/nets', 'net18', verbose=False)")
    assert not documents_api(entry, "torch.hub.load('owner/nets', 'net50')")
    command = "Call: ./run.sh --model net\nDescription: f(1)"
    assert documented_call(command) is None
    assert documents_api(command, "./run.sh  --model net")
    assert not documents_api(command, "f(1)")
    assert not documents_api(entry, "")
    assert not documents_api("Name: net", "")
    assert documented_call("Name: f(1)\nDescription: g(2)") is None
    assert call_field("") == ""


def test_options_make_no_other_api_nor_do_arguments_of_a_function_that_is_not_known():
    def same(one, other):
        first, second = next(read_calls(one)), next(read_calls(other))
        return first.same_api(second) and second.same_api(first)

    assert same("hub.load('a/4', tags=['x'])", "hub.load(handle='a/4')")
    assert not same("hub.load('a/4')", "hub.load('a/5')")
    assert not same("hub.load('a/4')", "hub.KerasLayer('a/4')")
    assert same("pipeline('x', model='a/b', top_k=2)", "pipeline(task='x', model='a/b')")
    assert not same("pipeline('x', model='a/b')", "pipeline('x')")
    assert same("tides.next(place='a')", "tides.next('b', after=None)")


def test_a_reply_that_repeats_an_opening_bracket_is_read_at_once():
    began = time.monotonic()
    assert judge_call("f(" * 8000, GOLD, APIS) == "wrong"
    assert time.monotonic() - began < 5


@pytest.mark.skipif(not QA.is_dir(), reason="needs ../shared/qa")
@pytest.mark.parametrize(
    ("hub", "constant", "share"),
    [
        ("torchhub", "torch.hub.load('pytorch/vision', 'resnet18', pretrained=True)", 3 / 186),
        ("tensorflowhub", "hub.load('https://tfhub.dev/google/universal-sentence-encoder/4')", 228 / 685),
        ("huggingface", "pipeline('summarization')", 0),
    ],
)
def test_on_apibench_every_gold_call_is_correct_and_a_constant_is_only_where_it_is_gold(hub, constant, share):
    rows = {
        kind: [json.loads(line) for line in (QA / f"apibench_{hub}_{kind}.jsonl").read_text(encoding="utf-8").splitlines()]
        for kind in ("api", "questions")
    }  # fmt: skip
    apis = read_apis(row["api_call"] for row in rows["api"])
    golds = [row["gold_api_call"] for row in rows["questions"]]
    assert {judge_call(gold, gold, apis) for gold in golds} == {"correct"}
    assert sum(judge_call(constant, gold, apis) == "correct" for gold in golds) / len(golds) == share
