"""Letters in images recognized: what an image shows, as text in its layout.

Runs in a process of its own (`renga.media.process`). Owns how a large image is cut so that small
print stays readable, and that nothing is recognized twice where the pieces overlap. The models are
RapidOCR's (PP-OCR), which come in its wheel, and run on OpenVINO; it is an extra, imported by the
first job that needs it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from renga.media.jobs import Recognize, Recognized
from renga.media.layout import Point, text_of, upright
from renga.media.rendering import opened

if TYPE_CHECKING:
    from PIL.Image import Image

_SHORT_SIDE: Final = 2_000  # pixels
_PIECE: Final = 2_000  # pixels of the long side that are looked at together
_OVERLAP: Final = 240  # pixels; what is taller than half of it may be cut


def recognize(job: Recognize, threads: int) -> Recognized:
    """The text in an image or on a page. Raises NotReadable, and what a missing extra raises."""
    engine = _engine(threads)
    image = _scaled(opened(job.data, job.page))
    texts: list[str] = []
    corners: list[list[Point]] = []
    for left, top, piece, owns in _pieces(image):
        found = engine(np.ascontiguousarray(np.asarray(piece)[:, :, ::-1]))
        for text, quad in zip(found.txts or (), _quads(found.boxes), strict=True):
            moved = [(x + left, y + top) for x, y in quad]
            if owns(sum(x for x, _ in moved) / 4, sum(y for _, y in moved) / 4):
                texts.append(text)
                corners.append(moved)
    return Recognized(text_of(upright(texts, corners)))


@lru_cache(maxsize=1)
def _engine(threads: int) -> Any:
    """The recognizer; loading it takes seconds."""
    # OpenVINO reports its import to its makers unless this package is absent.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    from rapidocr import EngineType, RapidOCR

    parts = {f"{part}.engine_type": EngineType.OPENVINO for part in ("Det", "Cls", "Rec")}
    wanted = {"Global.log_level": "error", "Global.max_side_len": _PIECE + _OVERLAP}
    if threads:
        wanted["EngineConfig.openvino.inference_num_threads"] = threads
    return RapidOCR(params=parts | wanted)


def _quads(boxes: Any) -> list[list[Point]]:
    return [] if boxes is None else [[(float(x), float(y)) for x, y in quad] for quad in boxes]


def _scaled(image: Image) -> Image:
    scale = _SHORT_SIDE / min(image.size)
    if scale >= 1:
        return image
    return image.resize((round(image.width * scale), round(image.height * scale)))


def _pieces(image: Image) -> Iterator[tuple[int, int, Image, Any]]:
    """(left, top, piece, whether a middle is its own): pieces along the longer side, overlapping.

    A middle in the overlap of two pieces belongs to the nearer one.
    """
    wide = image.width > image.height
    length = max(image.size)
    count = max(1, -(-(length - _OVERLAP) // (_PIECE - _OVERLAP)))
    step = (length - _OVERLAP) / count
    for nth in range(count):
        start, end = round(nth * step), min(length, round((nth + 1) * step) + _OVERLAP)
        low = start + _OVERLAP / 2 if nth else -1.0
        high = end - _OVERLAP / 2 if nth < count - 1 else length + 1.0

        def owns(x: float, y: float, low: float = low, high: float = high) -> bool:
            return low <= (x if wide else y) < high

        box = (start, 0, end, image.height) if wide else (0, start, image.width, end)
        yield box[0], box[1], image.crop(box), owns
