"""Constrained decoding: target sentences, and the replies that a grammar admits."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings, strategies as st

from tests.conftest import BATS
from tools.raft.generate.small_model.grammar import (
    answer_grammar,
    answer_reply,
    likely_sentences,
    parse_question_reply,
    pick_targets,
    question_grammar,
    question_reply,
)
from tools.raft.raft_format import parse_answer
from tools.raft.text.sentences import split_sentences

TOKEN = re.compile(r'"((?:[^"\\]|\\.)*)"|\[((?:[^\]\\]|\\.)+)\](\+?)|([\w-]+)|([()|?])')


def admits(grammar: str, text: str) -> bool:
    """Return whether a GBNF grammar, limited to the syntax used here, admits the whole text."""
    rules = {}
    for line in grammar.splitlines():
        name, body = line.split(" ::= ", 1)
        tokens = list(TOKEN.finditer(body))
        assert "".join(m.group() for m in tokens).replace(" ", "") == body.replace(" ", ""), "unknown syntax"
        rules[name] = parse_choice(tokens, [0])
    return any(end == len(text) for end in match(rules["root"], text, 0, rules))


def parse_choice(tokens, position):
    options, row = [], []
    while position[0] < len(tokens) and tokens[position[0]].group(5) != ")":
        token = tokens[position[0]]
        position[0] += 1
        literal, charset, plus, rule, mark = token.groups()
        if mark == "|":
            options.append(row)
            row = []
        elif mark == "(":
            row.append(("choice", parse_choice(tokens, position)))
            position[0] += 1
        elif mark == "?":
            row[-1] = ("choice", [[row[-1]], []])
        elif rule:
            row.append(("rule", rule))
        elif charset:
            row.append(("regex", re.compile(f"[{charset}]{plus}")))
        else:
            row.append(("literal", re.sub(r"\\(.)", lambda m: {"n": "\n"}.get(m[1], m[1]), literal)))
    return [*options, row]


def match(options, text, start, rules):
    ends = set()
    for row in options:
        heads = {start}
        for kind, value in row:
            if kind == "literal":
                heads = {h + len(value) for h in heads if text.startswith(value, h)}
            elif kind == "regex":
                heads = {m.end() for h in heads if (m := value.match(text, h))}
            else:
                heads = {
                    e for h in heads for e in match(rules[value] if kind == "rule" else value, text, h, rules)
                }
        ends |= heads
    return ends


def reply(quote: str, answer: str, question_word: str = "how many") -> str:
    return f"This sentence says {question_word}: ##begin_quote##{quote}##end_quote##\n<ANSWER>: {answer}"


SENTENCES = split_sentences(BATS)


def test_an_answer_quotes_a_sentence_and_is_a_span_of_it() -> None:
    grammar = answer_grammar(SENTENCES)
    assert admits(grammar, reply(SENTENCES[1], "between five and nine grams", "how much"))
    assert admits(grammar, reply(SENTENCES[3], "midges", "what"))
    assert not admits(grammar, reply(SENTENCES[3], "between five and nine grams")), (
        "words of another sentence"
    )
    assert not admits(grammar, reply(SENTENCES[1], "five nine grams")), "words left out"
    assert not admits(grammar, reply(SENTENCES[1], "etween five")), "half a word"
    assert not admits(grammar, reply(SENTENCES[1], "nine grams.")), "the full stop"
    assert not admits(grammar, reply("The lesser horseshoe bat sleeps.", "bat")), (
        "not a sentence of the passage"
    )
    assert not admits(grammar, reply(SENTENCES[1], ""))


def test_a_question_follows_a_span_of_its_sentence() -> None:
    grammar = question_grammar("It weighs 5.5\ng, says “Mr. Ash's book”.")
    assert admits(grammar, question_reply("5.5 g", "How much does it weigh?"))
    assert admits(grammar, question_reply("Ash", "Who says so?"))
    assert admits(grammar, question_reply("Mr. Ash's book", "What says so?"))
    assert not admits(grammar, question_reply("Ash's", "Whose book?")), (
        "the possessive ending is not part of a word"
    )
    assert not admits(grammar, question_reply("6 g", "How much?"))
    assert not admits(grammar, question_reply("5.5 g", "How much? Why?"))
    assert not admits(grammar, question_reply("5.5 g", "Heavy"))


@pytest.mark.parametrize(
    ("sentence", "answer", "question"),
    [
        ("Die Fledermaus wiegt 5 Gramm.", "5 Gramm", "Wie viel wiegt die Fledermaus?"),
        ("蝙蝠在日落后半小时离开洞穴。", "日落后半小时", "蝙蝠什么时候离开洞穴？"),
        ("चमगादड़ गुफा में सोता है।", "गुफा में", "चमगादड़ कहाँ सोता है?"),
        ('He said "C:\\bats\\n" and\nleft.', "C:\\bats\\n", "What did he say?"),
    ],
)
def test_grammars_admit_any_script_and_any_character(sentence: str, answer: str, question: str) -> None:
    assert admits(question_grammar(sentence), question_reply(answer, question))
    assert admits(answer_grammar([sentence]), reply(" ".join(sentence.split()), answer, "what"))


@settings(deadline=None, max_examples=60)
@given(st.text(max_size=60).filter(lambda text: any(c.isalnum() and c.isascii() for c in text)))
def test_any_sentence_has_a_valid_grammar(sentence: str) -> None:
    flat = " ".join(sentence.split())
    word = re.findall(r"[a-zA-Z0-9]+", flat)[0]
    grammar = answer_grammar([sentence])
    answers = [flat[a:b] for a in range(len(flat)) for b in range(a + 1, len(flat) + 1) if word in flat[a:b]]
    assert any(admits(grammar, reply(flat, answer, "what")) for answer in answers)
    assert not admits(grammar, reply(flat + "x", word, "what"))


def test_the_grammars_admit_the_replies_the_teacher_is_trained_on() -> None:
    question = "How much does an adult weigh?"
    trained = answer_reply(question, SENTENCES[1], "between five and nine grams")
    assert admits(answer_grammar(SENTENCES), trained)
    parsed = parse_answer(trained)
    assert not isinstance(parsed, str)
    assert (parsed.quotes, parsed.final) == ((SENTENCES[1],), "between five and nine grams")
    assert parse_question_reply(question_reply("five", question)) == (question, "five")
    assert parse_question_reply("Question: How?") is None


def test_targets_are_sentences_worth_asking_about() -> None:
    text = (
        "# Roosts and their keepers in the valley\n\nSee also the list of caves and other roosts\n\n"
        "The lesser horseshoe bat hangs free from the roof of a cave. Yes. 1. ^ Smith (1994), Bats, p. 12, ISBN 0-8. "
        "Retrieved 2 May 2020 from the archive of the station. Is it true that nobody counted them before 1950? "
        "It leaves its roost half an hour after sunset. The warden counted 240 bats at Elm Mill in 1987. "
        "- an item of a list that goes on and on."
    )
    bats, leaves, counted = (
        s for s in split_sentences(text) if s.startswith(("The lesser", "It leaves", "The warden"))
    )
    assert pick_targets(split_sentences(text), 9) == [bats, leaves, counted]
    assert pick_targets(split_sentences(text), 1) == [counted], (
        "with a number and a name, not starting with a pronoun"
    )
    assert pick_targets(split_sentences(text), 0) == []
    assert pick_targets([], 3) == []


def test_targets_are_spread_over_the_passage() -> None:
    sentences = [f"The river Aru carried {i} boats past the old mill." for i in range(10, 22)]
    picked = [sentences.index(target) for target in pick_targets(sentences, 4)]
    assert [position // 3 for position in picked] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "sentence",
    [
        "Die Kleine Hufeisennase wiegt fünf bis neun Gramm.",
        "小菊头蝠在日落后半小时离开它的栖息地。",
        "खच्चर पहाड़ों में रहने वाला एक पालतू जानवर है।",
    ],
)
def test_targets_are_found_in_any_script(sentence: str) -> None:
    assert pick_targets([sentence], 2) == [sentence]


def test_headings_are_not_quoted() -> None:
    grammar = answer_grammar(["## The lesser horseshoe bat", *SENTENCES])
    assert not admits(grammar, reply("## The lesser horseshoe bat", "horseshoe bat"))
    assert admits(
        answer_grammar(["## The lesser horseshoe bat"]), reply("## The lesser horseshoe bat", "bat")
    )


def test_selects_the_sentences_a_question_is_likely_about() -> None:
    assert likely_sentences(SENTENCES, "How much does an adult weigh?") == [SENTENCES[1]]
    assert likely_sentences(SENTENCES, "How far from the roost are midges found?") == [SENTENCES[3]]
    assert likely_sentences(SENTENCES, "Wo schläft sie?") == SENTENCES, (
        "without a shared word none is left out"
    )
    assert likely_sentences(SENTENCES, "What about the roost?", holding=["half an hour"]) == [SENTENCES[2]]
    assert (
        likely_sentences(SENTENCES, "What about the roost?", holding=["an hour and a half"]) == SENTENCES[2:]
    )
    zh = ["蝙蝠在洞穴中睡觉。", "茶园有三百公顷。"]
    assert likely_sentences(zh, "茶园有多少公顷？") == [zh[1]]
    assert likely_sentences([], "What?") == []
