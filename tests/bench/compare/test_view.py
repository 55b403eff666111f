"""Comparisons as text, Markdown, JSON, CSV and JUnit XML."""

import json
from xml.etree import ElementTree

import pandas as pd
import pytest
from rich.console import Console

from latentbench.bench.compare.compare import compare
from latentbench.bench.compare.policy import shipped
from latentbench.bench.compare.view import LONGEST, render, save, summary
from latentbench.bench.store.run import Run
from latentbench.data.errors import LatentbenchError
from latentbench.models.spec import ForeignSpec


@pytest.fixture
def comparison(make_record, tmp_path):
    losses = (0.0010, 0.0012, 0.0009, 0.0011)
    noise = (3.0, -1.0, 2.0, -2.5)
    base = [
        make_record(mse=0.02, frechet_prior=50.0, psnr=20.0, recognisable=0.9, kl=7.0, seed=seed)
        for seed in range(4)
    ]
    new = [
        make_record(
            mse=0.02 + losses[seed],
            frechet_prior=50.0 + noise[seed],
            psnr=None,
            recognisable=0.95 + seed / 1000,
            kl=8.0,
            ssim=0.9,
            seed=seed,
        )
        for seed in range(4)
    ]
    new.append(make_record(latent_dim=8, mse=None, status="diverged", reason="loss not finite"))
    a, b = (
        Run(tmp_path / "runs" / "my" / f"{name}.jsonl", tuple(records))
        for name, records in (("a", base), ("b", new))
    )
    return compare(a, b, shipped(), correction="Holm")


def test_the_summary_counts_every_verdict_the_gravest_first(comparison):
    assert summary(comparison) == (
        "fails on 2 of 7: 1 regressed, 1 changed, 1 missing, 1 inconclusive, 2 new, 1 ok"
    )


def test_terminal_shows_every_verdict_except_ok_with_reason(comparison):
    console = Console(width=220, record=True)
    console.print(render(comparison, "rich"))
    text = console.export_text()
    for expected in (
        "regressed (paired t over 4 seeds)",
        "changed (no preferred direction)",
        "missing (no value in B: not available)",
        "inconclusive (paired t over 4 seeds)",
        "more seeds would decide it",
        "better (paired t over 4 seeds)",
        "new (the model is not in A)",
        "+5.2% [+4.5%, +6.0%]",
        "failed: ae-8, seed 0: diverged (loss not finite)",
        "with 4 seeds there is 80 % power to detect a regression of 1.6 SD",
        "as one of 3 tests with Holm's correction",
    ):
        assert expected in text


def test_markdown_is_ready_for_a_pull_request(comparison):
    lines = render(comparison, "md").splitlines()
    assert lines[0].startswith("### ❌ latentbench: fails on 2 of 7")
    table = [line for line in lines if line.startswith("|")]
    assert len({line.count("|") for line in table}) == 1
    assert table[2].startswith("| ae-2 | mse | 0.02 | 0.02105 | +5.2% [+4.5%, +6.0%] | 2.0% | regressed")


def test_json_has_everything_to_decide_again(comparison):
    content = json.loads(render(comparison, "json"))
    by_name = {finding["metric"]: finding for finding in content["findings"]}
    assert by_name["mse"]["fails"] is True
    assert by_name["mse"]["evidence"]["p"] < by_name["mse"]["p_adjusted"] < 0.05
    assert by_name["frechet_prior"]["further_seeds"] > 0
    assert content["policy"]["alpha"] == 0.05
    assert content["counts"]["regressed"] == 1


def test_junit_is_what_its_readers_expect(comparison):
    (suite,) = ElementTree.fromstring(render(comparison, "junit"))
    cases = list(suite)
    counted = {
        "tests": len(cases),
        "failures": len(suite.findall("testcase/failure")),
        "errors": len(suite.findall("testcase/error")),
        "skipped": len(suite.findall("testcase/skipped")),
    }
    assert {name: int(suite.get(name)) for name in counted} == counted
    assert counted == {"tests": 8, "failures": 2, "errors": 1, "skipped": 2}
    failures = {case.get("name"): case.find("failure") for case in cases if case.find("failure") is not None}
    assert set(failures) == {"mse", "psnr"}
    assert "worse by +5.2%" in failures["mse"].get("message")


def test_a_saved_file_is_of_the_format_its_ending_names(comparison, tmp_path):
    for name in ("r.md", "r.json", "r.csv", "r.xml"):
        save(comparison, tmp_path / name)
    assert (tmp_path / "r.md").read_text() == render(comparison, "md")
    assert list(pd.read_csv(tmp_path / "r.csv").verdict).count("regressed") == 1
    ElementTree.parse(tmp_path / "r.xml")
    with pytest.raises(LatentbenchError, match=r"the ending must be one of \.md, \.json, \.csv, \.xml"):
        save(comparison, tmp_path / "r.pdf")
    with pytest.raises(LatentbenchError, match="cannot be written: "):
        save(comparison, tmp_path / "r.md" / "r.md")


def test_names_of_models_are_text_in_every_format(make_record, tmp_path):
    def run(name, value):
        record = make_record(mse=value)
        model = ForeignSpec(family="a|b [red]x[/] <i>\x1b", latent_dim=2)
        records = (record.model_copy(update={"model": model}),)
        return Run(tmp_path / "runs" / "my" / f"{name}.jsonl", records)

    comparison = compare(run("a", 0.1), run("b", 0.2), shipped())
    console = Console(width=220, record=True)
    console.print(render(comparison, "rich"))
    assert "a|b [red]x[/] <i>" in console.export_text()
    (row,) = [line for line in render(comparison, "md").splitlines() if line.startswith("| a")]
    assert row.startswith("| a\\|b [red]x[/] &lt;i&gt;")
    ElementTree.fromstring(render(comparison, "junit"))


def test_a_long_list_is_cut_and_says_so(make_record, tmp_path):
    def run(value):
        records = [make_record(mse=value, latent_dim=width) for width in range(1, LONGEST + 11)]
        return Run(tmp_path / "runs" / "my" / "x.jsonl", tuple(records))

    comparison = compare(run(0.1), run(0.2), shipped())
    assert "… and 10 more" in render(comparison, "md")
    assert len(json.loads(render(comparison, "json"))["findings"]) == LONGEST + 10
