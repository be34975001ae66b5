"""Nothing unverified is accepted, and every rejection has its reason."""

from __future__ import annotations

import pytest

from tests.conftest import make_chunk
from tools.raft.generate.verify import answers_agree, verify_answer, verify_question
from tools.raft.raft_format import Answer
from tools.raft.records import Chunk, new_draft

CHUNK = make_chunk()
GOOD = "The text gives the weight: ##begin_quote##An adult weighs between five and nine grams.##end_quote##\n<ANSWER>: Five to nine grams"


def question_flaw(question: str, chunk: Chunk = CHUNK) -> str:
    return verify_question(new_draft(question, chunk["id"]), chunk)


def test_accepts_a_good_question_and_answer() -> None:
    assert question_flaw("How much does an adult lesser horseshoe bat weigh?") == ""
    assert isinstance(verify_answer(GOOD, "stop", CHUNK), Answer)


@pytest.mark.parametrize(
    ("question", "reason"),
    [
        ("", "empty question"),
        ("?", "empty question"),
        ("What does it weigh? And where does it live?", "several questions in one"),
        ("The bat weighs nine grams.", "not a question"),
        ("According to the passage, what does a bat weigh?", "talks about its context"),
        ("What does the context say of bats?", "talks about its context"),
        ("What is mentioned in this document?", "talks about its context"),
        ("Was sagt der Autor laut Text über Fledermäuse?", "talks about its context"),
        ("根据上下文，蝙蝠吃什么？", "talks about its context"),
        ("Why " + "very " * 100 + "big?", "question too long"),
    ],
)
def test_rejects_a_bad_question(question: str, reason: str) -> None:
    assert question_flaw(question) == reason


@pytest.mark.parametrize(
    "question",
    [
        "Which documents does a traveller hand in after a trip?",
        "In what context was the word bat first used?",
        "Who wrote the text of the anthem?",
        "蝙蝠有多重？",
        "ما وزن الخفاش؟",
        "ค้างคาวหนักเท่าไร",
        "コウモリの重さはどのくらいですか。",
    ],
)
def test_accepts_a_sensible_question(question: str) -> None:
    assert question_flaw(question) == ""


def test_a_given_question_needs_no_question_mark() -> None:
    assert verify_question(new_draft("weight of the bat", CHUNK["id"], origin="given"), CHUNK) == ""


@pytest.mark.parametrize(
    ("reply", "finish", "reason"),
    [
        (GOOD, "length", "truncated answer"),
        ("Because it weighs nine grams, which is little, the", "length", "truncated answer"),
        (GOOD.replace("nine grams.", "ten grams."), "stop", "quote is not verbatim"),
        ("Simply so.\n<ANSWER>: nine", "stop", "no quote"),
        (GOOD.replace("<ANSWER>", ""), "stop", "no <ANSWER> tag"),
        (
            "Nothing there: ##begin_quote##An adult##end_quote##\n<ANSWER>: UNANSWERABLE",
            "stop",
            "not answered by its chunk",
        ),
    ],
)
def test_rejects_a_bad_answer(reply: str, finish: str, reason: str) -> None:
    assert verify_answer(reply, finish, CHUNK) == reason


def test_compares_an_answer_with_the_expected_one() -> None:
    assert isinstance(
        verify_answer(GOOD, "stop", CHUNK, expected=["a gram", "between five and nine grams"]), Answer
    )
    assert (
        verify_answer(GOOD, "stop", CHUNK, expected=["half an hour"]) == "disagrees with the expected answer"
    )


def entry(call: str) -> Chunk:
    return make_chunk(
        f"Name: net18\nCall: {call}\nDescription: A model for photos.\n"
        "Example code:\nmodel = load(1)\nprint(model(to(x)))",
        kind="api",
    )


def api_verdict(final: str, call: str) -> str:
    reply = f"For photos: ##begin_quote##A model for photos.##end_quote##\n<ANSWER>: {final}"
    verdict = verify_answer(reply, "stop", entry(call))
    return "" if isinstance(verdict, Answer) else verdict


