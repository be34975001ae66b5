"""Tables: CSV files as one document or a document a row, Excel workbooks as their program shows them."""

from __future__ import annotations

import datetime
import zipfile
from pathlib import Path

import openpyxl
import pytest
from openpyxl.comments import Comment

from tests.document_files import read_items, read_one, skip_reason
from tests.ingest.test_plain import lost
from tools.raft.errors import UserError
from tools.raft.ingest.formats.office.cell_values import show_number
from tools.raft.ingest.formats.office.workbook import read_workbook
from tools.raft.ingest.read import ReadOptions, read_files

BERTHS = "| Berth | Price |\n| --- | --- |\n| East | 310,5 |\n| West | 95 |"


def table(tmp_path: Path, text: str, name: str = "berths.csv", encoding: str = "utf-8") -> str:
    (tmp_path / name).write_bytes(text.encode(encoding))
    document = read_one(tmp_path / name)
    assert (document["source"], document["title"]) == (name, name.partition(".")[0])
    return document["text"]


# --- CSV -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(
    "text",
    [
        'Berth,Price\nEast,"310,5"\nWest,95\n',
        "Berth;Price\nEast;310,5\nWest;95\n",
        "Berth\tPrice\nEast\t310,5\nWest\t95\n",
        "sep=;\nBerth;Price\nEast;310,5\nWest;95\n",
        '"Berth", "Price"\n"East", "310,5"\n\n"West", "95"\n',
        "Berth;Price;\nEast;310,5;\n;;\nWest;95;\n",
    ],
)
def test_a_csv_file_is_one_table_whatever_its_dialect(tmp_path, text, line_end, encoding):
    assert table(tmp_path, text.replace("\n", line_end), encoding=encoding) == BERTHS


def test_cells_with_line_ends_bars_and_quotation_marks_stay_in_their_row(tmp_path):
    text = 'Berth,Note\nEast,"Two\nlines, and a | bar"\nWest,"says ""wait"""\nSouth,5" pipe\n'
    assert table(tmp_path, text).split("\n")[2:] == [
        "| East | Two lines, and a \\| bar |",
        '| West | says "wait" |',
        '| South | 5" pipe |',
    ]


def test_a_quotation_mark_that_is_never_closed_swallows_no_rows(tmp_path):
    rows = [f"East {number}\t{number}" for number in range(9)]
    text = table(tmp_path, "\n".join(["Berth\tPrice", '"5 inch\t1', *rows]), "berths.tsv")
    assert '| "5 inch | 1 |' in text
    assert text.count("\n") == 11


def test_rows_without_a_head_get_an_empty_one(tmp_path):
    assert table(tmp_path, "East,310\nWest,95\n").startswith("|  |  |\n| --- | --- |\n| East | 310 |")
    assert table(tmp_path, "Town,2019,2020\nHolt,3,4\n").startswith("| Town | 2019 | 2020 |\n| ---")


def test_lines_above_the_head_stand_above_the_table(tmp_path):
    text = table(tmp_path, "Fees of the harbour,,\n,,\nBerth,Price,Share\nEast,310,25%\n")
    assert text.startswith("Fees of the harbour\n\n| Berth | Price | Share |\n")


def test_a_list_and_ragged_rows_lose_nothing(tmp_path):
    assert table(tmp_path, "Boats\nHeron\nOtter, the\n").startswith("Boats")
    text = table(tmp_path, "a,b\n1,2,three\nfour\n")
    assert all(cell in text for cell in ("three", "four"))


