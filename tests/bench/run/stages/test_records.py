"""A case that fails gets a status, and the other cases continue."""

from dataclasses import replace

import pytest

from latentbench import data as datasets
from latentbench.analysis.catalogue import ANALYSES
from latentbench.analysis.core.data_context import DataContext
from latentbench.bench.run.case import Case
from latentbench.bench.run.journal import TRAINING, Journal, JournalStep
from latentbench.bench.run.resumable import Origin
from latentbench.bench.run.stages import training
from latentbench.bench.run.stages.measuring import measure
from latentbench.bench.run.stages.progress import Progress
from latentbench.bench.run.stages.records import record
from latentbench.bench.run.stages.training import TrainingOptions
from latentbench.bench.store.records.record import DataReference
from latentbench.models.training.recipe import Recipe
from latentbench.models.zoo import model_spec

JOURNAL = Journal(Origin("here", "source"))


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LATENTBENCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def context():
    return DataContext(datasets.load("digits"))


def train(cases, context, *, stacked=False):
    progresses = [Progress(case) for case in cases]
    return training.train(progresses, context, options=TrainingOptions(stacked=stacked), journal=JOURNAL)


def record_of(progress):
    return record(progress, (1, 8, 8), suite="my", run="run", environment="here", threads=1)


def case(seed=0, *, epochs=1, **spec):
    reference = DataReference(name="digits", fingerprint="f", train=1504, test=293)
    return Case(
        model_spec(**spec), reference, Recipe(epochs=epochs, batch_size=128), seed, ("reconstruction",)
    )


def test_a_missing_checkpoint_is_a_failed_case_with_nulls(tmp_path, context):
    gone = JournalStep(name=TRAINING, started="now", checkpoint=tmp_path / "gone")
    progress = Progress(case(family="pca", latent_dim=2), {TRAINING: gone})
    measured = measure(progress, context, exclusive=False, journal=JOURNAL)
    written = record_of(measured)
    assert written.status == "failed"
    assert "loading the trained model" in written.reason
    assert written.metric("mse").value is None
    assert "no such checkpoint" in written.metric("mse").reason


def test_a_record_has_the_metrics_of_every_analysis(context):
    names = tuple(name for name, each in ANALYSES.items() if not (each.opt_in or name == "embedding"))
    one = replace(case(family="vae", latent_dim=2, hidden=16), analyses=names)
    (progress,) = train([one], context)
    for exclusive in (True, False):
        progress = measure(progress, context, exclusive=exclusive, journal=JOURNAL)
    again = Progress(one, JOURNAL.steps(one))
    for each in (progress, again):
        written = record_of(each)
        expected = [metric.name for name in names for metric in ANALYSES[name].metrics]
        assert sorted(metric.name for metric in written.metrics) == sorted(expected)
    assert written.metric("kl_spike").value is not None


def test_a_stack_and_single_cases_are_trained_by_the_same_call(context):
    cases = [case(seed, family="vae", latent_dim=width, hidden=16) for seed, width in ((0, 2), (1, 4))]
    stacked = train(cases, context, stacked=True)
    alone = [progress for one in cases for progress in train([one], context)]
    for together, separate in zip(stacked, alone, strict=True):
        assert together.failure is separate.failure is None
        assert together.steps[TRAINING].checkpoint != separate.steps[TRAINING].checkpoint
        assert together.arrays["history/loss"] == pytest.approx(separate.arrays["history/loss"], rel=1e-4)
        assert together.arrays["history/kl_per_dim"].shape == separate.arrays["history/kl_per_dim"].shape


def test_a_record_says_if_the_loss_was_still_falling(context):
    """The constant of the VAE's loss hides that the rest of it falls."""
    few, variational, many, closed = (
        record_of(progress).still_falling
        for one in (
            case(family="ae", latent_dim=16, hidden=64, epochs=30),
            case(family="vae", latent_dim=8, hidden=64, epochs=12),
            case(family="vae", latent_dim=8, hidden=64, epochs=30),
            case(family="pca", latent_dim=2),
        )
        for progress in train([one], context)
    )
    assert (few, variational, many, closed) == (True, True, False, None)


def test_a_case_that_cannot_be_built_is_skipped_with_its_reason(context):
    (progress,) = train([case(family="ae", latent_dim=2, backbone="book")], context)
    assert progress.failure.status == "skipped"
    assert "'book' is for images of 28 by 28 pixels, got 8 by 8" in progress.reason
