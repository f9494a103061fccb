"""A report as a picture: one panel for each figure that several engines have, a bar for each.

It needs matplotlib, which the `bench` extra brings; who asks for a plot without it is told so.
"""

import importlib.util
from pathlib import Path
from typing import Any

from renga.bench.report import Figure, Report
from renga.errors import SetupError

COLUMNS = 3
COLOURS = {
    "renga": "#1b6ca8",
    "openvino-genai": "#7a9e3f",
    "llama-server": "#d08a2e",
    "llamacpp": "#a8a29a",
}
OTHER = "#666666"


def check_plot(path: Path) -> None:
    """Raise SetupError where a plot could not be written in the end."""
    if importlib.util.find_spec("matplotlib") is None:
        raise SetupError("--plot: matplotlib is not installed", "pip install 'renga[bench]'")
    if path.suffix not in (".png", ".svg", ".pdf"):
        raise SetupError(f"--plot: {path.name!r}: a .png, .svg or .pdf file is expected")


def write_plot(report: Report, path: Path) -> None:
    """Write the picture; its kind is the ending of the file's name."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    panels = [
        (f"{workload}: {name}", engines)
        for workload, figures in report.figures.items()
        for name, engines in figures.items()
    ]
    shared = [panel for panel in panels if len(panel[1]) > 1] or panels
    rows = -(-len(shared) // COLUMNS)
    figure, axes = pyplot.subplots(
        rows, COLUMNS, figsize=(4.2 * COLUMNS, 2.5 * rows + 1.0), squeeze=False
    )
    try:
        for axis in axes.flat[len(shared) :]:
            axis.axis("off")
        for axis, (title, engines) in zip(axes.flat, shared, strict=False):
            _draw(axis, title, engines)
        figure.suptitle(f"{report.model}\n{report.machine.words()}", fontsize=8)
        figure.tight_layout(rect=(0, 0, 1, 0.97))
        figure.savefig(path, dpi=120)
    finally:
        pyplot.close(figure)


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _draw(axis: Any, title: str, engines: dict[str, Figure]) -> None:
    names = list(engines)
    values = [engines[name].median for name in names]
    spread = [
        [value - min(engines[name].rounds) for name, value in zip(names, values, strict=True)],
        [max(engines[name].rounds) - value for name, value in zip(names, values, strict=True)],
    ]
    colours = [COLOURS.get(name, OTHER) for name in names]
    bars = axis.barh(names, values, xerr=spread, color=colours, ecolor="#333333", height=0.7)
    axis.bar_label(bars, labels=[f" {_short(value)}" for value in values], fontsize=7, padding=3)
    axis.invert_yaxis()
    axis.margins(x=0.22)
    better = "more is better" if title.endswith("/s") else "less is better"
    axis.set_title(f"{title} ({better})", fontsize=8)
    axis.tick_params(labelsize=7)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
