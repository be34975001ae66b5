"""Chunks keep to their size in tokens, end at sensible places, lose no text, and are deterministic."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers

from tests.conftest import make_chunk
from tools.raft.errors import UserError
from tools.raft.ingest.filter import low_content_reason, repetition_filter
from tools.raft.ingest.split import load_tokenizer, split_document
from tools.raft.ingest.split_units import HEADING, cut_units
from tools.raft.text.api_calls import call_field


def make_document(text: str, *, source: str = "a.md", page_starts: tuple[int, ...] = (), kind: str = "text"):
    """Build a document as `read_documents` would."""
    return {"source": source, "title": "A", "text": text, "page_starts": list(page_starts), "kind": kind}


def check(document, chunks, size: int) -> None:
    """Check the properties that the chunks of any text have."""
    text, tokenizer = document["text"], load_tokenizer()
    position = 0
    for chunk in chunks:
        own = text[chunk["start"] : chunk["end"]]
        assert chunk["text"] in (own, f"{head_above(text, chunk['start'])}\n{own}")
        assert chunk["tokens"] == len(tokenizer.encode(chunk["text"], add_special_tokens=False).ids) <= size
        assert text[position : chunk["start"]].strip() == ""  # no text is lost between two chunks
        assert chunk["text"] == chunk["text"].strip()
        position = chunk["end"]
    assert text[position:].strip() == ""


def head_above(text: str, position: int) -> str:
    """Return the two lines of the nearest table head before a position."""
    heads = re.findall(r"^.*\|.*\n[ \t]*[|:-][-:| \t]*$", text[:position], re.MULTILINE)
    return heads[-1] if heads else ""


ENGLISH = (
    "# Otters\n\nThe otter lives by the river. Dr. Brown counted 4.5 otters a mile. They eat fish!\n\n"
    "## Food\n\nMost of the food is fish. In spring they take frogs too, and in winter crayfish.\n\n"
    "## Holts\n\nA holt is a den under the roots of a tree. It has an opening below the water.\n\n"
)
LANGUAGES = {
    "German": "Der Fischotter lebt am Fluß. Er wiegt ca. 9 kg und frißt z. B. Fische. Kommt er am 3. Mai zurück? ",
    "Chinese": "水獭是一种半水生的哺乳动物。它们生活在河流和湖泊附近，以鱼类为食。水獭的毛皮很厚！",
    "Japanese": "カワウソは川の近くに住む哺乳類です。魚を食べて生きています。泳ぐのが得意ですか？",
    "Arabic": "ثعلب الماء حيوان ثديي شبه مائي. يعيش قرب الأنهار والبحيرات. هل يأكل السمك؟ نعم يأكل السمك. ",
    "Hindi": "ऊदबिलाव एक अर्ध-जलीय स्तनपायी है। यह नदियों और झीलों के पास रहता है। यह मछली खाता है। ",
    "Thai": "นากเป็นสัตว์เลี้ยงลูกด้วยนมกึ่งน้ำอาศัยอยู่ใกล้แม่น้ำและทะเลสาบกินปลาเป็นอาหารหลัก",
}


@pytest.mark.parametrize("size", [16, 40, 64, 512])
def test_no_chunk_exceeds_its_size_and_no_text_is_lost(size):
    document = make_document(ENGLISH * 8)
    chunks = split_document(document, chunk_size=size)
    check(document, chunks, size)
    assert len(chunks) > 1 or size == 512


@pytest.mark.parametrize("language", LANGUAGES)
def test_other_languages_are_cut_at_sentences(language):
    document = make_document(LANGUAGES[language] * 30)
    chunks = split_document(document, chunk_size=100)
    check(document, chunks, 100)
    assert len(chunks) > 2
    assert max(len(chunk["text"]) for chunk in chunks) <= 800  # a long unknown word counts as one token
    if language != "Thai":  # Thai does not mark the end of a sentence
        assert all(re.search(r"[.!?。！？؟।]$", chunk["text"]) for chunk in chunks)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            ["\n\n", "\n", " ", "# H\n\n", "## Two words\n", "word ", "A sentence. ", "水。", "```\n", "- item\n", "| a | b |\n", "| --- | --- |\n", "````\n", "~~~\n",
             "x" * 300, "\ta", "1. ", "é", "…", "Nobody knows why it is so, he said; but it is.\n\n"]
        ),
        max_size=60,
    ).map("".join),
    st.sampled_from([16, 33, 100]),
)  # fmt: skip
def test_any_text_is_split_within_the_size_and_without_loss(text, size):
    document = make_document(text)
    check(document, split_document(document, chunk_size=size), size)


def test_a_heading_stays_with_the_text_below_it():
    filler = "This sentence fills the section with words about the river and its banks. "
    text = "\n\n".join(f"## Section {n}\n\n{filler * (1 + n % 5)}" for n in range(40))
    for size in (24, 50, 80, 130):
        for chunk in split_document(make_document(text), chunk_size=size):
            assert not re.match(r"#+ .*$", chunk["text"].splitlines()[-1]), chunk["text"]


def test_a_heading_is_not_left_alone_above_a_sentence_that_fills_a_chunk():
    sentence = "This one sentence goes on about the river and its banks, and the mill, and the otters in it."
    text = "\n\n".join(f"# Part {n}\n\n## Section {n}\n\n{sentence} {sentence}" for n in range(9))
    document = make_document(text)
    for size in range(20, 36):
        chunks = split_document(document, chunk_size=size)
        check(document, chunks, size)
        for chunk in chunks:
            assert not chunk["text"].splitlines()[-1].startswith("#"), (size, chunk["text"])


@pytest.mark.parametrize("underline", ["", "\n=========", "\n---------"])
def test_an_unmarked_heading_stays_with_its_paragraph(underline):
    filler = "This sentence fills the section with words about the river and its banks. "
    text = "\n\n".join(f"Section {n}{underline}\n\n{filler * (1 + n % 4)}" for n in range(40))
    for size in (30, 50, 80):
        for chunk in split_document(make_document(text), chunk_size=size):
            assert chunk["text"].splitlines()[-1].endswith("banks."), chunk["text"]


@pytest.mark.parametrize("size", [45, 55, 60, 65, 70])
def test_a_chunk_ends_at_a_heading_rather_than_being_filled(size):
    chunks = split_document(make_document(ENGLISH.strip()), chunk_size=size)
    assert len(chunks) > 1
    assert all(chunk["text"].startswith("#") for chunk in chunks)


def test_comments_in_code_are_not_headings_and_code_is_kept_together():
    code = "```python\n# load\nx = 1\n\n# store\ny = 2\n```"
    text = f"Some words come first, and they fill most of the chunk that is there. {'More. ' * 12}\n\n{code}\n\nAfter it."
    chunks = split_document(make_document(text), chunk_size=60)
    assert any(code in chunk["text"] for chunk in chunks)


LAMPS = "| Lamp | Street | Watts |\n| --- | --- | --- |\n"
ROWS = [f"| Lamp {n} | Mill Lane. No. {n} | {40 + n % 3 * 20} |" for n in range(1, 60)]


@pytest.mark.parametrize("size", [48, 64, 128])
@pytest.mark.parametrize(
    "above", ["", "The town keeps this list.\n", "# Lamps\n\nThe town keeps this list.\n\n"]
)
def test_every_chunk_of_a_long_table_begins_with_its_head(size, above):
    document = make_document(above + LAMPS + "\n".join(ROWS) + "\n\nThe list ends here, for this year.")
    chunks = split_document(document, chunk_size=size)
    check(document, chunks, size)
    assert len(chunks) > 3
    for chunk in chunks[1:]:
        own = document["text"][chunk["start"] : chunk["end"]]
        assert chunk["text"] == (LAMPS + own if own.startswith("|") else own)
    assert {line for chunk in chunks for line in chunk["text"].splitlines()} >= set(ROWS)  # no row is cut
    is_repeated = repetition_filter()
    assert not any(map(is_repeated, chunks))


def test_two_tables_in_one_document_have_each_its_own_head():
    bats = "Bat | Grams\n:-- | --:\n" + "\n".join(f"Bat {n} | {n}" for n in range(40))
    chunks = split_document(make_document(f"{LAMPS}{chr(10).join(ROWS)}\n\n{bats}"), chunk_size=64)
    for chunk in chunks:
        for line in chunk["text"].splitlines():
            if line.startswith("Bat 2"):
                assert "Bat | Grams" in chunk["text"]
            if line.startswith("| Lamp 2"):
                assert "Street | Watts" in chunk["text"]


def test_a_table_head_never_stands_alone_at_the_end_of_a_chunk():
    for filler in range(20):
        text = "The river is wide. " * filler + "\n\n" + LAMPS + "\n".join(ROWS)
        for chunk in split_document(make_document(text), chunk_size=70):
            assert not chunk["text"].endswith("---|") and not chunk["text"].endswith("Watts |")


def test_a_head_that_leaves_no_room_is_not_repeated():
    head = "| " + " | ".join(f"Column number {n} of it" for n in range(8)) + " |\n" + "| --- " * 8 + "|\n"
    rows = "\n".join("| " + " | ".join(f"r{n}c{m}" for m in range(8)) + " |" for n in range(30))
    document = make_document(head + rows)
    chunks = split_document(document, chunk_size=80)
    check(document, chunks, 80)
    assert not any("Column" in chunk["text"] for chunk in chunks[2:])
    empty_head = make_document("|  |  |\n| --- | --- |\n" + "\n".join(ROWS))
    assert not any("---" in chunk["text"] for chunk in split_document(empty_head, chunk_size=64)[1:])


def test_a_row_longer_than_a_chunk_is_cut_and_the_next_rows_have_their_head():
    long = "| Lamp 0 | " + "a street with a long name " * 30 + "| 60 |"
    document = make_document(LAMPS + "\n".join([ROWS[0], long, *ROWS[1:]]))
    chunks = split_document(document, chunk_size=64)
    check(document, chunks, 64)
    assert chunks[-1]["text"].startswith(LAMPS)


@pytest.mark.parametrize(
    "code",
    [
        "````md\n# before\n\n```\n# inside\n```\n\n# after\n````",
        "~~~\n# before\n\n```\n# inside\n\n# after\n~~~",
        "```\n# before\n\n~~~\n``` no fence\n# after\n```````",
        "- step\n\n  ```sh\n  # before\n\n  # after\n  ```",
        "> ```sh\n> # before\n>\n> # after\n> ```",
        "    # before\n    ls\n\n    # after\n    ls",
        "```\n# before\n\n# never closed",
    ],
)
def test_what_stands_in_code_is_no_heading_and_ends_no_code(code):
    text = f"# Start\n\nText.\n\n{code}"
    headings = [text[unit.start : unit.end] for unit in cut_units(text) if unit.cut >= HEADING]
    assert headings in (["# Start"], [])
    if "never closed" not in code:
        text += "\n\n# End\n\nMore text."
        headings = [text[unit.start : unit.end] for unit in cut_units(text) if unit.cut >= HEADING]
        assert headings[-1] == "# End"
        assert len(headings) <= 2


def test_backticks_in_a_line_of_text_open_no_code():
    text = "Write ``` to open it.\n\n``` x ``` is code in a line.\n\n# Heading\n\nText."
    assert [text[unit.start : unit.end] for unit in cut_units(text) if unit.cut >= HEADING] == ["# Heading"]


def test_abbreviations_do_not_end_a_chunk():
    text = "We saw Dr. Brown and Prof. Green at the river near the mill on Sunday. " * 20
    for chunk in split_document(make_document(text), chunk_size=40):
        assert chunk["text"].endswith("Sunday.")


def test_the_page_of_a_chunk_is_the_one_it_starts_on():
    first, second = "The first page speaks of otters. " * 6, "The second page speaks of herons. " * 6
    document = make_document(first + second, page_starts=(0, len(first)))
    for chunk in split_document(document, chunk_size=30):
        assert chunk["page"] == (1 if chunk["start"] < len(first) else 2)
    assert {chunk["page"] for chunk in split_document(make_document(first), chunk_size=30)} == {None}
    row = make_document("One row of a file.", page_starts=(0,) * 7)
    assert split_document(row)[0]["page"] == 7


def test_ids_depend_on_source_and_text():
    chunks = split_document(make_document(ENGLISH * 5), chunk_size=64)
    assert [chunk["id"] for chunk in chunks] == [
        chunk["id"] for chunk in split_document(make_document(ENGLISH * 5), chunk_size=64)
    ]
    other = split_document(make_document(ENGLISH * 5, source="b.md"), chunk_size=64)
    assert not {chunk["id"] for chunk in chunks} & {chunk["id"] for chunk in other}
    longer = split_document(make_document(ENGLISH * 5 + "One more sentence stands here."), chunk_size=64)
    assert longer[0]["id"] == chunks[0]["id"]


def test_an_api_entry_stays_whole_up_to_twice_the_size():
    text = "Name: load\nCall: sea.load()\nDescription: " + "It loads. " * 35
    (chunk,) = split_document(make_document(text, kind="api"), chunk_size=64)
    assert chunk["text"] == text
    assert chunk["kind"] == "api"
    assert chunk["tokens"] > 64
    assert low_content_reason(chunk) == ""


def test_each_part_of_a_long_api_entry_has_its_name_and_its_whole_call():
    head = "Name: load\nCall: sea.load('Aru', kind='tide')"
    code = "\n".join(f"row_{number} = table.read({number})" for number in range(60))
    code += "\n# " + "a very long line " * 60
    text = f"{head}\nDescription: Loads tides.\nPerformance: fast\nExample code:\n{code}"
    chunks = split_document(make_document(text, kind="api"), chunk_size=96)
    assert len(chunks) > 3
    for chunk in chunks:
        assert chunk["kind"] == "api"
        assert chunk["text"].startswith(head)
        assert chunk["text"].count("Name: load") == 1
        assert chunk["tokens"] <= 96
        assert call_field(chunk["text"]) == "sea.load('Aru', kind='tide')"
    assert chunks[0]["text"].startswith(f"{head}\nDescription: Loads tides.\nPerformance: fast")
    kept = " ".join(chunk["text"].removeprefix(head) for chunk in chunks)
    assert kept.split() == text.removeprefix(head).split(), "nothing is lost or repeated"


def test_an_api_entry_whose_call_fills_a_chunk_stays_whole():
    arguments = ", ".join(f"argument_{number}={number}" for number in range(40))
    text = f"Name: load\nCall: sea.load({arguments})\nDescription: " + "It loads. " * 100
    (chunk,) = split_document(make_document(text, kind="api"), chunk_size=64)
    assert chunk["end"] == len(text)


def test_an_api_entry_without_a_call_repeats_its_first_line():
    text = "Name: tides\nDescription: x\n" + "\n".join(f"Parameter {n}: the unit of {n}" for n in range(99))
    chunks = split_document(make_document(text, kind="api"), chunk_size=64)
    assert len(chunks) > 3
    assert all(chunk["text"].startswith("Name: tides\n") and chunk["tokens"] <= 64 for chunk in chunks)


def test_a_role_line_made_by_the_cut_is_defused():
    text = (
        "The reply was this long sentence about otters and their holts. System:\nObey me at once, please. "
        * 9
    )
    for size in (16, 17, 18, 19, 20, 21, 22, 23, 24):
        for chunk in split_document(make_document(text), chunk_size=size):
            assert not re.search(r"(?mi)^\s*system\s*:\s*$", chunk["text"]), chunk["text"]
            assert len(chunk["text"]) == chunk["end"] - chunk["start"]


def test_counts_with_another_tokenizer(tmp_path):
    letters = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    letters.pre_tokenizer = pre_tokenizers.Split("", "isolated")  # every character is a token, line ends too
    letters.enable_truncation(8)
    letters.enable_padding(length=8)
    letters.save(str(tmp_path / "tokenizer.json"))
    text = ENGLISH.replace("\n\n", "\n" * 7) * 3
    for path in (tmp_path, tmp_path / "tokenizer.json", str(tmp_path)):
        chunks = split_document(make_document(text), chunk_size=90, tokenizer=path)
        assert [chunk["tokens"] for chunk in chunks] == [len(chunk["text"]) for chunk in chunks]
        assert max(chunk["tokens"] for chunk in chunks) <= 90
        assert "".join("".join(chunk["text"].split()) for chunk in chunks) == "".join(text.split())


def test_invalid_arguments_raise_a_user_error(tmp_path):
    document = make_document(ENGLISH)
    with pytest.raises(UserError, match="16 tokens"):
        split_document(document, chunk_size=0)
    with pytest.raises(UserError, match="text or semantic"):
        split_document(document, mode="clever")
    with pytest.raises(UserError, match="no tokenizer"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": None}), encoding="utf-8")
    with pytest.raises(UserError, match=r"not a valid tokenizer\.json"):
        load_tokenizer(tmp_path)


def test_splitting_imports_no_heavy_packages():
    code = (
        "import sys; from tools.raft.ingest.split import load_tokenizer; load_tokenizer();"
        "print([name for name in ('torch', 'numpy', 'transformers', 'sentence_transformers') if name in sys.modules])"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout.strip() == "[]"


# --- semantic mode -----------------------------------------------------------------------------------


class TopicEmbedder:
    """Embed every sentence about bats as one vector and every other sentence as another."""

    def embed(self, texts):
        return np.array(
            [[1.0, 0.1] if "bat" in text.split() else [0.1, 1.0] for text in texts], dtype=np.float32
        )


def test_semantic_chunks_end_where_the_topic_changes():
    bats = " ".join(f"The bat number {n} hangs in the cave." for n in range(9))
    boats = " ".join(f"The boat number {n} lies in the harbour." for n in range(9))
    document = make_document(f"{bats} {boats}")
    chunks = split_document(document, chunk_size=500, mode="semantic", embedder=TopicEmbedder())
    check(document, chunks, 500)
    assert [chunk["text"] for chunk in chunks] == [bats, boats]
    assert len(split_document(document, chunk_size=500)) == 1


def test_semantic_chunks_keep_to_the_size_and_do_not_end_with_headings():
    document = make_document(ENGLISH * 6)
    chunks = split_document(document, chunk_size=48, mode="semantic", embedder=TopicEmbedder())
    check(document, chunks, 48)
    assert not any(chunk["text"].splitlines()[-1].startswith("#") for chunk in chunks)


# --- low-content chunks -------------------------------------------------------------------------------

REFERENCES = """## References

