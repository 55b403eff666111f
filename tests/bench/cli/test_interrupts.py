"""A run that is stopped, killed or out of room resumes where it was."""

import os
import resource
import signal
import subprocess
import time

import pytest
from shared.commands import COMMAND, QUICK, SUITE, latentbench, latentbench_here, wait_until

from latentbench.bench.store.run import read


def start(home, *arguments):
    """The command running in the background, in a separate session as on a terminal."""
    environment = {**os.environ, "LATENTBENCH_CACHE": str(home / "cache")}
    return subprocess.Popen(
        [COMMAND, *arguments],
        cwd=home,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # Tests in a shell's background inherit that Ctrl-C is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def interrupt(running):
    """Ctrl-C, which a terminal sends to every process of the group."""
    os.killpg(running.pid, signal.SIGINT)
    try:
        _, said = running.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        # A process that keeps running would take a core from the next test.
        os.killpg(running.pid, signal.SIGKILL)
        raise
    assert running.returncode == 130
    assert "Traceback" not in said
    return said


def test_sigterm_stops_a_run_like_ctrl_c(home):
    running = start(home, "run", "my.yaml", *QUICK, "--seeds", "100")
    folder = home / "results" / "runs" / "my"
    wait_until(lambda: any(path.stat().st_size for path in folder.glob("*.partial.jsonl")))
    running.terminate()
    _, said = running.communicate(timeout=60)
    assert running.returncode == 143
    assert "Resume with: latentbench run my.yaml" in said
    assert "Traceback" not in said
    assert "leaked" not in said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_a_run_without_a_traceback(home, number):
    running = start(home, "run", "my.yaml", *QUICK, "--seeds", "100")
    folder = home / "results" / "runs" / "my"
    wait_until(lambda: any(path.stat().st_size for path in folder.glob("*.partial.jsonl")))
    while running.poll() is None:
        running.send_signal(number)
        time.sleep(0.02)
    _, said = running.communicate(timeout=60)
    assert running.returncode in (-number, 128 + number)
    assert "Traceback" not in said


def test_interrupted_between_cases_a_run_resumes(home):
    running = start(home, "run", "my.yaml", *QUICK, "--seeds", "100")
    folder = home / "results" / "runs" / "my"
    wait_until(
        lambda: any(len(path.read_text().splitlines()) >= 2 for path in folder.glob("*.partial.jsonl"))
    )
    assert "Resume with: latentbench run my.yaml --no-figures --jobs 1 --seeds 100" in interrupt(running)
    (interrupted,) = folder.glob("*.partial.jsonl")
    before = interrupted.read_text()
    seeds = len(before.splitlines()) // 2 + 1

    resumed = latentbench_here(home, "run", "my.yaml", *QUICK, "--seeds", str(seeds))
    assert resumed.returncode == 0, resumed.stderr
    assert f"{len(before.splitlines())} already done" in resumed.stderr
    (finished,) = folder.glob("*.jsonl")
    assert finished.read_text().startswith(before)
    assert len(read(finished).records) == 2 * seeds


def test_interrupted_while_workers_start_a_run_resumes(home):
    pca = "  - {family: pca, latent_dim: [3, 4]}\n"
    (home / "my.yaml").write_text(SUITE.format(data="digits") + pca)
    running = start(home, "run", "my.yaml", "--no-figures", "--jobs", "2", "--fresh")
    folder = home / "results" / "runs" / "my"
    wait_until(lambda: any(folder.glob("*.partial.jsonl")))
    assert interrupt(running).rstrip().endswith("Resume with: latentbench run my.yaml --no-figures --jobs 2")
    done = latentbench_here(home, "run", "my.yaml", "--no-figures", "--jobs", "2")
    assert done.returncode == 0, done.stderr
    assert len(list(folder.glob("*.jsonl"))) == 1


def fails_where_no_file_may_be_large(home, analysis, hidden):
    """Run a suite in a process that may write at most 20 kB a file, less than a wide model or a judge has."""
    suite = SUITE.format(data="digits").replace("hidden: 16", f"hidden: {hidden}")
    (home / "my.yaml").write_text(suite.replace("[reconstruction, likelihood]", f"[{analysis}]"))

    def limited():
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    full = latentbench(home, "run", "my.yaml", *QUICK, preexec_fn=limited)
    assert full.returncode == 2
    assert "cannot be written: File too large; make room" in full.stderr.splitlines()[-1]
    assert "Traceback" not in full.stderr


def test_a_cache_without_room_is_one_line_and_the_run_resumes(home):
    fails_where_no_file_may_be_large(home, "training", hidden=256)
    done = latentbench_here(home, "run", "my.yaml", *QUICK)
    assert done.returncode == 0, done.stderr
    assert [record.status for record in read(next((home / "results").glob("runs/my/*.jsonl"))).records] == [
        "ok",
        "ok",
    ]


def test_a_cache_without_room_for_a_judge_is_one_line(home):
    (home / "cache" / "judges").unlink()  # The link to those that are trained already.
    fails_where_no_file_may_be_large(home, "reconstruction", hidden=16)


def test_interrupted_in_training_a_run_keeps_its_models(home):
    long = "  - {family: ae, latent_dim: 4, hidden: 16, recipe: {epochs: 1000000}}\n"
    (home / "my.yaml").write_text(SUITE.format(data="digits") + long)
    running = start(home, "run", "my.yaml", *QUICK)
    cards = (home / "cache" / "checkpoints").glob
    wait_until(lambda: len(list(cards("*/model.json"))) == 2)
    interrupt(running)
    trained = {card: card.stat().st_mtime_ns for card in cards("*/model.json")}

    (home / "my.yaml").write_text(SUITE.format(data="digits"))
    resumed = latentbench_here(home, "run", "my.yaml", *QUICK)
    assert resumed.returncode == 0, resumed.stderr
    assert {card: card.stat().st_mtime_ns for card in cards("*/model.json")} == trained


def test_a_killed_run_loses_only_the_case_in_progress(home):
    running = start(home, "run", "my.yaml", *QUICK, "--seeds", "100")
    folder = home / "results" / "runs" / "my"
    wait_until(
        lambda: any(len(path.read_text().splitlines()) >= 2 for path in folder.glob("*.partial.jsonl"))
    )
    os.killpg(running.pid, signal.SIGKILL)
    running.communicate(timeout=60)
    (killed,) = folder.glob("*.partial.jsonl")
    done = read(killed).records
    seeds = len(done) // 2 + 1
    resumed = latentbench_here(home, "run", "my.yaml", *QUICK, "--seeds", str(seeds))
    assert resumed.returncode == 0, resumed.stderr
    assert f"{2 * seeds} cases, {len(done)} already done" in resumed.stderr
    (finished,) = folder.glob("*.jsonl")
    assert read(finished).records[: len(done)] == done
    assert read(finished).warnings == ()
