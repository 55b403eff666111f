"""Cores that a process may not use are not counted."""

import os
import subprocess
import sys
from types import SimpleNamespace

import psutil
import pytest
import torch

from latentbench.analysis.performance.cores import default_jobs, threads, threads_of, usable_cores

COUNT = "from latentbench.analysis.performance.cores import usable_cores; print(usable_cores())"


def counted(**environment):
    done = subprocess.run(
        [sys.executable, "-c", COUNT],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **environment},
    )
    return int(done.stdout)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_cores_outside_the_affinity_are_not_counted():
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert usable_cores() == default_jobs(torch.device("cpu")) == threads_of(1) == 1
    finally:
        os.sched_setaffinity(0, allowed)
    assert usable_cores() <= len(allowed)


def test_environment_limits_the_count():
    assert counted(LOKY_MAX_CPU_COUNT="1") == 1


@pytest.mark.parametrize(("given", "count"), [("1", 1), ("3", 3), ("99", 8), ("", 8), ("0", 8), ("4,2", 8)])
def test_omp_num_threads_limits_the_threads(monkeypatch, given, count):
    monkeypatch.setattr("latentbench.analysis.performance.cores.usable_cores", lambda: 8)
    monkeypatch.setenv("OMP_NUM_THREADS", given)
    assert threads_of(1) == count
    assert threads_of(8) == 1


@pytest.mark.parametrize(("cores", "gigabytes", "jobs"), [(16, 80, 8), (16, 24, 3), (16, 6, 1), (1, 80, 1)])
def test_several_workers_share_a_gpu(monkeypatch, cores, gigabytes, jobs):
    monkeypatch.setattr("latentbench.analysis.performance.cores.usable_cores", lambda: cores)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=1e12))
    properties = SimpleNamespace(total_memory=gigabytes * 10**9)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    assert default_jobs(torch.device("cuda")) == jobs


def test_quota_of_a_cgroup_limits_the_count(monkeypatch, tmp_path):
    """Half a core of processor time is one core; two and a half are three, as far as there are so many."""
    quota = tmp_path / "cpu.max"
    real = open

    def fake_open(path, *arguments, **keywords):
        return real(quota if path == "/sys/fs/cgroup/cpu.max" else path, *arguments, **keywords)

    exists = os.path.exists
    monkeypatch.setattr("builtins.open", fake_open)
    monkeypatch.setattr(os.path, "exists", lambda path: path == "/sys/fs/cgroup/cpu.max" or exists(path))
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    for text, cores in (("50000 100000", 1), ("250000 100000", 3), ("max 100000", 8)):
        quota.write_text(text)
        assert usable_cores() == cores


def test_threads_are_restored_after_the_block():
    before = torch.get_num_threads()

    def fail():
        assert torch.get_num_threads() == 1
        raise KeyError

    with pytest.raises(KeyError), threads(1):
        fail()
    assert torch.get_num_threads() == before
