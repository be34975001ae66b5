"""Chunks are linked by what they have in common, within their split, the same way every time."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings, strategies as st

from tests.conftest import corpus, make_chunk
from tools.raft.dataset.splits import assign_splits
from tools.raft.generate.link import find_terms, link_chunks
from tools.raft.records import Chunk, Split

FILLER = "Some water runs through many old valleys, where people walk and cattle graze in summer. "


def in_train(chunks: list[Chunk]) -> dict[str, Split]:
    return {chunk["id"]: "train" for chunk in chunks}


def texts(*own: str) -> list[Chunk]:
    chunks = [make_chunk(f"{FILLER}{text}", source=f"{i}.txt") for i, text in enumerate(own)]
    return chunks + [
        make_chunk(f"{FILLER}Path {i} is {i} paces long.", source=f"x{i}.txt") for i in range(12)
    ]


def links(chunks: list[Chunk], seed: int = 1) -> dict[frozenset[str], str]:
    sources = {chunk["id"]: chunk["source"] for chunk in chunks}
    pairs = link_chunks(chunks, in_train(chunks), seed=seed)
    return {frozenset(sources[id] for id in pair["ids"]): pair["link"] for pair in pairs}


def test_a_rare_name_links_chunks_of_any_script() -> None:
    for first, second, name in (
        ("It rises on Tarndal.", "The hut below Tarndal sleeps nine.", "Tarndal"),
        ("Er entspringt am Öhrnberg.", "Die Hütte am Öhrnberg hat neun Betten.", "Öhrnberg"),
        ("Река течёт с горы Тарндаль.", "Хижина под горой Тарндаль стоит давно.", "Тарндаль"),
        ("这条河发源于《青雾山志》所载之山。", "《青雾山志》由林氏编写。", "青雾山志"),
        ("この川はタルンダルから流れる。", "小屋はタルンダルの下にある。", "タルンダル"),
        ("The rule is in form 83412.", "Form 83412 has two pages.", "83412"),
    ):
        assert name in links(texts(first, second))[frozenset({"0.txt", "1.txt"})]


def test_a_title_that_is_mentioned_links_chunks() -> None:
    chunks = texts("the moth of the marsh flies late.", "more is said of the grey owlet, a moth.")
    chunks[0]["title"] = "grey owlet (moth)"
    assert links(chunks)[frozenset({"0.txt", "1.txt"})] == "grey owlet"


def test_words_at_the_start_of_sentences_and_parts_of_numbers_are_no_names() -> None:
    assert find_terms("However, it rains. Nobody left Tarndal.\nPlease wait.") == {
        "However": False, "Nobody": False, "Tarndal": True, "Please": False,
    }  # fmt: skip
    assert "500" not in find_terms("It is 12,500 miles.") and "1850" in find_terms("since 1850")


def test_copies_are_never_linked() -> None:
    chunks = texts("It rises on Tarndal.", "It rises on Tarndal.")
    assert frozenset({"0.txt", "1.txt"}) not in links(chunks)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), count=st.integers(20, 60))
def test_pairs_are_within_splits_and_about_as_many_as_chunks(seed: int, count: int) -> None:
    chunks = corpus(count)
    splits, _ = assign_splits([chunk["id"] for chunk in chunks], seed=seed, smallest=6)
    pairs = list(link_chunks(chunks, splits, seed=seed))
    assert pairs == list(link_chunks(chunks, splits, seed=seed))
    assert count / 2 <= len(pairs) <= count
    keys = [frozenset(pair["ids"]) for pair in pairs]
    assert len(set(keys)) == len(keys) and all(len(key) == 2 for key in keys), "no pair twice"
    assert all(len({splits[id] for id in key}) == 1 for key in keys)
    uses = Counter(id for key in keys for id in key)
    assert max(uses.values()) <= 5, "no chunk is in all of them"


def test_chunks_of_an_api_are_not_linked() -> None:
    chunks = [make_chunk(f"load_{i}(Tarndal)", source=f"{i}", kind="api") for i in range(20)]
    assert list(link_chunks(chunks, in_train(chunks), seed=1)) == []


def test_which_chunk_comes_first_is_left_to_the_seed() -> None:
    chunks = texts("It rises on Tarndal.", "The hut below Tarndal sleeps nine.")
    first = {
        pair["ids"][0]
        for seed in range(12)
        for pair in link_chunks(chunks, in_train(chunks), seed=seed)
        if "Tarndal" in pair["link"]
    }
    assert first == {chunks[0]["id"], chunks[1]["id"]}
