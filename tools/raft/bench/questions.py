"""The questions of a benchmark: which are asked, which are trained on, and with which documents."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import UserError
from ..records import Chunk, content_id

FOLDS = 2


@dataclass(frozen=True)
class Question:
    """One question with its gold answer and the evidence for it."""

    id: str
    text: str  # as a model is asked
    query: str  # as documents are searched: without what the answer has to look like
    answer: str
    oracles: tuple[str, ...]  # ids of the documents that are needed
    quotes: tuple[str, ...]  # verbatim evidence, of each oracle some: what a training answer quotes
    group: str  # what it is about: questions of one group are never trained on and tested
    documents: tuple[str, ...] = ()  # ids of all documents it comes with
    about: Mapping[str, Any] = field(default_factory=dict)  # what else its scorer needs


@dataclass(frozen=True)
class Collection:
    """One benchmark's questions and documents."""

    documents: dict[str, Chunk]  # by id
    test: Sequence[Question]
    train: Sequence[Question] = ()  # empty if none are published: then folds of the test questions
    listed: bool = False  # whether the documents are a list of their own, such as one of APIs
    left_out: Mapping[str, int] = field(default_factory=dict)  # questions, by reason


@dataclass(frozen=True)
class Fold:
    """Questions to train on, and those asked of the model that was trained on them."""

    number: int  # from 1
    train: list[Question]
    test: list[Question]


def make_folds(collection: Collection, *, test: int, train: int, seed: int) -> list[Fold]:
    """Sample the questions that are asked, and for each those that its model is trained on.

    test, train: at most so many questions, 0 for all; train is per fold. With published training questions
    there is one fold. Otherwise the groups are divided into two, and a model trained on the questions of one
    is asked those of the other, so that every question can be asked. Raises UserError if there is nothing to
    train on.
    """
    asked = _sample(collection.test, test, seed)
    if collection.train:
        return [Fold(1, _sample(collection.train, train, seed), asked)]
    half = _divide({question.group for question in collection.test}, seed)
    folds = []
    for number in range(FOLDS):
        others = [question for question in collection.test if half[question.group] != number]
        own = [question for question in asked if half[question.group] == number]
        if own:
            folds.append(Fold(number + 1, _sample(others, train, seed), own))
    if not all(fold.train for fold in folds):
        raise UserError(f"{len(collection.test)} questions are too few to train on some and ask the others")
    return folds


def training_documents(fold: Fold, collection: Collection) -> list[Chunk]:
    """Return the documents that training may show: none that the fold's questions are about.

    With published training questions about the listed documents, as Torch Hub's, all are shown, as there.
    """
    if not collection.listed:
        return _documents_of(fold.train, collection)
    if collection.train:
        return list(collection.documents.values())
    trained = {question.group for question in fold.train}
    hidden = {
        oracle for question in collection.test if question.group not in trained for oracle in question.oracles
    }
    return [chunk for id, chunk in collection.documents.items() if id not in hidden]


def asked_documents(collection: Collection) -> list[Chunk]:
    """Return the documents among which those of the questions asked are found."""
    if collection.listed:
        return list(collection.documents.values())
    return _documents_of(collection.test, collection)


def _documents_of(questions: Iterable[Question], collection: Collection) -> list[Chunk]:
    ids = dict.fromkeys(id for question in questions for id in (*question.oracles, *question.documents))
    return [collection.documents[id] for id in ids]


def _sample(questions: Sequence[Question], size: int, seed: int) -> list[Question]:
    """Draw questions by a hash of seed and id, in their own order; all if size is 0."""
    order = sorted(range(len(questions)), key=lambda i: content_id(seed, questions[i].id))
    return [questions[i] for i in sorted(order[: size or None])]


def _divide(groups: set[str], seed: int) -> dict[str, int]:
    """Assign each group to one of the folds, as many to each."""
    order = sorted(groups, key=lambda group: content_id("fold", seed, group))
    return {group: place % FOLDS for place, group in enumerate(order)}
