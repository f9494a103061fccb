"""Tables in files: what is read, what is at fault, and that what is written reads back."""

from __future__ import annotations

import csv
import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from renga.bulk.files import open_sink, open_table, plain, text_of
from renga.errors import SetupError


def rows_of(path: Path, **options: Any) -> list[dict[str, Any] | str]:
    """Every row, or what is wrong with it."""
    found = list(open_table(path, **options).rows())
    assert [one.number for one in found] == list(range(len(found)))
    return [dict(one.row) if one.row is not None else str(one.fault) for one in found]


def write(path: Path, data: bytes | str) -> Path:
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def test_a_csv_file_is_read_with_quotes_line_breaks_and_a_byte_order_mark(tmp_path):
    path = write(tmp_path / "a.csv", '\ufeffid,text\r\n1,"two\nlines, ""quoted"""\r\n\r\n2,ü\r\n')
    assert rows_of(path) == [
        {"id": "1", "text": 'two\nlines, "quoted"'},
        {"id": "2", "text": "ü"},
    ]


def test_a_ragged_row_is_at_fault_alone(tmp_path):
    path = write(tmp_path / "a.csv", "a,b\n1,2\n3\n4,5,6\n7,8\n")
    assert rows_of(path) == [
        {"a": "1", "b": "2"},
        "line 3: 1 fields, not 2",
        "line 4: 3 fields, not 2",
        {"a": "7", "b": "8"},
    ]


def test_a_row_in_another_encoding_is_at_fault_alone_and_the_encoding_can_be_named(tmp_path):
    path = write(tmp_path / "a.csv", "a\nplain\ngr\xfcn\n".encode("latin-1"))
    assert rows_of(path) == [{"a": "plain"}, "line 3: not utf-8-sig text"]
    assert rows_of(path, encoding="latin-1") == [{"a": "plain"}, {"a": "grün"}]
    wide = write(tmp_path / "w.csv", "a,b\n1,ü\n".encode("utf-16"))
    assert rows_of(wide, encoding="utf-16") == [{"a": "1", "b": "ü"}]


def test_a_quote_that_never_ends_is_told_and_the_rows_before_it_are_read(tmp_path):
    path = write(tmp_path / "a.csv", 'a\n1\n"2\n3\n')
    first, second = rows_of(path)
    assert first == {"a": "1"}
    assert "unexpected end of data" in str(second)


def test_jsonl_faults_are_told_by_their_line(tmp_path):
    lines = ['{"a": 1}', "", "[1]", "{", '{"a": "\\ud800"}', '{"a": {"b": [null]}}']
    path = write(tmp_path / "a.jsonl", "\n".join(lines).encode() + b'\n{"a": "\xff"}')
    found = rows_of(path)
    assert found[0] == {"a": 1}
    assert found[1] == "line 3: not a JSON object"
    assert str(found[2]).startswith("line 4: not JSON")
    assert found[3] == "line 5: not UTF-8 text"
    assert found[4] == {"a": {"b": [None]}}
    assert str(found[5]).startswith("line 7: not UTF-8 text")


def test_parquet_keeps_its_types_on_the_way_through(tmp_path):
    path = tmp_path / "a.parquet"
    columns = {
        "n": pa.array([1, None], pa.int32()),
        "at": pa.array([datetime(2026, 11, 23, tzinfo=UTC)] * 2, pa.timestamp("us", "UTC")),
        "raw": pa.array([b"\x00\xff", b""], pa.binary()),
    }
    parquet.write_table(pa.table(columns), path)
    table = open_table(path)
    out = tmp_path / "b.parquet"
    sink = open_sink(out, [*table.columns, "sum", "topic"], {"sum": "integer"}, table)
    for found in table.rows():
        sink.write({**(found.row or {}), "sum": found.number, "topic": {"x": 1}})
    sink.close()
    written = parquet.read_table(out)
    assert written.schema.field("n").type == pa.int32()
    assert written.schema.field("at").type == pa.timestamp("us", "UTC")
    assert written.column("sum").to_pylist() == [0, 1]
    assert written.column("topic").to_pylist() == ['{"x": 1}'] * 2
    assert written.column("raw").to_pylist() == [b"\x00\xff", b""]


CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=20)


@settings(deadline=None, max_examples=60)
@given(rows=st.lists(st.tuples(CELLS, CELLS), max_size=8))
def test_what_is_written_reads_back_in_each_text_format(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("t")
    source = folder / "in.csv"
    with source.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["a", "b"])
        writer.writerows(rows)
    table = open_table(source)
    read = [dict(found.row or {}) for found in table.rows()]
    # A carriage return alone is the end of a line to some readers; the csv module agrees with us.
    with source.open(encoding="utf-8", newline="") as file:
        assert read == [dict(row) for row in csv.DictReader(file) if row]
    for name in ("out.csv", "out.jsonl", "out.tsv"):
        sink = open_sink(folder / f"{name}.part", ["a", "b"], {}, table)
        for row in read:
            sink.write(row)
        sink.close()
        (folder / f"{name}.part").rename(folder / name)
        if read:
            assert rows_of(folder / name) == read


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a.txt", b"x", "unknown kind"),
        ("a.csv", b"", "is empty"),
        ("a.csv", b"a,a\n", "more than once"),
        ("a.csv", b"a,\n", "no name"),
        ("a.csv", b"gr\xfcn\n1\n", "column names are not"),
        ("a.jsonl", b"\n\n", "has no row"),
        ("a.parquet", b"PAR1", "no Parquet file"),
    ],
)
def test_what_is_no_table_is_one_line(tmp_path, name, data, words):
    with pytest.raises(SetupError, match=words) as caught:
        open_table(write(tmp_path / name, data))
    assert "\n" not in caught.value.message


def test_a_file_that_is_not_there_or_an_encoding_that_is_none_is_one_line(tmp_path):
    with pytest.raises(SetupError, match="No such file"):
        open_table(tmp_path / "a.csv")
    with pytest.raises(SetupError, match="no such encoding"):
        open_table(write(tmp_path / "a.csv", "a\n"), encoding="utf-99")


def test_values_are_text_as_a_person_would_write_them():
    assert text_of("a") == "a"
    assert text_of(None) == ""
    assert text_of({"a": [1, "ü"]}) == '{"a": [1, "ü"]}'
    assert plain(date(2026, 1, 2)) == "2026-01-02"
    assert json.loads(text_of({"at": datetime(2026, 1, 2, tzinfo=UTC)})) == {
        "at": "2026-01-02T00:00:00+00:00"
    }
