"""Records: one identity of a model, whatever measured it."""

import pytest

from latentbench.bench.store.record import numbered


@pytest.mark.parametrize(
    "change",
    [{"seed": 3}, {"environment": "other"}, {"status": "failed"}, {"run": "other"}, {"weights": "w"}],
)
def test_identity_ignores_what_is_not_the_model(make_record, change):
    record = make_record(mse=0.1)
    assert record.model_copy(update=change).identity == record.identity


def test_identity_follows_settings_recipe_and_data(make_record):
    record = make_record(mse=0.1)
    other_data = record.model_copy(update={"data": record.data.model_copy(update={"fingerprint": "g"})})
    others = [make_record(latent_dim=3), make_record(epochs=6), make_record(family="vae"), other_data]
    assert len({record.identity, *(other.identity for other in others)}) == 5


def test_a_copy_with_other_metrics_finds_those(make_record):
    record = make_record(mse=0.1)
    assert record.metric("mse").value == 0.1
    copied = record.model_copy(update={"metrics": make_record(mse=0.2, psnr=1.0).metrics})
    assert copied.metric("mse").value == 0.2
    assert copied.metric("psnr").value == 1.0
    assert record.metric("psnr") is None


def test_equal_labels_are_numbered():
    assert numbered(["a", "b", "a", "a"]) == ["a", "b", "a (2)", "a (3)"]
