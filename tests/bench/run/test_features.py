"""A suite with features: metrics name them, records hold their weights, and other weights are told apart."""

import pytest
import safetensors.torch
import timm
import torch

from latentbench.bench.compare.compare import compare
from latentbench.bench.compare.policy import shipped
from latentbench.bench.present.rows import columns, rows
from latentbench.bench.run import suite as suites
from latentbench.bench.run.runner import Options, run_suite
from latentbench.bench.store.store import Store
from latentbench.data.errors import LatentbenchError

NETWORK = "timm:test_resnet"


class Silent:
    """A watcher that keeps its notes."""

    def __init__(self):
        self.notes = []

    def note(self, message):
        self.notes.append(message)

    def __getattr__(self, name):
        return lambda *arguments: None


@pytest.fixture
def home(tmp_path, monkeypatch, judges):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "judges").symlink_to(judges)
    monkeypatch.setenv("LATENTBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path


def write_weights(home, seed):
    torch.manual_seed(seed)
    state = timm.create_model(NETWORK.partition(":")[2], pretrained=False).state_dict()
    safetensors.torch.save_file(state, home / "weights.safetensors")


def write_suite(home, features, analyses="reconstruction", data="digits?limit=20"):
    (home / "my.yaml").write_text(
        f"description: x\ndata: {data}\nanalyses: [{analyses}]\nfeatures: {features}\n"
        "models: [{family: pca, latent_dim: 4}]\n"
    )
    return suites.load(str(home / "my.yaml"))


def run(home, suite, watcher=None):
    options = Options(device="cpu", this_process=True)
    return run_suite(suite, Store(home / "results"), options, watcher or Silent())


def test_other_weights_are_measured_again_and_not_compared(home):
    suite = write_suite(home, f'["{NETWORK}?weights=weights.safetensors"]')
    write_weights(home, 0)
    first = run(home, suite)
    again = run(home, suite)
    assert again.path == first.path
    write_weights(home, 1)
    second = run(home, suite)
    assert second.path != first.path
    name = f"rfid ({NETWORK})"
    assert first.records[0].metric(name).value != second.records[0].metric(name).value
    assert first.records[0].features[0].weights != second.records[0].features[0].weights
    assert [definition.name for definition in columns(rows(first.records))][-1] == name
    found = {outcome.metric: outcome for outcome in compare(first, second, shipped()).findings}
    assert found[name].why.name == "OTHER_FEATURES"
    assert found["mse"].why.name == "SAME"


def test_absent_weights_leave_other_metrics(home, monkeypatch):
    def refused(*_, **__):
        raise OSError

    monkeypatch.setattr("socket.getaddrinfo", refused)
    watcher = Silent()
    # All digits, since their judges are trained already.
    record = run(home, write_suite(home, "[inception]", data="digits"), watcher).records[0]
    assert record.status == "ok"
    assert record.metric("mse").value is not None
    assert "inception?weights=FILE" in record.metric("rfid (inception)").reason
    assert record.features[0].weights is None
    assert any(note.startswith("metrics of inception are null") for note in watcher.notes)


@pytest.mark.parametrize(
    ("features", "analyses", "message"),
    [
        ("[inceptoin]", "reconstruction", r"my.yaml, features: unknown feature extractor 'inceptoin'"),
        ("[]", "features", r"my.yaml: analysis 'features' needs the key features"),
        ("[inception, inception]", "reconstruction", "'inception' is given twice"),
    ],
)
def test_mistaken_features_are_refused(home, features, analyses, message):
    with pytest.raises(LatentbenchError, match=message):
        write_suite(home, features, analyses)


def test_samples_are_compared_where_they_are_measured(home):
    assert write_suite(home, "[inception]").analyses == ("reconstruction", "features")
    both = write_suite(home, "[inception]", "reconstruction, sampling")
    assert both.analyses == ("reconstruction", "sampling", "features", "sample_features")
