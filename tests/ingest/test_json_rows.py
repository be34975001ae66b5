"""Rows of JSON and JSONL files, and API documentation, each a document."""

from __future__ import annotations

import json

import pytest

from tests.document_files import read_items, skip_reason
from tools.raft.ingest.read import ReadOptions, Skipped, read_files


def test_each_json_row_is_a_document(tmp_path):
    rows = [
        {"text": "Otters swim.", "title": "Otters", "source": "river.pdf", "page": 7},
        {"text": "Herons wait."},
        {"body": "no text field"},
        "Stoats run.",
        {"text": "  "},
    ]
    (tmp_path / "rows.json").write_text(json.dumps({"documents": rows, "count": 5}), encoding="utf-8")
    found = list(read_items([tmp_path / "rows.json"]))
    documents = [item for item in found if not isinstance(item, Skipped)]
    assert [item["text"] for item in documents] == ["Otters swim.", "Herons wait.", "Stoats run."]
    assert [item["source"] for item in documents] == ["river.pdf", "rows.json#2", "rows.json#4"]
    assert [item["title"] for item in documents] == ["Otters", "rows", "rows"]
    assert len(documents[0]["page_starts"]) == 7
    skipped = {item.source: item.reason for item in found if isinstance(item, Skipped)}
    assert set(skipped) == {"rows.json#3", "rows.json#5"}
    assert "body" in skipped["rows.json#3"]


def test_jsonl_skips_a_broken_line_and_takes_the_name_of_the_text_field(tmp_path):
    lines = ['{"body": "Otters swim."}', "{broken", "", '{"body": "水獭吃鱼。"}']
    (tmp_path / "rows.jsonl").write_text("\n".join(lines), encoding="utf-8")
    found = list(read_items([tmp_path / "rows.jsonl"], text_field="body"))
    assert [item["text"] for item in found if not isinstance(item, Skipped)] == ["Otters swim.", "水獭吃鱼。"]
    assert [item.source for item in found if isinstance(item, Skipped)] == ["rows.jsonl#2"]


def test_json_lines_in_a_json_file_areread_one(tmp_path):
    (tmp_path / "rows.json").write_text('{"text": "One."}\n{"text": "Two."}\n', encoding="utf-8")
    assert [item["text"] for item in read_items([tmp_path / "rows.json"])] == ["One.", "Two."]


def test_unusable_json_files_get_a_singleskip_reason(tmp_path):
    assert '"text"' in skip_reason(tmp_path, "rows.json", json.dumps([{"body": "x"}] * 9).encode())
    assert "not JSON" in skip_reason(tmp_path, "bad.json", b'{"text": ')
    assert "nested" in skip_reason(tmp_path, "deep.json", b"[" * 200_000)


API = {
    "domain": "Audio",
    "api_name": "tide_tables",
    "api_call": "sea.load(station='Aru', kind=\"tide\")",
    "api_arguments": {"station": "str", "limits": {"from": 1, "to": 9}},
    "requirements": ["sea>=2", "numpy"],
    "example_code": ["import sea", "table = sea.load(station='Aru', kind=\"tide\")"],
    "description": "Load the tide table of a station – for today.",
    "notes": None,
}


@pytest.mark.parametrize("name", ["api.json", "api.jsonl"])
def test_api_entries_become_documents_with_one_field_a_line(tmp_path, name):
    other = {"name": "wind", "description": "Say how strong the wind is.", "parameters": {"unit": "string"}}
    text = json.dumps([API, other]) if name == "api.json" else f"{json.dumps(API)}\n{json.dumps(other)}\n"
    (tmp_path / name).write_text(text, encoding="utf-8")
    first, second = read_items([tmp_path / name])
    assert first["kind"] == second["kind"] == "api"
    assert first["title"] == "tide_tables"
    assert first["text"] == (
        "Name: tide_tables\n"
        "Call: sea.load(station='Aru', kind=\"tide\")\n"
        "Description: Load the tide table of a station – for today.\n"
        "Domain: Audio\n"
        "Arguments: station: str; limits: (from: 1; to: 9)\n"
        "Requirements: sea>=2, numpy\n"
        "Example code:\n"
        "import sea\n"
        "table = sea.load(station='Aru', kind=\"tide\")"
    )
    assert second["title"] == "wind"


