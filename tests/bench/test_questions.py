"""Which questions are asked and trained on: every one once, none of a group on both sides."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from tests.conftest import make_chunk
from tools.raft.bench.questions import Collection, Question, asked_documents, make_folds, training_documents
from tools.raft.errors import UserError


def question(id: str, group: str) -> Question:
    return Question(id, f"{id}?", f"{id}?", "yes", (f"doc-{group}",), ("evidence",), group)


def collection(groups: list[int], train: list[int], *, listed: bool = False) -> Collection:
    test = [question(f"test{i}", f"{group}") for i, group in enumerate(groups)]
    training = [question(f"train{i}", f"{group}") for i, group in enumerate(train)]
    documents = {
        id: {**make_chunk(f"Document {id}."), "id": id} for each in (*test, *training) for id in each.oracles
    }
    return Collection(documents, test, training, listed)  # type: ignore[arg-type]


@given(
    groups=st.lists(st.integers(0, 12), min_size=2, max_size=60).filter(lambda each: len(set(each)) > 1),
    test=st.integers(0, 70),
    train=st.integers(0, 30),
    seed=st.integers(0, 5),
    listed=st.booleans(),
)
def test_without_training_questions_every_one_is_asked_of_a_model_that_saw_nothing_of_its_group(
    groups: list[int], test: int, train: int, seed: int, listed: bool
) -> None:
    own = collection(groups, [], listed=listed)
    folds = make_folds(own, test=test, train=train, seed=seed)
    asked = [each.id for fold in folds for each in fold.test]
    assert len(asked) == len(set(asked)) == min(test or len(groups), len(groups))
    for fold in folds:
        assert not {each.group for each in fold.train} & {each.group for each in fold.test}
        assert len(fold.train) <= (train or len(groups))
        hidden = {oracle for each in fold.test for oracle in each.oracles}
        assert not hidden & {chunk["id"] for chunk in training_documents(fold, own)}
    assert {oracle for each in own.test for oracle in each.oracles} == {
        chunk["id"] for chunk in asked_documents(own)
    }
    assert folds == make_folds(own, test=test, train=train, seed=seed)


def test_published_training_questions_are_one_fold() -> None:
    own = collection([1, 2, 3], [4, 5, 6, 7])
    [fold] = make_folds(own, test=2, train=3, seed=1)
    assert len(fold.test) == 2 and len(fold.train) == 3
    assert all(each.id.startswith("train") for each in fold.train)


def test_a_single_group_cannot_be_asked_and_trained_on() -> None:
    with pytest.raises(UserError, match="too few to train on some and ask the others"):
        make_folds(collection([1, 1, 1], []), test=0, train=0, seed=1)
