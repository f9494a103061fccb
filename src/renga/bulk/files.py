"""Tables in files: CSV, JSONL and Parquet, read a row at a time and written likewise.

Owns that a file of any size takes the same memory, and that a row which cannot be read is told as
one and ends nothing: what is wrong with it stands in its place. Knows no models and no jobs.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, Protocol

from renga.errors import SetupError

Row = Mapping[str, Any]
"""Column -> value."""

LONGEST_LINE: Final = 64_000_000
"""Bytes of a line of JSONL, and characters of a field of CSV."""

FORMATS: Final = (".csv", ".jsonl", ".parquet")
_ALSO: Final = {".ndjson": ".jsonl", ".tsv": ".csv"}
_PARQUET_ROWS: Final = 1_000
_HINT: Final = "accepted: a name that ends in .csv, .tsv, .jsonl, .ndjson or .parquet"


@dataclass(frozen=True, slots=True)
class Found:
    """A row of a table: its number from 0, and its values, or what is wrong with it."""

    number: int
    row: Row | None
    fault: str | None = None


class Table(Protocol):
    """A table that is read. `columns` are those of its first row where it does not name them."""

    columns: Sequence[str]
    size: int

    def rows(self) -> Generator[Found]:
        """Its rows, in order, from the first; each call begins anew."""

    def place(self) -> int:
        """How far reading is, of `size`."""


def format_of(path: Path) -> str:
    """One of FORMATS, by the name. Raises SetupError."""
    ending = path.suffix.lower()
    found = _ALSO.get(ending, ending)
    if found not in FORMATS:
        raise SetupError(f"{path}: a table of an unknown kind", _HINT)
    return found


def open_table(path: Path, *, encoding: str = "utf-8", delimiter: str = "") -> Table:
    """The table in `path`. Raises SetupError where it is none, or is empty."""
    kind = format_of(path)
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        raise SetupError(f"cannot read {path}: {error.strerror}") from error
    if kind == ".parquet":
        return _Parquet(path)
    if kind == ".jsonl":
        return _Jsonl(path)
    try:
        "".encode(encoding)
    except LookupError as error:
        raise SetupError(f"--encoding {encoding}: no such encoding", "such as utf-8") from error
    return _Csv(path, encoding, delimiter or ("\t" if path.suffix.lower() == ".tsv" else ","))


class _Csv:
    """CSV by RFC 4180, with a line of names first."""

    def __init__(self, path: Path, encoding: str, delimiter: str) -> None:
        self._path, self._delimiter = path, delimiter
        self._encoding = "utf-8-sig" if encoding.lower().replace("_", "-") == "utf-8" else encoding
        self._raw: IO[bytes] | None = None
        self.size = path.stat().st_size
        self.columns: Sequence[str] = self._names(self._first())

    def _first(self) -> list[str]:
        try:
            with self._text() as file:
                names: list[str] = next(self._reader(file), [])
        except (UnicodeError, csv.Error) as error:
            raise SetupError(
                f"{self._path} is no CSV file in {self._encoding}: {error}",
                "name another encoding with --encoding, such as latin-1",
            ) from error
        if not names:
            raise SetupError(
                f"{self._path} is empty", "a CSV file begins with a line of column names"
            )
        return names

    def _text(self) -> IO[str]:
        # What is not of the encoding is kept as what it is, so that it is one row that is at fault.
        return self._path.open(encoding=self._encoding, errors="surrogateescape", newline="")

    def _reader(self, file: IO[str]) -> Any:
        csv.field_size_limit(LONGEST_LINE)  # the module has one for all; nobody else reads CSV
        return csv.reader(file, delimiter=self._delimiter, strict=True)

    def _names(self, names: list[str]) -> list[str]:
        for name in names:
            if names.count(name) > 1 or not name:
                raise SetupError(
                    f"{self._path}: column {name!r} is named more than once, or has no name",
                    "the first line names the columns",
                )
            if _undecoded(name):
                raise SetupError(
                    f"{self._path}: the column names are not {self._encoding} text",
                    "name another with --encoding, such as latin-1",
                )
        return names

    def place(self) -> int:
        return self._raw.tell() if self._raw is not None and not self._raw.closed else self.size

    def rows(self) -> Generator[Found]:
        with self._text() as file:
            self._raw = file.buffer  # type: ignore[attr-defined]
            reader, number, width = self._reader(file), -1, len(self.columns)
            next(reader)
            while True:
                number += 1
                try:
                    cells = next(reader)
                except StopIteration:
                    return
                except csv.Error as error:
                    yield Found(number, None, f"line {reader.line_num}: {error}")
                    continue
                except UnicodeError as error:
                    words = f"from line {reader.line_num + 1} on: not {self._encoding} text"
                    yield Found(number, None, f"{words}: {error}")
                    return
                if not cells:  # an empty line is no row
                    number -= 1
                elif len(cells) != width:
                    words = f"line {reader.line_num}: {len(cells)} fields, not {width}"
                    yield Found(number, None, words)
                elif any(map(_undecoded, cells)):
                    words = f"line {reader.line_num}: not {self._encoding} text"
                    yield Found(number, None, words)
                else:
                    yield Found(number, dict(zip(self.columns, cells, strict=True)))


def _undecoded(text: str) -> bool:
    """Whether bytes of `text` were not of its encoding."""
    return not text.isascii() and any("\udc80" <= c <= "\udcff" for c in text)


class _Jsonl:
    """One JSON object a line."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] | None = None
        self.size = path.stat().st_size
        with closing(self.rows()) as rows:
            first = next((found.row for found in rows if found.row is not None), None)
        if first is None:
            raise SetupError(f"{path} has no row", "accepted: one JSON object a line")
        self.columns: Sequence[str] = list(first)

    def place(self) -> int:
        return self._file.tell() if self._file is not None and not self._file.closed else self.size

    def rows(self) -> Generator[Found]:
        with self._path.open("rb") as self._file:
            number = line_number = 0
            while line := self._file.readline(LONGEST_LINE):
                line_number += 1
                if not line.strip():
                    continue
                yield _read_line(number, line_number, line)
                number += 1


