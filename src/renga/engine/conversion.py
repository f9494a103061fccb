"""A checkpoint becomes a model folder: `python -m renga.engine.conversion CHECKPOINT OUT BITS`.

A process of its own, so that the runtime is loaded and memory taken nowhere else, and all of it is
given back at the end. It says how far it is, and why it cannot, on lines of JSON at stdout; who
starts it, where the result goes and what happens after a kill is for `renga.models.convert`.
"""

import json
import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from renga.engine.checkpoint import CheckpointError
from renga.engine.graph import convert
from renga.engine.graph.matrices import Precision
from renga.errors import SetupError

_COPY_AGAIN = "pull the checkpoint again, or copy its folder again"
_PRECISIONS: dict[str, Precision] = {"int8": 8, "stored": "stored", "float32": None}


def main(words: Sequence[str]) -> int:
    """Convert; 0 where the folder was written, 2 where it cannot be."""
    checkpoint, out, weights = words
    # The native runtime may print, and nothing but lines of ours belongs into the pipe.
    pipe = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    told = _Told(pipe)
    try:
        convert(
            Path(checkpoint), Path(out), weight_bits=_PRECISIONS[weights], progress=told.progress
        )
    except SetupError as error:
        return told.refusal(error.message, error.hint)
    except CheckpointError as error:
        return told.refusal(str(error), _COPY_AGAIN)
    except (OSError, RuntimeError) as error:
        # The runtime says of a full disk no more than that it could not write.
        reason = (str(error).strip() or type(error).__name__).splitlines()[-1]
        return told.refusal(
            f"the graph could not be written to {out}: {reason}",
            "is there room on that disk for as much as a quarter to half of the checkpoint?",
        )
    except MemoryError:
        return told.refusal(
            "the converted weights do not fit into memory", "int8 takes a byte for each weight"
        )
    return 0


class _Told:
    """What goes out: a line for each percent, and one about an end without success."""

    def __init__(self, pipe: TextIO) -> None:
        self._pipe = pipe
        self._last = -1

    def progress(self, done: int, all_: int) -> None:
        """So many of so many elements of the weights are done."""
        percent = 100 * done // max(1, all_)
        if percent > self._last:
            self._last = percent
            self._write({"done": done, "all": all_})

    def refusal(self, message: str, hint: str) -> int:
        """Why there is no folder."""
        self._write({"message": message, "hint": hint})
        return 2

    def _write(self, line: dict[str, Any]) -> None:
        self._pipe.write(json.dumps(line) + "\n")
        self._pipe.flush()


def _leave_with_parent() -> None:
    """Its stdin ends when whoever started it is gone, however it went."""
    while os.read(0, 4096):
        pass
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
