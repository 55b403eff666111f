"""False alarms on trainings: rare where seeds differ by chance alone, certain where one set is worse."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from latentbench.bench.maintain import gate_trainings
from latentbench.bench.maintain.gate_trainings import complete_seeds, study, table, with_seeds
from latentbench.bench.store.run import Run
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
    shown = table(rates, run)
    assert "3 models, 30 seeds, mnist with 10,000 test images" in shown
    assert shown.count("| headline |") == 6


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


def test_seeds_that_lack_a_model_are_left_out(trainings, make_record):
    run = trainings(4, np.random.default_rng(2))
    failed = make_record(latent_dim=8, seed=3, status="failed", reason="why")
    partial = dataclasses.replace(run, records=(*run.records[:-1], failed))
    assert complete_seeds(partial) == [0, 1, 2]
    with pytest.raises(LatentbenchError, match="3 seeds have every model; at least 4"):
        next(study(partial, 1))