def _read_line(number: int, line_number: int, line: bytes) -> Found:
    where = f"line {line_number}"
    if len(line) >= LONGEST_LINE:
        return Found(number, None, f"{where}: longer than {LONGEST_LINE:,} bytes")
    try:
        row = json.loads(line)
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeError:
        return Found(number, None, f"{where}: not UTF-8 text")
    except (ValueError, RecursionError) as error:
        return Found(number, None, f"{where}: not JSON: {error}")
    if not isinstance(row, dict):
        return Found(number, None, f"{where}: not a JSON object")
    return Found(number, row)


class _Parquet:
    """Parquet by pyarrow."""

    def __init__(self, path: Path) -> None:
        arrow = _pyarrow()
        from pyarrow import parquet

        self._at = 0
        try:
            self._file = parquet.ParquetFile(path)
        except (OSError, arrow.ArrowException) as error:
            words = str(error).splitlines()[0]
            raise SetupError(f"{path} is no Parquet file: {words}") from error
        self.schema = self._file.schema_arrow
        self.columns: Sequence[str] = self.schema.names
        self.size = self._file.metadata.num_rows

    def place(self) -> int:
        return self._at

    def rows(self) -> Generator[Found]:
        self._at = 0
        for batch in self._file.iter_batches(_PARQUET_ROWS):
            for row in batch.to_pylist():
                self._at += 1
                yield Found(self._at - 1, row)


def _pyarrow() -> Any:
    try:
        import pyarrow
    except ImportError as error:
        raise SetupError(
            "Parquet needs the library pyarrow", "install it with `pip install 'renga[parquet]'`"
        ) from error
    return pyarrow


class Sink(Protocol):
    """A table that is written."""

    def write(self, row: Row) -> None:
        """One more row."""

    def close(self) -> None:
        """Write what is left; it is durable then."""

    def abandon(self) -> None:
        """Let go of the file, whatever is in it."""


