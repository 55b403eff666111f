"""Made-up records of the models that claims are about."""

from dataclasses import replace

import pytest

from latentbench.analysis.catalogue import METRICS
from latentbench.bench.store.records.record import DataReference
from latentbench.bench.store.records.recorded_model import RecordedModel
from latentbench.models.training.recipe import Recipe
from latentbench.models.zoo import model_spec


def spec_of(label):
    """The spec of a label such as `vae-16 β=0.25`."""
    name, _, beta = label.partition(" β=")
    family, width = name.split("-")
    return model_spec(family=family, latent_dim=int(width), **({"beta": float(beta)} if beta else {}))


@pytest.fixture
def records(make_record):
    """`records({"ae-16": [{"mse": (0.1, 0.01)} of seed 0, … of seed 1 …]}, data="mnist", epochs=5)`."""

    def make(models, *, data="mnist", epochs=5):
        made = []
        for label, seeds in models.items():
            for seed, values in enumerate(seeds):
                metrics = tuple(
                    METRICS[name].missing("a reason")
                    if value is None
                    else METRICS[name].measured(value, se=se, n=10_000)
                    for name, (value, se) in values.items()
                )
                record = make_record(seed=seed).model_copy(
                    update={
                        "model": RecordedModel.of(spec_of(label)),
                        "metrics": metrics,
                        "recipe": Recipe(epochs=epochs),
                        "data": DataReference(name=data, fingerprint=data, train=60_000, test=10_000),
                    }
                )
                made.append(record)
        return made

    return make


@pytest.fixture
def with_judges():
    """`with_judges(record, "frechet_prior", (1.0, 2.0))`: the record with that value by each judge."""

    def judged(record, name, readings):
        metrics = tuple(
            replace(metric, by_judge=readings) if metric.name == name else metric for metric in record.metrics
        )
        return record.model_copy(update={"metrics": metrics})

    return judged
