"""The command `audit`."""

import json

from shared.commands import latentbench, latentbench_here

INVENTION = "gaussian-mixture-mode-dropping-invention"


def test_an_audit_prints_each_verdict_with_the_published_one(home):
    done = latentbench(home, "audit", "--check", INVENTION, "--measure", "neighbours", "--format", "json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert {(row["measure"], row["verdict"], row["published"]) for row in found} >= {
        ("precision", "pass", "pass"),
        ("coverage", "fail", "fail"),
    }


def test_an_audit_in_markdown_has_a_table_for_each_kind(home):
    done = latentbench_here(home, "audit", "--check", INVENTION, "--measure", "clipped", "--format", "md")
    assert [line for line in done.stdout.splitlines() if line.startswith("| passed")] == [
        "| passed | of 2 | 2 |",
        "| passed | of 2 | 0 |",
    ]


def test_an_unknown_check_or_measure_is_one_line_and_exit_2(home):
    for option in ("--check", "--measure"):
        done = latentbench_here(home, "audit", option, "nonsense")
        assert (done.returncode, done.stdout) == (2, "")
        assert "nonsense" in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
