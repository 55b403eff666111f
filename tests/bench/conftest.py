"""Hand-made records and runs for the tests of everything that happens after measuring."""

import pytest

from latentbench.analysis.catalogue import METRICS
from latentbench.bench.provenance.code import Code
from latentbench.bench.store.records.record import DataReference, Record, Seconds
from latentbench.bench.store.records.recorded_model import RecordedModel
from latentbench.models.training.recipe import Recipe
from latentbench.models.zoo import model_spec

CODE = Code(version="0.1.0", commit="0" * 40, dirty=False, source="abc")


@pytest.fixture
def make_record():
    """`make_record(mse=0.01, latent_dim=2, seed=0)`: a record with the metrics given by name."""

    def make(
        *,
        family="ae",
        latent_dim=2,
        epochs=5,
        seed=0,
        n=10,
        case=None,
        data="mnist",
        status="ok",
        environment="env",
        weights=None,
        reason=None,
        **values,
    ):
        metrics = [
            METRICS[name].missing("not available") if value is None else METRICS[name].measured(value, n=n)
            for name, value in values.items()
        ]
        return Record(
            suite="my",
            run="abc123",
            case=case or f"case-{family}-{latent_dim}-{epochs}-{seed}" + f"-{data}" * (data != "mnist"),
            model=RecordedModel.of(model_spec(family=family, latent_dim=latent_dim)),
            data=DataReference(name=data, fingerprint=data[0], train=60_000, test=10_000),
            recipe=Recipe(epochs=epochs),
            seed=seed,
            analyses=("reconstruction",),
            weights=weights,
            trained=family != "pca",
            status=status,
            reason=reason,
            metrics=tuple(metrics),
            environment=environment,
            code=CODE,
            started="2026-01-01T00:00:00+00:00",
            seconds=Seconds(train=1.0, evaluate=2.0),
        )

    return make


@pytest.fixture
def contended():
    """`contended(record, "encode_latency_seconds")`: the record with a doubt about that metric."""

    def doubt(record, name):
        metrics = [
            metric.doubted("contended", "waited for a core") if metric.name == name else metric
            for metric in record.metrics
        ]
        return record.model_copy(update={"metrics": tuple(metrics)})

    return doubt