def open_sink(path: Path, columns: Sequence[str], types: Mapping[str, str], source: Table) -> Sink:
    """A table at `path` with `columns`; `types` are JSON Schema's words for those that are new.

    Its kind is told by its name without what follows `.part`.
    """
    kind = format_of(Path(path.name.removesuffix(".part")))
    if kind == ".parquet":
        return _ParquetSink(path, columns, types, source)
    if kind == ".jsonl":
        return _JsonlSink(path)
    delimiter = "\t" if path.name.removesuffix(".part").endswith(".tsv") else ","
    return _CsvSink(path, columns, delimiter)


def text_of(value: object) -> str:
    """A value as text: what is text as it is, nothing as nothing, the rest as JSON."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    return json.dumps(plain(value), ensure_ascii=False)


def plain(value: object) -> Any:
    """A value of a Parquet file as JSON has it: times and decimals as text, bytes as hex."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, bytes):
        return value.hex()
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


class _TextSink:
    """What is common to those that write text: durable when closed."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="utf-8", newline="")

    def close(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def abandon(self) -> None:
        with suppress(OSError):
            self._file.close()


class _CsvSink(_TextSink):
    def __init__(self, path: Path, columns: Sequence[str], delimiter: str) -> None:
        super().__init__(path)
        self._columns = columns
        form: dict[str, Any] = {"delimiter": delimiter, "lineterminator": "\n"}
        self._writer = csv.writer(self._file, **form)
        # The module does not quote a carriage return, which readers take for the end of a line.
        self._careful = csv.writer(self._file, quoting=csv.QUOTE_ALL, **form)
        self._write(columns)

    def write(self, row: Row) -> None:
        self._write([text_of(row.get(name)) for name in self._columns])

    def _write(self, cells: Sequence[str]) -> None:
        returns = any("\r" in cell for cell in cells)
        (self._careful if returns else self._writer).writerow(cells)


class _JsonlSink(_TextSink):
    def write(self, row: Row) -> None:
        self._file.write(json.dumps(plain(row), ensure_ascii=False) + "\n")


class _ParquetSink:
    """Columns of a Parquet input keep their types; others are text, numbers or truth."""

    def __init__(
        self, path: Path, columns: Sequence[str], types: Mapping[str, str], source: Table
    ) -> None:
        arrow = _pyarrow()
        from pyarrow import parquet

        words = {"integer": arrow.int64(), "number": arrow.float64(), "boolean": arrow.bool_()}
        given = {f.name: f for f in source.schema} if isinstance(source, _Parquet) else {}
        fields = [
            given.get(name) or arrow.field(name, words.get(types.get(name, ""), arrow.string()))
            for name in columns
        ]
        self._arrow, self._schema = arrow, arrow.schema(fields)
        self._texts = [n for n in columns if n not in given and types.get(n, "") not in words]
        self._floats = [n for n in columns if n not in given and types.get(n) == "number"]
        self._file = path.open("wb")
        self._writer = parquet.ParquetWriter(self._file, self._schema)
        self._held: list[dict[str, Any]] = []

    def write(self, row: Row) -> None:
        whole = {field.name: row.get(field.name) for field in self._schema}
        for name in self._texts:
            if whole[name] is not None:
                whole[name] = text_of(whole[name])
        for name in self._floats:
            value = whole[name]
            if value is not None:  # an integer that has no exact float would be refused
                whole[name] = float(value)
        self._held.append(whole)
        if len(self._held) >= _PARQUET_ROWS:
            self._write_held()

    def _write_held(self) -> None:
        self._writer.write_table(self._arrow.Table.from_pylist(self._held, schema=self._schema))
        self._held = []

    def close(self) -> None:
        if self._held:
            self._write_held()
        self._writer.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def abandon(self) -> None:
        with suppress(OSError, self._arrow.ArrowException):
            self._writer.close()
        with suppress(OSError):
            self._file.close()
