"""A driver that is stopped on a Ray cluster leaves no work on it, and the same command resumes its run."""

import signal
import subprocess
import time

import pytest
from shared.commands import COMMAND, wait_until
from shared.sweeps import SWEEP, run_here, values

from latentbench.bench.store.run import read

pytestmark = pytest.mark.slow

COMMAND_LINE = (COMMAND, "run", "my.yaml", "--executor", "ray", "--device", "cpu", "--no-figures")
RESUME = "interrupted; finished cases and trained models are kept. Resume with: latentbench run my.yaml"


def start(home):
    return subprocess.Popen(
        COMMAND_LINE,
        cwd=home,
        stderr=subprocess.PIPE,
        text=True,
        # Tests in a shell's background inherit that Ctrl-C is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def stopped(driver, number, after):
    """Send a signal as soon as the driver has said so many results; return everything that it said."""
    said = []
    for line in driver.stderr:
        said.append(line)
        if "/24 " in line:
            after -= 1
            if after == 0:
                driver.send_signal(number)
    driver.wait(timeout=60)
    return "".join(said)


def records(home):
    paths = [*(home / "results" / "runs" / "my").glob("*.jsonl")]
    return [record for path in paths for record in read(path).records]


def is_idle(ray):
    return ray.available_resources().get("CPU") == ray.cluster_resources()["CPU"]


@pytest.fixture
def observer(cluster):
    """Return the module ray, connected to the cluster; it disconnects after the test."""
    import ray

    ray.init(address=cluster.address, log_to_driver=False)
    yield ray
    ray.shutdown()


def test_a_driver_resumes_after_every_kind_of_stop(observer, home):
    (home / "my.yaml").write_text(SWEEP)
    before = []
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)):
        driver = start(home)
        said = stopped(driver, number, after=2)
        assert driver.returncode == code, said
        assert (RESUME in said) == (code > 0)
        assert "Traceback" not in said
        wait_until(lambda: is_idle(observer))
        assert list((home / "results" / "runs" / "my").glob("*.partial.jsonl"))
        done = records(home)
        assert done[: len(before)] == before
        assert len(before) < len(done) < 24
        before = done
    driver = start(home)
    _, said = driver.communicate(timeout=400)
    assert driver.returncode == 0, said
    assert f"24 cases, {len(before)} already done" in said
    assert len(records(home)) == 24
    (path,) = (home / "results" / "runs" / "my").glob("*.jsonl")
    assert values(read(path)) == values(run_here(home))


def test_ctrl_c_ends_the_units_in_progress(observer, home):
    """A training of hours is ended, and what was trained before it is not trained again."""
    long = ", {family: ae, latent_dim: 2, hidden: 8, recipe: {epochs: 1000000}}]"
    (home / "my.yaml").write_text(SWEEP.replace("seeds: 4", "seeds: 1").strip().removesuffix("]") + long)
    cards = (home / "cache" / "checkpoints").glob
    driver = start(home)
    wait_until(lambda: len(list(cards("*/model.json"))) == 6, seconds=300)
    trained = {card: card.stat().st_mtime_ns for card in cards("*/model.json")}
    began = time.monotonic()
    driver.send_signal(signal.SIGINT)
    _, said = driver.communicate(timeout=60)
    assert driver.returncode == 130
    assert RESUME in said
    wait_until(lambda: is_idle(observer))
    assert time.monotonic() - began < 60
    (home / "my.yaml").write_text(SWEEP.replace("seeds: 4", "seeds: 1"))
    driver = start(home)
    _, said = driver.communicate(timeout=400)
    assert driver.returncode == 0, said
    assert len(records(home)) == 6
    assert {card: card.stat().st_mtime_ns for card in cards("*/model.json")} == trained
