"""Limits of control groups, version 1 and 2, of this process's group and of those around it."""

from pathlib import Path

import pytest

from latentbench.analysis.performance.memory import free_in_container

GIB = 2**30


def group(folder, limit, used, cached, *, names=("memory.max", "memory.current", "inactive_file")):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 5\n{names[2]} {cached}\nactive_file 7\n")


@pytest.fixture
def root(tmp_path):
    (tmp_path / "proc/self").mkdir(parents=True)
    return tmp_path


def belongs_to(root, *lines):
    (root / "proc/self/cgroup").write_text("".join(f"{line}\n" for line in lines))
    return root / "sys/fs/cgroup"


def test_a_container_leaves_its_limit_less_what_is_in_use(root):
    mounted = belongs_to(root, "0::/")
    group(mounted, 8 * GIB, 3 * GIB, 1 * GIB)
    assert free_in_container(root) == 6 * GIB


def test_the_tightest_group_around_a_job_counts(root):
    mounted = belongs_to(root, "0::/slurm/job_7/step_0")
    group(mounted / "slurm/job_7/step_0", "max", GIB, 0)
    group(mounted / "slurm/job_7", 4 * GIB, 3 * GIB, 0)
    group(mounted / "slurm", 64 * GIB, 3 * GIB, 0)
    assert free_in_container(root) == GIB


def test_version_1_has_other_names(root):
    mounted = belongs_to(root, "5:cpu,cpuacct:/a", "4:memory:/docker/b", "0::/")
    names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
    group(mounted / "memory/docker/b", 2 * GIB, GIB, GIB // 2, names=names)
    assert free_in_container(root) == 3 * GIB // 2


def test_a_limit_that_is_exceeded_leaves_nothing(root):
    mounted = belongs_to(root, "0::/")
    group(mounted, GIB, 2 * GIB, 0)
    assert free_in_container(root) == 0


def test_without_a_limit_there_is_none(root):
    assert free_in_container(root) is None
    mounted = belongs_to(root, "0::/user")
    group(mounted / "user", "max", GIB, 0)
    assert free_in_container(root) is None


@pytest.mark.skipif(not Path("/proc/self/cgroup").exists(), reason="this system has no control groups")
def test_free_memory_of_this_container_is_not_negative():
    found = free_in_container()
    assert found is None or found >= 0
