"""The table of the contention study counts what its rows say."""

import pytest

from latentbench.bench.studies.contention import Speed, busy_processes, slowdown, table


def speed(value, *, metric="encode_images_per_second", busy=0, doubt=None):
    return Speed("pca-16", metric, busy, 0, value, doubt, doubt)


SPEEDS = [
    speed(90.0),
    speed(100.0),
    speed(80.0, busy=1),
    speed(50.0, busy=1, doubt="contended"),
    speed(2.0, metric="encode_latency_seconds"),
    speed(2.2, metric="encode_latency_seconds", busy=1),
]


def test_slowdown_is_relative_to_the_fastest_idle_speed():
    assert slowdown(SPEEDS[2], SPEEDS) == pytest.approx(100 / 80)
    assert slowdown(SPEEDS[5], SPEEDS) == pytest.approx(1.1)


def test_table_counts_marked_and_deviating_speeds():
    idle, loaded = [line for line in table(SPEEDS).splitlines() if line.startswith(("| 0", "| 1"))]
    assert idle == "| 0 | 3 | 0 | 1.00 | 1.11 | 0 | 1.11 |"
    assert loaded == "| 1 | 3 | 1 | 1.25 | 1.25 | 1 | 2.00 |"


def test_busy_processes_end_with_the_block():
    import psutil

    before = set(psutil.Process().children())
    with busy_processes(2):
        children = set(psutil.Process().children()) - before
        assert len(children) >= 2
    assert not [child for child in children if child.is_running() and child.status() != "zombie"]
