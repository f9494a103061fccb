"""`python -m training`: the recipe's command line.

Owns flags and signals alone. SIGTERM and ctrl-c save a checkpoint and leave; the same command then
goes on from it.
"""

from __future__ import annotations

import argparse
import dataclasses
import signal
import sys
import time
from pathlib import Path

from training.recipe import SIZES, STEPS, Interrupted, Recipe, run

PROJECT = Path(__file__).resolve().parent.parent


def arguments(words: list[str]) -> argparse.Namespace:
    """The command line, read."""
    parser = argparse.ArgumentParser(
        prog="python -m training", description="Make a shipped model: from data to int8 IR."
    )
    parser.add_argument("steps", nargs="*", help=f"some of: {', '.join(STEPS)} (default: all)")
    parser.add_argument("--size", choices=sorted(SIZES), default="haiku")
    parser.add_argument(
        "--data",
        type=Path,
        default=PROJECT.parent / "shared" / "data",
        help="folder of the public data sets",
    )
    parser.add_argument("--work", type=Path, help="where rows and checkpoints are kept")
    parser.add_argument("--out", type=Path, help="the model folder to write")
    parser.add_argument("--minutes", type=float, help="training time, over all resumptions")
    found = parser.parse_args(words)
    if unknown := [step for step in found.steps if step not in STEPS]:
        parser.error(f"steps: {unknown[0]!r} is none of {', '.join(STEPS)}")
    if not found.data.is_dir():
        parser.error(f"--data: {found.data} is no folder")
    return found


def main(words: list[str]) -> int:
    """Run the recipe; 0 when done, 3 when it was told to stop and can be resumed."""
    flags = arguments(words)
    size = SIZES[flags.size]
    if flags.minutes is not None:
        size = dataclasses.replace(size, plan=dataclasses.replace(size.plan, minutes=flags.minutes))
    work = flags.work or PROJECT / "training" / "work" / flags.size
    stopped: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _frame: stopped.append(received))
    recipe = Recipe(
        size,
        flags.data,
        work,
        flags.out or work / "model",
        log=lambda line: print(time.strftime("%H:%M:%S"), line, flush=True),
        stop=lambda: bool(stopped),
    )
    try:
        run(recipe, flags.steps or tuple(STEPS))
    except Interrupted as reason:
        print(reason, file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