HUB = "torch.hub.load(repo_or_dir='owner/nets', model='net18', pretrained=True)"


@pytest.mark.parametrize(
    ("final", "reason"),
    [
        (HUB, ""),
        ("torch.hub.load('owner/nets', 'net18', pretrained=False, verbose=False)", ""),
        ('```python\nnet = torch.hub.load("owner/nets", model="net18").eval()\n```', ""),
        ("print(torch.hub.load('owner/nets', 'net18'))", ""),
        ("torch.hub.load('owner/nets', 'net50', pretrained=True)", "answer calls another API"),
        ("torch.hub.load('other/nets', 'net18', pretrained=True)", "answer calls another API"),
        ("hub.load('owner/nets', 'net18')", "answer calls another API"),
        ("print(load(1))", "answer calls another API"),
        ("use net18 from owner/nets", "no call in the answer"),
        ("torch.hub.load(repo_or_dir='owner/nets', model='net18', pretr", "no call in the answer"),
    ],
)
def test_an_answer_about_an_api_must_call_it_with_any_options(final: str, reason: str) -> None:
    assert api_verdict(final, HUB) == reason


def test_the_arguments_of_a_function_whose_signature_is_unknown_are_examples() -> None:
    documented = "tides.next_high_tide(place='pelham', after=None)"
    assert api_verdict("tides.next_high_tide('cray-point')", documented) == ""
    assert api_verdict("tides.next_low_tide('pelham')", documented) == "answer calls another API"


def test_a_call_that_is_broken_as_published_is_compared_nevertheless() -> None:
    documented = "pipeline(sentiment-analysis, model='owner/net')"
    assert api_verdict("pipeline('sentiment-analysis', model='owner/net', top_k=2)", documented) == ""
    assert api_verdict("pipeline('sentiment-analysis')", documented) == "answer calls another API"


def test_where_no_call_is_documented_the_answer_repeats_the_command_or_names_a_function() -> None:
    command = "./run.sh  --download_model 'owner/net'"
    assert api_verdict("./run.sh --download_model 'owner/net'", command) == ""
    assert api_verdict("model = load('owner/net')", command) == ""
    assert api_verdict("./run.sh --download_model 'owner/other'", command) == "answer does not name the call"
    assert api_verdict("the command", command) == "answer does not name the call"


@pytest.mark.parametrize(
    ("task", "call", "named"),
    [
        ("I want torch.hub.load to fetch it.", HUB, True),
        ("Which model should I load to print labels for photos?", HUB, False),
        ("Which pipeline sorts reviews by mood?", "pipeline('x', model='owner/net')", False),
        ("How do I call pipeline('x')?", "pipeline('x', model='owner/net')", True),
        ("Is SentenceTransformer the right one?", "SentenceTransformer('owner/net')", True),
        ("Does next_high_tides exist?", "next_high_tide(place='x')", False),
        ("Which model should I load?", "./run.sh --download_model x", False),
        ("What does load(1) do?", "./run.sh --download_model x", True),
    ],
)
def test_a_task_must_not_name_the_call_but_may_use_words_of_the_example(
    task: str, call: str, named: bool
) -> None:
    assert question_flaw(task, entry(call)) == ("task names the call" if named else "")


def test_a_task_may_speak_of_a_text_but_not_of_the_documentation() -> None:
    assert question_flaw("Find the names of people in the given text.", entry(HUB)) == ""
    assert question_flaw("What does the documentation offer for photos?", entry(HUB)) == (
        "talks about its context"
    )


@pytest.mark.parametrize(
    ("answer", "expected", "same"),
    [
        ("Five to nine grams", "between five and nine grams", True),
        ("42", "It was 42 metres", True),
        ("43 metres", "42 metres", False),
        ("the roof", "half an hour", False),
        ("六十度", "大约六十度", True),
        ("六十度", "三公里", False),
        ("", "x", False),
    ],
)
def test_answers_agree(answer: str, expected: str, same: bool) -> None:
    assert answers_agree(answer, expected) is same