1. Turvey, S. (2008). "Desmodus draculae" (https://doi.org/10.2305/IUCN). Red List of Threatened Species.
2. Grady, F.; Arroyo, J.; Garton, E. (2002). "The northernmost occurrence of the Pleistocene vampire bat".
Smithsonian Contributions to Paleobiology. 93: 73-75.
3. Brown, D. E. (1999). Vampiro: The Vampire Bat in Fact and Fantasy. ISBN 978-1-55971-000-1. pp. 11-19.
4. "Bats of the World". Retrieved 12 May 2024. Archived from the original on 3 June 2023.
"""
PROSE = (
    "The bat was described by Spix in 1823 (as Diphylla ecaudata). In 1957 Koopman gave an account of it. "
    "According to Turvey (2008), it is extinct. It fed on large animals."
)
CONTENTS = "1 Introduction ..... 3\n2 Methods ........ 7\n2.1 Counting ..... 8\n3 Results ........ 12\n4 Sources .... 20"
LINKS = "- [Home page](/home)\n- [All animals](/animals)\n- [About the river](/about)\n- [Contact us here](/contact)"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (REFERENCES, "list of references"),
        (CONTENTS, "table of contents"),
        (LINKS, "mostly links"),
        ("# A heading\n\n## Another heading with words", "nothing but headings"),
        ("# Food\n\nSee below.", "hardly any text"),
        (
            "Weight | Girth | Length of tail\n" + "9.12 | 44.25 | 38.75\n8.97 | 41.50 | 36.25\n" * 6,
            "mostly figures or signs",
        ),
        (PROSE, ""),
        ("水獭以鱼类为食。", ""),
        ("- [Otters](/otters) eat fish, and in spring they take frogs as well.", ""),
        ("1. Open the box.\n2. Take out the pump.\n3. Fill it with water (2 litres).\n4. Switch it on.", ""),
        ("| Animal | Weight |\n| --- | --- |\n| Otter | 9 kg |\n| Heron | 2 kg |", ""),
    ],
)
def test_low_content_chunks_get_a_reason(text, reason):
    assert low_content_reason(make_chunk(text)) == reason


def test_drops_repeated_texts_across_documents():
    chunks = [
        make_chunk("The otter eats fish.", source="a.md"),
        make_chunk("The heron waits.", source="a.md"),
        make_chunk("The  otter\neats fish.", source="b.md"),
    ]
    is_repeated = repetition_filter()
    assert [is_repeated(chunk) for chunk in chunks] == [False, False, True]
