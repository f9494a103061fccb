"""Words of a sentence as they are compared: folded, without endings, numbers as numbers.

Owns which words carry a statement, and which of them are names or numbers, that a source has to
have as they are. English endings are cut off lightly; scripts without spaces are compared by pairs
of characters. It compares nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_WORD: Final = re.compile(r"\d+(?:[.,]\d+)*|[^\W\d_]+(?:['’][^\W\d_]+)*")
_DENSE: Final = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af]")

_STOP: Final = frozenset(
    "additionally moreover furthermore finally overall unfortunately therefore currently "
    "specifically typically generally first second next sure certainly instead "
    "a about after all also although an and another any are as at be because been before being "
    "both but by can could did do does doing during each either few for from further had has "
    "have having he her here hers herself him himself his how however i if in into is it its "
    "itself just may me might more most much must my of off on once one only or other our out "
    "over own same shall she should so some such than that the their them themselves then there "
    "these they this those through thus to too under until up upon us very was we were what "
    "when where which while who whom whose why will with would yes you your according based "
    "document documents text".split()
)
_NEGATIONS: Final = frozenset(
    "not no never none nobody nothing neither nor without cannot nicht kein keine keinen nie ne "
    "pas jamais non sin nunca".split()
)
_NUMBERS: Final = {
    word: str(n)
    for n, word in enumerate(
        "two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
        "sixteen seventeen eighteen nineteen twenty".split(),
        start=2,
    )
}


@dataclass(frozen=True, slots=True)
class Words:
    """A sentence's words that carry a statement.

    Attributes:
        row: them in order.
        numbers: those that are numbers.
        names: those that are written like names, where a sentence's beginning does not do it.
        negated: whether it denies something.
    """

    row: tuple[str, ...]
    numbers: frozenset[str]
    names: frozenset[str]
    negated: bool

    @property
    def pairs(self) -> set[tuple[str, str]]:
        """Words that stand side by side."""
        return set(zip(self.row, self.row[1:], strict=False))


def words_of(text: str) -> Words:
    """The words of `text`."""
    row: list[str] = []
    numbers: set[str] = set()
    names: set[str] = set()
    negated = False
    for nth, found in enumerate(_WORD.finditer(text)):
        written = found[0]
        folded = written.casefold()
        if folded in _NEGATIONS or folded.endswith(("n't", "n’t")):
            negated = True
        if folded in _STOP or folded in _NEGATIONS:
            continue
        if written[0].isdigit() or folded in _NUMBERS:
            number = _NUMBERS.get(folded) or _number(written)
            numbers.add(number)
            row.append(number)
        elif _DENSE.search(written):
            row += [written[at : at + 2] for at in range(max(1, len(written) - 1))]
        else:
            stem = stem_of(folded)
            row.append(stem)
            if written[0].isupper() and (nth or len(written) > 1 and written.isupper()):
                names.add(stem)
    return Words(tuple(row), frozenset(numbers), frozenset(names), negated)


def is_dense(word: str) -> bool:
    """Whether a word is a pair of characters of a script without spaces."""
    return _DENSE.search(word) is not None


def _number(written: str) -> str:
    """1,000 and 1000 are one number, 3.50 and 3.5 too."""
    if re.fullmatch(r"\d{1,3}(,\d{3})+(\.\d+)?", written):
        written = written.replace(",", "")
    whole, point, part = written.partition(".")
    if part.isdigit():
        part = part.rstrip("0")
    return (whole.lstrip("0") or "0") + (point + part if part else "")


def stem_of(word: str) -> str:
    """A folded word without its ending."""
    for mark in ("'s", "’s"):
        word = word.removesuffix(mark)
    for ending, least in (("ing", 6), ("ies", 5), ("ed", 5), ("es", 5), ("s", 4)):
        if word.endswith(ending) and len(word) >= least and not word.endswith("ss"):
            word = word[: -len(ending)] + ("y" if ending == "ies" else "")
            break
    return word.removesuffix("e") if len(word) > 3 else word
