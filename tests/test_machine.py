"""What the machine gives: control groups of both forms, cores in shares, memory promised once."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renga.machine import Machine, available_memory, count_cores

GB = 10**9


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    folder = tmp_path / "proc"
    (folder / "self").mkdir(parents=True)
    (folder / "meminfo").write_text("MemTotal: 9000000 kB\nMemAvailable:  8000000 kB\n")
    return folder


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text + "\n")


def test_without_a_limit_it_is_what_the_system_says(proc: Path, tmp_path: Path) -> None:
    assert available_memory(proc, tmp_path) == 8_000_000 * 1024


def test_the_newer_form_of_a_limit_counts_files_that_can_go_as_free(
    proc: Path, tmp_path: Path
) -> None:
    (proc / "self/cgroup").write_text("0::/box/inner\n")
    groups = tmp_path / "fs/cgroup"
    write(groups / "box/inner", memory__max="max", memory__current=str(GB))
    write(
        groups / "box",
        memory__max=str(3 * GB),
        memory__current=str(2 * GB),
        memory__stat=f"anon 7\ninactive_file {GB // 2}",
    )
    assert available_memory(proc, tmp_path) == 3 * GB // 2


def test_the_older_form_of_a_limit_is_read_too(proc: Path, tmp_path: Path) -> None:
    (proc / "self/cgroup").write_text("5:cpu,cpuacct:/\n4:memory:/docker/abc\n")
    groups = tmp_path / "fs/cgroup/memory"
    write(groups, memory__limit_in_bytes=str(1 << 63), memory__usage_in_bytes=str(GB))
    write(
        groups / "docker/abc",
        memory__limit_in_bytes=str(2 * GB),
        memory__usage_in_bytes=str(GB),
        memory__stat="total_inactive_file 0",
    )
    assert available_memory(proc, tmp_path) == GB


def test_a_group_over_its_limit_leaves_nothing(proc: Path, tmp_path: Path) -> None:
    (proc / "self/cgroup").write_text("0::/\n")
    write(tmp_path / "fs/cgroup", memory__max=str(GB), memory__current=str(2 * GB))
    assert available_memory(proc, tmp_path) == 0


def test_where_the_system_says_nothing_nobody_knows(tmp_path: Path) -> None:
    assert available_memory(tmp_path, tmp_path) is None
    assert Machine(available=lambda: None).free("a") is None


def test_threads_of_one_core_count_once(tmp_path: Path) -> None:
    import os

    cpus = sorted(os.sched_getaffinity(0))
    for cpu in cpus:
        write(tmp_path / f"devices/system/cpu/cpu{cpu}/topology", thread_siblings_list="the same")
    assert count_cores(tmp_path) == 1
    assert count_cores(tmp_path / "nothing") == len(cpus)


def test_the_only_model_has_every_core() -> None:
    machine = Machine(cores=8, available=lambda: None)
    machine.expect("a")
    assert machine.threads("a") is None


@given(st.integers(1, 64), st.integers(2, 9))
def test_models_that_load_together_divide_the_cores(cores: int, models: int) -> None:
    machine = Machine(cores=cores, available=lambda: None)
    names = [str(n) for n in range(models)]
    for name in [*names, *names]:
        machine.expect(name)
    shares = [machine.threads(name) or 0 for name in names]
    assert min(shares) >= 1
    assert max(shares) - min(shares) <= 1
    assert sum(shares) == max(cores, models)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 10)), max_size=20))
def test_memory_is_promised_once(promises: list[tuple[str, int]]) -> None:
    machine = Machine(cores=1, available=lambda: 10)
    held: dict[str, int] = {}
    for name, size in promises:
        free = machine.free(name)
        assert free == 10 - sum(v for k, v in held.items() if k != name)
        if size <= free:
            machine.promise(name, size)
            held[name] = size
        else:
            machine.release(name)
            held.pop(name, None)
    assert sum(held.values()) <= 10


def test_memory_that_others_took_since_the_start_is_not_free() -> None:
    left = [10 * GB, 3 * GB]
    machine = Machine(cores=1, available=lambda: left.pop(0))
    machine.expect("a")
    assert machine.free("a") == 3 * GB