def test_a_call_is_one_line_and_a_key_without_value_stands_alone(tmp_path):
    row = {
        "api_call": "sea.load(\n    'Aru',\n    kind='tide',\n)",
        "requirements": {"sea": "", "numpy": ">=2", "tides": None},
        "performance": {"dataset": "Aru", "accuracy": {"top_1": 0, "top_5": 91.6}},
    }
    (tmp_path / "api.json").write_text(json.dumps(row), encoding="utf-8")
    (document,) = read_items([tmp_path / "api.json"])
    assert document["text"] == (
        "Call: sea.load( 'Aru', kind='tide', )\n"
        "Requirements: sea; numpy: >=2; tides\n"
        "Performance: dataset: Aru; accuracy: (top_1: 0; top_5: 91.6)"
    )


def test_fields_that_are_not_used_are_counted(tmp_path):
    row = {
        "text": "Otters swim.",
        "title": "Otters",
        "page": "3",
        "tags": ["river", {"deep": "wet"}],
        "score": 12,
    }
    (tmp_path / "rows.jsonl").write_text(json.dumps(row), encoding="utf-8")
    (file,) = read_files([tmp_path / "rows.jsonl"], ReadOptions())
    assert file.account.left_out == {"other fields": len("river" + "wet" + "12")}
    assert file.account.kept == len("Ottersswim")
    assert len(file.documents[0]["page_starts"]) == 3


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize(
    "text",
    [
        '{"text": "One."}\n\n{"text": "Two."}\n',
        '[{"text": "One."}, {"text": "Two."}]',
        '[\n {"text": "One."},\n {"text": "Two."}\n]\n',
        '{\n "rows": [\n {"text": "One."},\n {"text": "Two."}]\n}',
    ],
)
@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl", "rows.ndjson"])
def test_json_and_json_lines_are_read_whatever_their_name(tmp_path, name, text, encoding, line_end):
    (tmp_path / name).write_bytes(text.replace("\n", line_end).encode(encoding))
    assert [item["text"] for item in read_items([tmp_path / name])] == ["One.", "Two."]


def test_line_separators_inside_a_text_end_no_row(tmp_path):
    lines = '{"text": "One\u2028more\x85line."}\n\ufeff{"text": "Two."}\n'
    (tmp_path / "rows.jsonl").write_text(lines, encoding="utf-8")
    assert [item["text"] for item in read_items([tmp_path / "rows.jsonl"])] == ["One\nmore\nline.", "Two."]


def test_half_a_character_and_not_a_number_lose_no_row(tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"text": "Half \\ud83d an emoji.", "score": NaN}', encoding="utf-8")
    assert [item["text"] for item in read_items([tmp_path / "rows.jsonl"])] == ["Half  an emoji."]


def test_a_row_of_encoded_data_is_skipped(tmp_path):
    rows = [
        {"text": "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWZnaGlqa2xtbm9wcXJz" * 40 + "MTIz"},
        {"text": "Otters swim."},
    ]
    (tmp_path / "rows.json").write_text(json.dumps(rows), encoding="utf-8")
    document, skipped = read_items([tmp_path / "rows.json"])
    assert document["text"] == "Otters swim."
    assert "base64" in skipped.reason


def test_a_row_that_is_nested_deeply_is_skipped_or_read(tmp_path):
    for field in ("text", "api_call"):
        for depth in (300, 480, 900):
            row = f'{{"{field}": "Otters swim.", "other": {"[" * depth}{"]" * depth}}}'
            (tmp_path / "rows.jsonl").write_text(f'{{"text": "Herons wait."}}\n{row}', encoding="utf-8")
            first, second = read_items([tmp_path / "rows.jsonl"])
            assert first["text"] == "Herons wait."
            assert isinstance(second, dict) or "nested" in second.reason


def test_json_without_a_known_suffix_is_not_learnt_as_text(tmp_path):
    (tmp_path / "rows").write_text('{"text": "Otters swim."}\n{"text": "Herons wait."}', encoding="utf-8")
    assert [item["text"] for item in read_items([tmp_path / "rows"])] == ["Otters swim.", "Herons wait."]
    assert "no text field" in skip_reason(tmp_path, "map.geojson", b'{"features": [{"type": "Point"}]}')
