"""What this machine gives to the server, and which model has which part of it.

Owns the rules of sharing: models that are loaded together divide the cores, and memory that one was
promised is nobody else's, though it may not have touched it yet. It starts nothing and knows no
model.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

PROC, SYS = Path("/proc"), Path("/sys")


def count_cores(sys: Path = SYS) -> int:
    """Cores that this process may use; threads of one core count once."""
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    allowed = os.sched_getaffinity(0)
    siblings = {
        _text(sys / f"devices/system/cpu/cpu{cpu}/topology/thread_siblings_list") or str(cpu)
        for cpu in allowed
    }
    return len(siblings)


def available_memory(proc: Path = PROC, sys: Path = SYS) -> int | None:
    """Bytes that could be taken now: what is free, within the control group's limit.

    None where the system does not say.
    """
    found = [*_free_in_groups(proc, sys / "fs/cgroup")]
    for line in _text(proc / "meminfo").splitlines():
        name, _, size = line.partition(":")
        if name == "MemAvailable":
            found.append(_number(size.removesuffix("kB")) * 1024)
    return max(0, min(found)) if found else None


def _free_in_groups(proc: Path, root: Path) -> Iterator[int]:
    """What each limited control group around this process leaves, files that can go included."""
    for line in _text(proc / "self/cgroup").splitlines():
        _, kinds, path = line.split(":", 2)
        if kinds == "":
            top, names = root, ("memory.max", "memory.current", "inactive_file")
        elif "memory" in kinds.split(","):
            top = root / "memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        group = top / path.strip("/")
        for folder in (group, *group.parents):
            limit = _number(_text(folder / names[0]))
            if 0 < limit < 1 << 60:  # more is how the older form says that there is none
                used = _number(_text(folder / names[1]))
                yield limit - used + _statistic(folder / "memory.stat", names[2])
            if folder == top:
                break


def _statistic(file: Path, wanted: str) -> int:
    for line in _text(file).splitlines():
        name, _, value = line.partition(" ")
        if name == wanted:
            return _number(value)
    return 0


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _number(text: str) -> int:
    text = text.strip()
    return int(text) if text.isdigit() else 0


class Machine:
    """The cores and the free memory at the server's start, and who has them since.

    Args:
        cores: to divide; None counts them.
        available: bytes that are free now, None where nobody knows.
    """

    def __init__(
        self,
        *,
        cores: int | None = None,
        available: Callable[[], int | None] = available_memory,
    ) -> None:
        self._cores = cores or count_cores()
        self._available = available
        self._total = available()
        self._promised: dict[str, int] = {}

    @property
    def cores(self) -> int:
        """How many there are."""
        return self._cores

    def expect(self, name: str) -> None:
        """That one is loaded, or will be: it counts where cores are divided. Idempotent."""
        self._promised.setdefault(name, 0)

    def threads(self, name: str) -> int | None:
        """The share of `name`, at least one; None, every core, for the only one.

        It is told when a model is loaded, and stays: who comes later takes a share of its own.
        """
        names = list(self._promised)
        if len(names) <= 1:
            return None
        share, rest = divmod(self._cores, len(names))
        return max(1, share + (name in names[:rest]))

    def free(self, name: str) -> int | None:
        """Bytes that `name` may be promised; None where nobody knows."""
        now = self._available()
        if now is None or self._total is None:
            return None
        others = sum(size for other, size in self._promised.items() if other != name)
        return max(0, min(now, self._total - others))

    def promise(self, name: str, size: int) -> None:
        """Keep `size` bytes for `name`."""
        self._promised[name] = size

    def release(self, name: str) -> None:
        """`name` is not loaded any more. Idempotent."""
        self._promised.pop(name, None)