def test_each_row_with_the_text_field_is_a_document(tmp_path):
    text = 'id;text;title;page\n1;"Otters swim.\nFar.";Otters;7\n2;;;\n3;Herons wait.;;\n'
    (tmp_path / "rows.csv").write_text(text, encoding="utf-8-sig")
    (file,) = read_files([tmp_path / "rows.csv"], ReadOptions())
    assert [item["text"] for item in file.documents] == ["Otters swim.\nFar.", "Herons wait."]
    assert [item["source"] for item in file.documents] == ["rows.csv#1", "rows.csv#3"]
    assert file.documents[0]["title"] == "Otters" and len(file.documents[0]["page_starts"]) == 7
    assert [item.source for item in file.skipped] == ["rows.csv#2"]
    assert file.account.left_out == {"other fields": 2}
    (tmp_path / "rows.csv").write_text(text.replace("text;", "body;"), encoding="utf-8")
    assert len(read_items([tmp_path / "rows.csv"], text_field="body")) == 3
    assert len(read_items([tmp_path / "rows.csv"])) == 1  # without the field, a table


def test_unreadable_csv_files_get_a_reason(tmp_path):
    assert "UTF-8" in skip_reason(tmp_path, "latin.csv", "Größe;Preis\n".encode("latin-1"))
    assert "HTML" in skip_reason(tmp_path, "error.csv", b"<!DOCTYPE html><html><body>404</body></html>")
    assert skip_reason(tmp_path, "bare.csv", b",,,\n,,\n") == "empty"
    assert "cells" in skip_reason(tmp_path, "wide.csv", b"," * 6_000_000)
    assert "columns" in skip_reason(tmp_path, "ragged.csv", b"x,y\n" * 40_000 + b"x," * 40_000)


# --- Excel -----------------------------------------------------------------------------------------------


@pytest.fixture
def fees(tmp_path):
    """Write a workbook with what people put into one."""
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = "Fees"
    rows = [
        ["Fees of the harbour"],
        [],
        ["Berth", "Kind", "Price", "Share", "From", "Secret"],
        ["East", "small", 1310.5, 0.255, datetime.date(2031, 4, 30), "nobody sees"],
        [None, "large", 240, 0.5, datetime.datetime(2031, 5, 1, 9, 30), None],
        ["Hidden row", None, None, None, None, None],
        ["West", "a|b", True, "#N/A", datetime.time(7, 5), None],
        [],
        ["Name", "Phone"],
        ["Ann", "0012"],
    ]
    for number, row in enumerate(rows, start=2):
        for column, value in enumerate(row, start=3):
            sheet.cell(number, column, value)
    sheet.merge_cells("C2:G2")
    sheet.merge_cells("C5:C6")
    for number in (5, 6):
        sheet.cell(number, 5).number_format = '#,##0.00 "kr"'
        sheet.cell(number, 6).number_format = "0.0%"
    sheet.column_dimensions["H"].hidden = True
    sheet.row_dimensions[7].hidden = True
    sheet["C4"].comment = Comment("to be checked", "me")
    book.create_sheet("Notes")["A1"] = "Prices hold until May."
    internal = book.create_sheet("Internal")
    internal["A1"] = "internal only"
    internal.sheet_state = "hidden"
    book.create_sheet("Empty")
    book.save(tmp_path / "fees.xlsx")
    return tmp_path / "fees.xlsx"


def test_a_workbook_is_read_as_it_is_shown(fees):
    document = read_one(fees)
    assert document["title"] == "fees"
    assert document["text"] == (
        "## Fees\n\nFees of the harbour\n\n"
        "| Berth | Kind | Price | Share | From |\n| --- | --- | --- | --- | --- |\n"
        "| East | small | 1,310.50 kr | 25.5% | 2031-04-30 |\n"
        "| East | large | 240.00 kr | 50.0% | 2031-05-01 09:30 |\n"
        "| West | a\\|b | TRUE | #N/A | 07:05 |\n\n"
        "| Name | Phone |\n| --- | --- |\n| Ann | 0012 |\n\n"
        "## Notes\n\nPrices hold until May."
    )


def test_hidden_cells_and_comments_are_counted(fees):
    parsed = read_workbook(str(fees))
    hidden = len("Secret" + "nobodysees" + "Hiddenrow" + "internalonly")
    assert parsed["left_out"] == {"hidden sheets, rows and columns": hidden, "comments": len("tobechecked")}
    repeated = len("FeesEast" + "Notes")  # names of sheets, and the merged cell
    assert lost(parsed) == -repeated


