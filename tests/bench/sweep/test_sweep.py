"""A sweep from its file to its table, with the real runner and real models."""

import csv
import io
import json

import pytest
import torch

from latentbench.analysis.performance import roofline
from latentbench.analysis.performance.timing import Effort
from latentbench.analysis.workloads import reference_models
from latentbench.analysis.workloads.reference_models import REFERENCE_MODELS
from latentbench.analysis.workloads.sweep_metrics import LATENCY
from latentbench.bench.store.run import read
from latentbench.bench.store.store import Store
from latentbench.bench.sweep import spec as sweeps
from latentbench.bench.sweep import view
from latentbench.bench.sweep.runner import run_sweep
from latentbench.data.errors import LatentbenchError

CPU = torch.device("cpu")
TINY = """
description: two small models
image: [1, 8, 8]
models:
  - {family: pca, latent_dim: [2, 4]}
  - {family: vae, latent_dim: 2, hidden: 8}
presets:
  small:
    budget_seconds: 0.02
    longest_call_seconds: 5
    grids:
      - {models: pca-*, operations: [encode, train_step], batch: [4, 1], precision: [fp32, tf32]}
      - {models: vae-*, operations: decode, batch: 2}
"""


@pytest.fixture(autouse=True, scope="module")
def quick_peaks():
    """The device's peaks from one call each: their values do not matter here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(roofline, "EFFORT", Effort(warm_up=1, repetitions=1, seconds=0))
        yield


class Heard:
    """Remembers what it is told."""

    def __init__(self, stop_after=None):
        self.notes, self.rows, self.started, self.stop_after = [], [], None, stop_after

    def run_started(self, path, what, total, done):
        self.started = total, done

    def stage_started(self, name, total, what):
        pass

    def stage_advanced(self, label):
        pass

    def result_written(self, record, details):
        self.rows.append(record)
        if self.stop_after == len(self.rows):
            raise KeyboardInterrupt

    def note(self, message):
        self.notes.append(message)


@pytest.fixture
def tiny():
    return sweeps.parse(TINY, name="tiny", where="tiny.yaml")


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "results")


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """The tiny sweep, once for all that is done with its rows."""
    small = sweeps.parse(TINY, name="tiny", where="tiny.yaml")
    return run_sweep(small, Store(tmp_path_factory.mktemp("results")), Heard(), device="cpu").records


def test_a_sweep_is_timed_kept_and_not_timed_again(tiny, store):
    heard = Heard()
    run = run_sweep(tiny, store, heard, device="cpu")
    labels = [(record.model.label, record.point.label, record.status) for record in run.records]
    assert labels == [
        (model, point, status)
        for model in ("pca-2", "pca-4")
        for point, status in (
            ("encode ×1 fp32", "ok"),
            ("encode ×4 fp32", "ok"),
            ("train step ×1 fp32", "skipped"),  # once, not for every batch
            ("encode ×1 tf32", "skipped"),
        )
    ] + [("vae-2 hidden=8 β=1", "decode ×2 fp32", "ok")]
    assert run.is_sweep
    assert "GFLOP/s fp32" in heard.notes[0]  # the peaks, before any row
    assert all(record.conditions for record in run.records if record.status == "ok")
    assert read(run.path).records == run.records

    again = Heard()
    assert run_sweep(tiny, store, again, device="cpu").path == run.path
    assert not again.rows
    assert len({record.case for record in run.records}) == len(run.records)


def test_interrupted_sweep_is_resumed(tiny, store):
    with pytest.raises(KeyboardInterrupt):
        run_sweep(tiny, store, Heard(stop_after=3), device="cpu")
    heard = Heard()
    run = run_sweep(tiny, store, heard, device="cpu")
    assert heard.started == (9, 3)
    assert (len(heard.rows), len(run.records)) == (6, 9)


def test_missing_package_is_a_row_that_says_so(store, monkeypatch):
    """The package cannot be found, as on a machine without the extra."""
    found = reference_models.find_spec
    monkeypatch.setattr(
        reference_models, "find_spec", lambda name: None if name == "diffusers" else found(name)
    )
    text = TINY.replace("{family: vae, latent_dim: 2, hidden: 8}", "{reference: AutoencoderTiny}")
    other = sweeps.parse(text.replace("vae-*", "Auto*"), name="other", where="other.yaml")
    run = run_sweep(other, store, Heard(), device="cpu")
    last = run.records[-1]
    assert (last.status, "pip install 'latentbench[diffusers]'" in last.reason) == ("skipped", True)


def test_user_model_is_timed_next_to_the_zoo(store, tmp_path, monkeypatch):
    monkeypatch.setenv("LATENTBENCH_CACHE", str(tmp_path / "cache"))
    (tmp_path / "thumbnail.py").write_text(
        "import torch\n"
        "class Thumbnail(torch.nn.Module):\n"
        "    def encode(self, x):\n"
        "        return torch.nn.functional.avg_pool2d(x, 4).flatten(1)\n"
        "    def decode(self, z):\n"
        "        return torch.nn.functional.interpolate(z.view(-1, 1, 2, 2), scale_factor=4)\n"
    )
    (tmp_path / "own.yaml").write_text(
        TINY.replace("{family: vae, latent_dim: 2, hidden: 8}", '{import: "thumbnail:Thumbnail"}').replace(
            "vae-*", "Thumbnail"
        )
    )
    run = run_sweep(sweeps.load(str(tmp_path / "own.yaml")), store, Heard(), device="cpu")
    last = run.records[-1]
    assert (last.model.label, last.status) == ("Thumbnail-4", "ok"), last.reason
    assert last.metric("input_ratio").value == 64 / 4


def test_a_device_and_a_preset_that_are_not_there(tiny, store):
    with pytest.raises(LatentbenchError, match="unknown preset 'smal'; did you mean 'small'"):
        run_sweep(tiny, store, Heard(), preset="smal", device="cpu")
    with pytest.raises(LatentbenchError, match="this machine has"):
        run_sweep(tiny, store, Heard(), device="cuda:99")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("thruput", "unknown sweep 'thruput'; did you mean 'throughput'"),
        ("mnist", "mnist is a suite, not a speed sweep: latentbench run mnist"),
        ("missing.yaml", "missing.yaml"),
    ],
)
def test_a_sweep_that_is_not_there_is_one_line(name, message):
    with pytest.raises(LatentbenchError, match=message):
        sweeps.load(name)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("pca-*", "pac-*", r"tiny.yaml, presets.small.grids\[0\]: unknown model 'pac-\*'"),
        ("tf32", "tf23", "must be 'fp32', 'tf32', 'bf16' or 'fp16'"),
        ("batch: 2", "batch: 0", "greater than or equal to 1"),
        ("batch: 2", "btach: 2", r"presets.small.grids\[1\]: unknown key 'btach'; did you mean 'batch'"),
        ("family: vae", "family: vea", r"tiny.yaml, models\[1\]: unknown family 'vea'"),
        ("presets:\n  small:", "presets: {}\nrest:", "tiny.yaml"),
    ],
)
def test_a_mistake_names_the_place(old, new, message):
    with pytest.raises(LatentbenchError, match=message):
        sweeps.parse(TINY.replace(old, new), name="tiny", where="tiny.yaml")


def test_a_file_with_presets_is_a_sweep(tmp_path):
    (tmp_path / "mine.yaml").write_text(TINY)
    (tmp_path / "suite.yaml").write_text("description: x\nmodels: [{family: pca, latent_dim: 2}]\n")
    assert sweeps.is_sweep(str(tmp_path / "mine.yaml"))
    assert not sweeps.is_sweep(str(tmp_path / "suite.yaml"))
    assert not sweeps.is_sweep(str(tmp_path / "nowhere.yaml"))
    assert sweeps.is_sweep("throughput")
    assert not sweeps.is_sweep("mnist")
    assert sweeps.load(str(tmp_path / "mine.yaml")).name == "mine"


@pytest.mark.parametrize("preset", ["small", "full"])
def test_the_shipped_sweep_has_the_models_that_are_deployed(preset):
    shipped = sweeps.load("throughput")
    chosen = shipped.preset(preset, CPU)
    labels = {spec.label for spec in shipped.specs if any(grid.takes(spec) for grid in chosen.grids)}
    assert {"ViT-B-32 image", "ViT-B-32 text", "ViT-B-16 image", "ViT-L-14 image", "ViT-L-14 text"} <= labels
    assert {"RN50 image", "convnext_base image", "AutoencoderKL", "AutoencoderTiny", "pca-16"} <= labels
    assert shipped.preset(None, CPU) is shipped.presets["small"]
    assert shipped.preset(None, torch.device("cuda")) is shipped.presets["full"]


def test_every_format_of_the_table_says_the_same(records):
    rows = list(csv.DictReader(io.StringIO(view.as_csv(records))))
    assert [row["model"] for row in rows] == [record.model.label for record in records]
    first = records[0].metric("latency_seconds")
    assert float(rows[0]["latency_seconds"]) == pytest.approx(first.value)
    assert int(rows[0]["repetitions"]) == first.n
    content = json.loads(view.as_json(records))
    assert content[2]["reason"] == "no train step"
    assert content[2]["reasons"]["latency_seconds"] == "no train step"
    assert "| pca-2 | encode | 1 | fp32 |" in view.as_markdown(records)


def test_time_saved_by_latents_is_stated_in_numbers(records):
    """Rows with known latencies: 2 ms a block on latents, 102 ms on pixels, 400 ms to decode."""
    template = records[-1]

    def timed(name, operation, seconds):
        spec = REFERENCE_MODELS[name].spec
        point = template.point.model_copy(update={"operation": operation, "batch": 1})
        metric = LATENCY.measured(seconds, n=9)
        return template.model_copy(update={"model": spec, "point": point, "metrics": (metric,)})

    rows = [
        timed("AutoencoderKL", "decode", 0.4),
        timed("denoiser-block latents", "denoise", 0.002),
        timed("denoiser-block pixels", "denoise", 0.102),
    ]
    (line,) = view.statements(rows)
    assert "the latents are 48 times smaller than the image" in line
    assert "takes 2 ms on them and 102 ms on the pixels, 51 times as long" in line
    assert "Decoding takes 400 ms, as much as 3.9 blocks" in line
    assert "after 4.0 blocks working in latents is the cheaper way" in line
    assert view.statements([template]) == []
