"""Records of one model have one identity, independent of code and machine."""

import json
import subprocess
import sys

import pytest

from latentbench.bench.store.records.line import line_of, record_of
from latentbench.bench.store.records.record import identity_of, numbered
from latentbench.bench.store.records.recorded_model import RecordedModel
from latentbench.models.spec import ForeignSpec
from latentbench.models.zoo import model_spec


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


def test_identity_can_be_read_off_the_json(make_record):
    record = make_record(mse=0.1, family="vae")
    assert identity_of(json.loads(line_of(record))) == record.identity == record_of(line_of(record)).identity


@pytest.mark.parametrize("family", ["ae", "vae", "dae", "clip", "pca"])
def test_a_record_keeps_the_names_of_its_model(make_record, family):
    spec = model_spec(family=family, latent_dim=2)
    read = record_of(line_of(make_record(mse=0.1, family=family)))
    assert (read.model.label, read.model.series) == (spec.label, spec.series)
    assert read.model.is_of(spec)
    assert not read.model.is_of(model_spec(family=family, latent_dim=3))


def test_an_older_record_is_named_by_the_zoo(make_record):
    content = json.loads(line_of(make_record(mse=0.1, family="vae")).decode())
    for later in ("digest", "weights", "trained", "model_label", "model_series"):
        del content[later]
    old = record_of(json.dumps({**content, "schema_version": 1}).encode() + b"\n")
    assert old.label == model_spec(family="vae", latent_dim=2).label


def test_reading_a_record_does_not_import_torch(make_record, tmp_path):
    (tmp_path / "line").write_bytes(line_of(make_record(mse=0.1)))
    code = (
        "import sys; from latentbench.bench.store.records.line import record_of; "
        "assert record_of(open(sys.argv[1], 'rb').read()).label == 'ae-2'; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "line")], check=True)


def test_codecs_are_recorded_without_a_width(make_record):
    for spec in (model_spec(family="jpeg", quality=40), model_spec(family="png")):
        record = make_record(mse=0.1).model_copy(update={"model": RecordedModel.of(spec)})
        again = record_of(line_of(record))
        assert again.model.latent_dim == 0
        assert again.model.is_of(spec)
    assert ForeignSpec(family="codec-of-a-plugin", latent_dim=0).latent_dim == 0
