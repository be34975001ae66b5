"""Verify the questions and answers of a small model, more strictly than those of a large one.

A question is checked together with its expected answer; an answer is checked to come from the sentence that
the question was asked about. Each flaw is a reason in a few words, an empty string if there is none.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ...raft_format import Answer
from ...records import Chunk, Draft
from ...text.normalise import fold, normalise
from ...text.words import all_words, content_words, matches_any

# Log-probabilities, chosen by reading rows of the embedded teacher one by one; see DECISIONS.md.
_MIN_MEAN, _MIN_TOKEN, _MIN_TOTAL = -0.75, -2.0, -1.0
_MAX_WORDS = 12  # of an answer
_COVERAGE = 0.75  # share of the question's content words that must be in its sentence
_OPENING = frozenset({"the", "a", "an", "to"})  # an answer must not end with these
_LOOSE = frozenset(  # nor begin or end with these
    re.findall(
        r"\w+",
        """and or but of which that who whom whose is are was were be been has have had its their his her it
        they he she than as also""",
    )
)
_PRONOUN = re.compile(r"\b(?:he|him|his|she|her|it|its|they|them|their|this|these|those)\b", re.IGNORECASE)
_AMOUNT = re.compile(
    r"\d|\b(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|\w+teen|\w+ty|hundreds?|thousands?"
    r"|millions?|half|dozens?|no|none|once|twice|all|several|few)\b",
    re.IGNORECASE,
)
_FREQUENCY = re.compile(
    r"\d|\b(?:every|each|per|once|twice|times?|daily|\w+ly|always|never|often|seldom)\b", re.IGNORECASE
)


def find_answer_flaw(draft: Draft, chunk: Chunk, answer: Answer) -> str:
    """Find a flaw in the round trip from target sentence to question to answer.

    draft: has question and target. answer: the model's, when shown only the passage and the question;
    that it agrees with the expected answer is verified before, as for every other teacher.
    """
    if normalise(answer.quotes[0]) != normalise(draft["target"]):
        return "tries disagree on the sentence"
    if _is_one_of_several(answer.final, draft["target"]):
        return "answer is one of several"
    return _answer_flaw(draft["question"], answer.final, draft["target"]) or find_question_flaw(
        draft["question"], answer.final, draft["target"], chunk
    )


def _answer_flaw(question: str, answer: str, target: str) -> str:
    words = normalise(answer).split()
    if len(words) > _MAX_WORDS or len(answer) > 12 * _MAX_WORDS or words == normalise(target).split():
        return "answer too long"
    if not words or words[0] in _LOOSE or words[-1] in _LOOSE | _OPENING:
        return "answer is a fragment"
    if answer.count("(") != answer.count(")") or answer.count('"') % 2:
        return "answer is a fragment"
    if re.match(r"how (?:many|much|old)\b", question, re.IGNORECASE) and not _AMOUNT.search(answer):
        return "answer is no amount"
    counted = re.match(r"how many (\w+)", question, re.IGNORECASE)
    if counted and content_words(counted[1]) and not matches_any(normalise(counted[1]), all_words(target)):
        return "answer counts something else"
    if re.match(r"how long ago\b", question, re.IGNORECASE) and not re.search(r"\bago\b", target):
        return "answer is no time ago"
    if re.match(r"how often\b", question, re.IGNORECASE) and not _FREQUENCY.search(answer):
        return "answer is no frequency"
    return ""


def find_question_flaw(question: str, answer: str, target: str, chunk: Chunk) -> str:
    """Find a flaw in a question about a target sentence, such as giving its answer away."""
    question_words, answer_words = content_words(question), content_words(answer)
    if (
        2 * sum(matches_any(word, question_words) for word in answer_words) >= len(answer_words)
        or f" {normalise(answer)} " in f" {normalise(question)} "
    ):
        return "question gives its answer away"
    if _leaves_open(question, chunk["title"]):
        return "question leaves open about whom or what"
    known = set(normalise(f"{chunk['text']} {chunk['title']}").split())
    names = [w for w in re.findall(r"[\w-]+", fold(question))[1:] if w[0].isupper() or w[0].isdigit()]
    if any(part not in known for word in names for part in normalise(word).split()):
        return "question names what its chunk does not"
    shared = [word for word in question_words if matches_any(word, all_words(target))]
    if len(shared) < 2 or len(shared) < _COVERAGE * len(question_words):
        return "question strays from its sentence"
    return ""


def _leaves_open(question: str, title: str) -> bool:
    """Return whether a question cannot be understood without its passage: "such boards", "the bat", no name.

    A question must state its subject: by a name, a number, or a word of the document's title.
    """
    pronoun = _PRONOUN.search(question)
    if pronoun and not content_words(question[: pronoun.start()]):
        return True
    if re.search(r"\bsuch (?!as\b)", question, re.IGNORECASE):
        return True
    topic = normalise(re.split(r" [-–—|] |: ", title)[0]).split()
    if len(topic) > 1 and re.search(rf"\bthe {re.escape(topic[-1].rstrip('s'))}\b", normalise(question)):
        return True
    has_name = any(word[0].isupper() or word[0].isdigit() for word in re.findall(r"\w+", question)[1:])
    title_words = all_words(title)
    return not has_name and not any(matches_any(word, title_words) for word in content_words(question))


def _is_one_of_several(answer: str, target: str) -> bool:
    """Return whether the answer is part of a list in the target that starts before or ends after it."""
    before, found, after = target.partition(answer)
    if not found:
        return False
    item = r"(?:[^\s,;]+ ){0,6}[^\s,;.]+"
    short = r"(?:[^\s,;]+ )?[^\s,;.]+"  # more words between two commas are as often a clause as an item
    after = re.sub(r"^ \([^()]*\)", "", after)
    continues = re.match(rf",? (?:and|or) {item}[,;.]|(?:, {short})*, {item},? (?:and|or)\b|、", after)
    return bool(continues or re.search(rf"\b(?:and|or) $|, {item}, $|、$", before))


def logprobs_after(mark: str, logprobs: Sequence[tuple[str, float]]) -> list[float]:
    """Return the log-probabilities of the tokens that follow the first occurrence of a mark.

    logprobs: (token, natural logarithm of its probability), in order. The list is empty if the mark is
    missing or the endpoint returned no log-probabilities.
    """
    text, following = "", []
    for token, logprob in logprobs:
        if mark in text:
            following.append(logprob)
        text += token
    return following


def is_likely_wording(logprobs: Sequence[float]) -> bool:
    """Return whether tokens are likely on average and none is very unlikely; true if there are none."""
    return not logprobs or (sum(logprobs) / len(logprobs) >= _MIN_MEAN and min(logprobs) >= _MIN_TOKEN)


def is_likely_answer(logprobs: Sequence[float]) -> bool:
    """Return whether an answer is likely as a whole; true if there are no log-probabilities."""
    return sum(logprobs) >= _MIN_TOTAL