def test_a_workbook_in_the_strict_form_is_read_the_same(fees, tmp_path):
    with zipfile.ZipFile(fees) as source, zipfile.ZipFile(tmp_path / "strict.xlsx", "w") as strict:
        for name in source.namelist():
            part = source.read(name)
            for kind in (b"spreadsheetml", b"officeDocument"):
                part = part.replace(
                    b"http://schemas.openxmlformats.org/%s/2006/" % kind,
                    b"http://purl.oclc.org/ooxml/%s/" % kind,
                )
            strict.writestr(name, part)
    assert read_workbook(str(tmp_path / "strict.xlsx")) == read_workbook(str(fees))


def test_formulas_without_a_result_are_reported(tmp_path):
    book = openpyxl.Workbook()
    book.active.append(["Berth", "Price"])
    book.active.append(["East", "=1+2"])
    book.save(tmp_path / "a.xlsx")
    _, skipped = read_items([tmp_path / "a.xlsx"])
    assert "1 formulas of sheet Sheet have no stored result" in skipped.reason


def test_a_cell_at_the_far_corner_costs_nothing(tmp_path):
    book = openpyxl.Workbook()
    book.active["A1"], book.active["XFD1048576"] = "near", "far"
    book.active.merge_cells("A2:XFD2")
    book.save(tmp_path / "a.xlsx")
    assert read_workbook(str(tmp_path / "a.xlsx"))["text"] == "near\n\nfar"


def test_a_row_with_an_endless_number_does_not_hang(tmp_path):
    book = openpyxl.Workbook()
    book.active["A1"], book.active["A2"] = "Bay", "North"
    book.save(tmp_path / "good")
    with zipfile.ZipFile(tmp_path / "good") as good, zipfile.ZipFile(tmp_path / "bad", "w") as bad:
        for name in good.namelist():
            bad.writestr(name, good.read(name).replace(b'<row r="2"', b'<row r="99999999999"'))
    reason = skip_reason(tmp_path, "far.xlsx", (tmp_path / "bad").read_bytes())
    assert reason == "broken: it has a row 99999999999, and Excel no more than 1,048,576"


def test_unreadable_workbooks_get_a_reason(tmp_path):
    book = openpyxl.Workbook()
    book.save(tmp_path / "empty")
    good = (tmp_path / "empty").read_bytes()
    assert "no text" in skip_reason(tmp_path, "empty.xlsx", good)
    assert "broken" in skip_reason(tmp_path, "cut.xlsx", good[: len(good) // 2])
    assert skip_reason(tmp_path, "old.xlsx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(100)) == (
        "encrypted, or an old .xls: save it as .xlsx without a password"
    )
    with zipfile.ZipFile(tmp_path / "z", "w") as archive:
        archive.writestr("notes.txt", "text")
    assert "no XLSX" in skip_reason(tmp_path, "zipped.xlsx", (tmp_path / "z").read_bytes())
    (tmp_path / "very.xls").write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(100))
    with pytest.raises(UserError, match=r"no reader for .xls files: save it as .xlsx"):
        read_items([tmp_path / "very.xls"])


@pytest.mark.parametrize(
    ("value", "number_format", "shown"),
    [
        (0.1 + 0.2, "General", "0.3"),
        (42, "00000", "00042"),
        (3.1, "0.00", "3.10"),
        (0.155, "0.0%", "15.5%"),
        (-1234.5, "#,##0.00_);(#,##0.00)", "(1,234.50)"),
        (5.5, "[$€-407]\\ #,##0.00", "€ 5.50"),
        (1234567, '0.0,,"M"', "1.2M"),
        (2.0, "0.##", "2"),
        (-3, "[Red]0", "-3"),
        (0.5, "# ?/?", "0.5"),
        (12345, "0.00E+00", "12345"),
    ],
)
def test_numbers_are_shown_in_their_format(value, number_format, shown):
    assert show_number(value, number_format) == shown
