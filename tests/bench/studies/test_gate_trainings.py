"""False alarms on trainings: rare where seeds differ by chance alone, certain where one set is worse."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from latentbench.bench.store.run import Run, read
from latentbench.bench.store.store import Store
from latentbench.bench.studies import gate_trainings
from latentbench.bench.studies.gate_trainings import (
    complete_seeds,
    joined,
    main,
    study,
    table,
    with_images,
    with_seeds,
)
from latentbench.data.errors import LatentbenchError


@pytest.fixture
def trainings(make_record):
    """`trainings(12)`: three models at so many seeds, whose accuracy is that of 60 test images."""

    def make(seeds, draws):
        records = [
            make_record(
                latent_dim=width,
                seed=seed,
                n=60,
                recognisable=draws.binomial(60, 0.9) / 60,
                mse=0.02 + 0.001 * draws.standard_normal(),
            )
            for seed in range(seeds)
            for width in (2, 4, 8)
        ]
        return Run(Path("runs/my/x.jsonl"), tuple(records))

    return make


def test_equal_trainings_raise_few_alarms(trainings):
    run = trainings(30, np.random.default_rng(0))
    rates = list(study(run, 60))
    assert [(rate.gate, rate.seeds, rate.paired) for rate in rates[:3]] == [
        ("headline", 2, True),
        ("headline", 2, False),
        ("headline", 3, True),
    ]
    assert len(rates) == 12
    assert sum(rate.raised for rate in rates) <= 0.08 * 60 * len(rates)
    assert all(rate.tests == 6 for rate in rates)
    shown = table(rates)
    assert shown.count("| mnist, 10,000 | 30 | headline |") == 6


def test_a_worse_half_of_seeds_raises_alarms(trainings, monkeypatch):
    """Draws that put the worse seeds on one side are alarms: the study counts what compare decides."""
    run = trainings(10, np.random.default_rng(1))
    worse = tuple(
        record.model_copy(
            update={"metrics": tuple(dataclasses.replace(m, value=m.value * 2) for m in record.metrics[1:])}
        )
        if record.seed >= 5
        else record.model_copy(update={"metrics": record.metrics[1:]})
        for record in run.records
    )
    run = dataclasses.replace(run, records=worse)
    monkeypatch.setattr(gate_trainings, "SEEDS", (5,))
    assert sum(rate.raised for rate in study(run, 40)) > 0
    a, b = with_seeds(run, range(5), range(5)), with_seeds(run, range(5, 10), range(5))
    assert {record.seed for record in b.records} == {record.seed for record in a.records} == set(range(5))


def test_runs_on_the_same_data_count_as_one(trainings, make_record):
    run = trainings(10, np.random.default_rng(4))
    first, second = (
        dataclasses.replace(run, records=tuple(r for r in run.records if (r.seed < 5) is half))
        for half in (True, False)
    )
    more = dataclasses.replace(first, records=(*first.records, make_record(latent_dim=64, seed=0)))
    (together,) = joined([more, second])
    assert complete_seeds(together) == list(range(10))
    assert list(study(together, 5)) == list(study(run, 5))
    with pytest.raises(LatentbenchError, match="0 seeds have every model"):
        next(study(joined([dataclasses.replace(run, records=())])[0], 5))


def test_seeds_that_lack_a_model_are_left_out(trainings, make_record):
    run = trainings(4, np.random.default_rng(2))
    failed = make_record(latent_dim=8, seed=3, status="failed", reason="why")
    partial = dataclasses.replace(run, records=(*run.records[:-1], failed))
    assert complete_seeds(partial) == [0, 1, 2]
    with pytest.raises(LatentbenchError, match="3 seeds have every model; at least 4"):
        next(study(partial, 1))


@pytest.fixture
def stored(tmp_path, make_record):
    """The path of a run of four seeds with hits, errors, and a metric that keeps nothing for each image."""
    draws = np.random.default_rng(3)
    with Store(tmp_path).writer("my", None) as writer:
        for seed in range(4):
            hits, errors = draws.random(100) < 0.7, draws.uniform(0.01, 0.03, 100).astype(np.float16)
            record = make_record(
                seed=seed,
                n=100,
                recognisable=float(hits.mean()),
                mse=float(errors.mean()),
                coverage_prior=0.5,
            )
            writer.append(record, {"examples/recognisable": np.packbits(hits), "examples/mse": errors})
        return writer.finish()


def test_fewer_test_images_have_the_metrics_that_keep_them(stored):
    run = read(stored)
    few = with_images(run, 60)
    assert {record.data.test for record in few.records} == {60}
    for record in few.records:
        assert {metric.name for metric in record.metrics} == {"recognisable", "mse"}
        assert {metric.n for metric in record.metrics} == {60}
        assert (60 * record.metric("recognisable").value) % 1 == pytest.approx(0, abs=1e-9)
    whole = with_images(run, 100)
    for record, same in zip(run.last_records, whole.records, strict=True):
        assert same.metric("mse").value == pytest.approx(record.metric("mse").value, rel=1e-3)
        assert same.metric("recognisable").value == pytest.approx(record.metric("recognisable").value)


def test_the_page_has_every_run_and_number_of_images(stored, tmp_path):
    page = tmp_path / "ci.md"
    page.write_text("<!-- begin gate trainings -->\n<!-- end gate trainings -->\n", encoding="utf-8")
    main([str(page), str(stored), "--test-images", "60", "--gates", "3"])
    text = page.read_text(encoding="utf-8")
    assert text.count("| mnist, 60 | 4 |") == text.count("| mnist, 10,000 | 4 |") == 4
