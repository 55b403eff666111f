"""Two ensembles of judges agree if their difference is within what both state."""

from dataclasses import replace
from pathlib import Path

import pytest

from latentbench.analysis.catalogue import METRICS
from latentbench.analysis.core.ensemble import over_judges
from latentbench.bench.studies.judge_ensembles import Line, main, splits, summary_of_splits, table

FRECHET = METRICS["frechet_prior"]


def judged(*values, se=0.1):
    return over_judges([FRECHET.measured(value, se=se, n=100) for value in values])


def test_ensembles_agree_within_both_intervals():
    """Two judges that agree, and an error of 0.1 each: half widths of 0.196, so 0.277 for a difference."""
    near, far = (Line("m", "prior", judged(10.0, 10.0), judged(v, v)) for v in (10.27, 10.28))
    assert (near.agree, far.agree) == (True, False)
    assert near.difference == pytest.approx(0.27)
    assert "in **50%** of the rows (1 of 2)" in table([near, far], 2)


def test_every_split_of_the_judges_is_compared(make_record):
    metric = judged(1.0, 2.0, 3.0, 4.0, 5.0)
    record = make_record(mse=0.02)
    record = record.model_copy(update={"metrics": (*record.metrics, metric)})
    found = list(splits([record]))
    assert len(found) == 10
    assert {line.first.value for line in found} == {1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5}
    assert {(len(line.first.by_judge), len(line.second.by_judge)) for line in found} == {(2, 3)}
    assert all(line.first.se > 0.1 for line in found)
    assert "ensembles of 2 and 3" in summary_of_splits(found)


def test_judges_of_which_two_are_apart_do_not_agree(make_record):
    record = make_record().model_copy(update={"metrics": (judged(1.0, 1.0, 9.0, 9.0, 9.0),)})
    found = list(splits([record]))
    assert sum(not line.agree for line in found) == 1
    assert "**90.0%** of them" in summary_of_splits(found)


def test_three_judges_are_not_divided(make_record):
    record = make_record().model_copy(update={"metrics": (judged(1.0, 2.0, 3.0),)})
    assert not list(splits([record]))
    alone = replace(judged(1.0, 2.0, 3.0, 4.0), name="mse")
    assert not list(splits([record.model_copy(update={"metrics": (alone,)})]))


def test_the_page_gets_the_reference_runs_judges(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("<!-- begin judge ensembles -->\n<!-- end judge ensembles -->\n", encoding="utf-8")
    (run,) = (Path(__file__).parents[3] / "results/reference/runs/mnist").glob("*.jsonl")
    main([str(page), "--run", str(run)])
    assert "ensembles of 2 and 3" in page.read_text(encoding="utf-8")
