"""A report as a file: Parquet for programs, a picture for people.

Owns the types of the columns: counts are 64-bit integers, money is a decimal number with twelve
places, so that nothing is rounded on its way; and which picture a report makes. Both need extras.
"""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from renga.costs.report import COUNTS, MONEY, Report
from renga.errors import SetupError

_MOST_BARS: Final = 40
_MOST_LINES: Final = 10
_MOST_DATES: Final = 7  # so many stand side by side


def write_parquet(report: Report, path: Path) -> None:
    """Write the rows. Raises SetupError where pyarrow is missing or the file cannot be written."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ModuleNotFoundError as error:
        raise SetupError(
            "--parquet: pyarrow is not installed", "pip install 'renga[parquet]'"
        ) from error
    money = pyarrow.decimal128(38, 12)
    fields = [
        *(pyarrow.field(name, pyarrow.string()) for name in report.by),
        *(pyarrow.field(name, pyarrow.int64()) for name in COUNTS),
        *(pyarrow.field(name, money) for name in MONEY),
    ]
    rows = [{name: _typed(name, value) for name, value in row.items()} for row in report.rows]
    table = pyarrow.Table.from_pylist(rows, schema=pyarrow.schema(fields))
    try:
        parquet.write_table(table, path)
    except OSError as error:
        raise _cannot_write("--parquet", path, error) from error


def _typed(name: str, value: Any) -> Any:
    return Decimal(value) if name in MONEY and value is not None else value


def write_plot(report: Report, path: Path) -> None:
    """Draw costs: over the days where there are days, else a bar for each group.

    Raises SetupError where matplotlib is missing or the file cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise SetupError(
            "--plot: matplotlib is not installed", "pip install 'renga[plot]'"
        ) from error
    figure = Figure(layout="constrained")
    axes = figure.subplots()
    if "day" in report.by:
        figure.set_size_inches(9, 4.5)
        _draw_days(axes, report)
    else:
        figure.set_size_inches(9, 1.2 + 0.4 * max(1, min(len(report.rows), _MOST_BARS)))
        _draw_bars(axes, report)
    axes.spines[["top", "right"]].set_visible(False)
    try:
        figure.savefig(path, dpi=120)
    except (OSError, ValueError) as error:
        raise _cannot_write("--plot", path, error) from error


def _cannot_write(option: str, path: Path, error: Exception) -> SetupError:
    why = getattr(error, "strerror", None) or str(error).splitlines()[0]
    return SetupError(f"{option}: {path} cannot be written: {why}")


def _name(report: Report, row: Any, *, days: bool = True) -> str:
    parts = [str(row[name]) or "none" for name in report.by if days or name != "day"]
    return ", ".join(parts) or "all"


def _draw_bars(axes: Any, report: Report) -> None:
    """The dearest groups from top to bottom: list price, and own hardware below it."""
    ranked = sorted(report.rows, key=lambda row: Decimal(row["cost_usd"]), reverse=True)
    shown = ranked[:_MOST_BARS]
    places = range(len(shown))
    own = any(row["own_cost_usd"] is not None for row in shown)
    high = 0.38 if own else 0.7
    list_price = [float(row["cost_usd"]) for row in shown]
    axes.barh(
        [p - high / 2 * own for p in places], list_price, high, label="list price", color="#4477aa"
    )
    if own:
        costs = [float(row["own_cost_usd"] or 0) for row in shown]
        axes.barh(
            [p + high / 2 for p in places], costs, high, label="own hardware", color="#ccbb44"
        )
        axes.legend(frameon=False, loc="lower right")
    axes.set_yticks(list(places), [_name(report, row) for row in shown])
    axes.invert_yaxis()
    axes.set_xlabel("dollars")
    left_out = len(ranked) - len(shown)
    more = f"; the {left_out} cheapest are left out" if left_out else ""
    axes.set_title(f"Cost by {', '.join(report.by)}{more}", loc="left")


def _draw_days(axes: Any, report: Report) -> None:
    """A line over the days for each group of the other dimensions, the dearest by name."""
    days = sorted({row["day"] for row in report.rows})
    lines: dict[str, dict[str, float]] = {}
    for row in report.rows:
        line = lines.setdefault(_name(report, row, days=False), {})
        line[row["day"]] = line.get(row["day"], 0.0) + float(row["cost_usd"])
    ranked = sorted(lines, key=lambda name: sum(lines[name].values()), reverse=True)
    for name in ranked[:_MOST_LINES]:
        values = [lines[name].get(day, 0.0) for day in days]
        axes.plot(range(len(days)), values, marker="o", markersize=3, label=name)
    step = max(1, -(-len(days) // _MOST_DATES))
    axes.set_xticks(range(0, len(days), step), days[::step])
    axes.set_ylim(bottom=0)
    axes.set_ylabel("dollars by list price")
    if lines and len(report.by) > 1:
        axes.legend(frameon=False)
    left_out = len(ranked) - min(len(ranked), _MOST_LINES)
    more = f"; the {left_out} cheapest are left out" if left_out else ""
    axes.set_title(f"Cost by {', '.join(report.by)}{more}", loc="left")
