"""A suite with protocols: records and tables name them with their hashes, and others are told apart."""

import numpy as np
import pytest
from PIL import Image
from shared.watchers import Silent

from latentbench.analysis.features.extractors import ByProtocol
from latentbench.analysis.protocols import by_protocol
from latentbench.analysis.protocols.measured import ProtocolMeasured, measure_under
from latentbench.analysis.protocols.protocol import PROTOCOLS, network_of
from latentbench.bench.compare.compare import compare
from latentbench.bench.compare.matching import matched
from latentbench.bench.compare.policy import shipped
from latentbench.bench.present.rows import rows
from latentbench.bench.present.tables import as_markdown, footnote
from latentbench.bench.run import suite as suites
from latentbench.bench.run.runner import Options, run_suite
from latentbench.bench.store.records.record import FeatureReference
from latentbench.bench.store.store import Store
from latentbench.data.errors import LatentbenchError
from latentbench.data.loading import open_sources
from latentbench.data.reading.image_source import EncodedSource
from latentbench.data.request import parse as parse_data
from latentbench.models.families.codecs.image_files import Jpeg, QualitySpec

SIDE, COUNT = 32, 6


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("LATENTBENCH_CACHE", str(tmp_path / "cache"))
    draws = np.random.default_rng(0)
    folder = tmp_path / "photos"
    folder.mkdir()
    for index in range(COUNT):
        coarse = Image.fromarray(draws.integers(0, 256, (5, 6, 3), np.uint8))
        coarse.resize((72, 60), Image.Resampling.BICUBIC).save(folder / f"{index}.png")
    (folder / "broken.png").write_bytes(b"no image")
    return tmp_path


def write_suite(home, protocol, analyses="reconstruction", more="", data="crop: center"):
    images = f"{{folder: photos, size: {SIDE}, split: test, {data}}}"
    (home / "my.yaml").write_text(
        f"description: x\ndata: {images}\nanalyses: [{analyses}]\n"
        f"protocol: {protocol}\n{more}models: [{{family: jpeg, quality: 30}}]\n"
    )
    return suites.load(str(home / "my.yaml"))


def run(home, suite):
    options = Options(device="cpu", this_process=True)
    return run_suite(suite, Store(home / "results"), options, Silent())


@pytest.fixture
def photos(home):
    """The same images as a test split alone."""
    (home / "photos").rename(home / "test")
    (home / "photos").mkdir()
    (home / "test").rename(home / "photos" / "test")
    return home


def test_reconstructions_are_measured_as_explain_does(photos):
    record = run(photos, write_suite(photos, "[ifid, seed-voken, latentbench]")).records[0]
    data = parse_data({"folder": "photos", "size": SIDE, "split": "test"}, [], "data")
    sources = open_sources(data, relative_to=photos)
    codec = Jpeg(QualitySpec(family="jpeg", quality=30), (3, SIDE, SIDE))
    for name in ("ifid", "seed-voken", "latentbench"):
        for metric in ("psnr", "ssim"):
            found = record.metric(f"protocol_{metric} ({name})")
            expected = measure_under(PROTOCOLS[name], metric, ProtocolMeasured(codec, sources, SIDE, 3))
            assert found.value == pytest.approx(expected.value, rel=1e-12)
            assert found.n == COUNT
    assert record.metric("protocol_psnr (ifid)").value > record.metric("psnr").value + 5
    assert {each.name: each.weights for each in record.features} == {
        f"protocol:{name}": PROTOCOLS[name].sha256 for name in ("ifid", "seed-voken", "latentbench")
    }


def test_images_that_are_scaled_alike_are_not_decoded_again(photos, monkeypatch):
    suite = write_suite(photos, "latentbench")
    opened = []
    monkeypatch.setattr(EncodedSource, "open", lambda *_: opened.append(1) or Image.new("RGB", (72, 60)))
    record = run(photos, suite).records[0]
    assert (record.metric("protocol_psnr (latentbench)").n, opened) == (COUNT, [])
    other = write_suite(photos, "latentbench", data="resize: lanczos")
    assert run(photos, other).records[0].metric("protocol_psnr (latentbench)").n == COUNT + 1
    assert opened


def test_suite_tokenizers_has_the_table_that_papers_print():
    suite = suites.load("tokenizers")
    (protocol,) = suite.protocols
    assert "protocols" in suite.analyses
    for metric, definition in by_protocol.DEFINITIONS.items():
        assert definition.headline
        needed = network_of(metric, PROTOCOLS[protocol])
        assert needed is None or needed in [network.name for network in suite.features]


def test_networks_of_a_protocol_are_those_of_the_suite(photos):
    record = run(photos, write_suite(photos, "va-vae")).records[0]
    assert record.status == "ok"
    reason = record.metric("protocol_lpips (va-vae)").reason
    assert reason == "va-vae needs lpips:vgg, which the suite does not name in its key features"


def test_tables_name_protocols_with_their_hashes(photos):
    table = rows(run(photos, write_suite(photos, "dc-ae")).records)
    assert "PSNR (dc-ae) ↑" in as_markdown(table)
    assert f"protocol: dc-ae ({PROTOCOLS['dc-ae'].sha256[:8]})" in footnote(table)


def test_other_choices_are_measured_again_and_not_compared(photos, monkeypatch):
    suite = write_suite(photos, "dc-ae")
    first = run(photos, suite)
    assert run(photos, suite).path == first.path
    changed = PROTOCOLS["dc-ae"].model_copy(update={"rounding": "down"})
    requested = by_protocol.requested(["dc-ae"], suite.data[0], suite.data_folder)[0]
    monkeypatch.setattr(
        "latentbench.bench.run.runner.requested",
        lambda *_: (ByProtocol(requested.name, changed.sha256, requested.open_images),),
    )
    second = run(photos, suite)
    assert second.path != first.path
    found = {outcome.metric: outcome for outcome in compare(first, second, shipped()).findings}
    assert found["protocol_psnr (dc-ae)"].why.name == "OTHER_FEATURES"
    assert found["psnr"].why.name == "SAME"


def test_a_network_behind_a_protocol_counts_as_named(photos):
    suite = write_suite(photos, "va-vae")
    first = run(photos, suite)
    ((pair,), _, _) = matched(first, first)
    network = FeatureReference(name="lpips:vgg", weights="0" * 64)
    pair.b[0] = pair.b[0].model_copy(update={"features": (*pair.b[0].features, network)})
    assert pair.features("protocol_lpips (va-vae)") is not None
    assert pair.features("protocol_psnr (va-vae)") is None


@pytest.mark.parametrize(
    ("protocol", "analyses", "message"),
    [
        ("va-vea", "reconstruction", r"my.yaml, protocol: unknown protocol 'va-vea'; did you mean 'va-vae'"),
        ("[dc-ae, nothing]", "reconstruction", r"my.yaml, protocol: unknown protocol 'nothing'"),
        ("[]", "protocols", r"my.yaml: analysis 'protocols' needs the key protocol"),
        ("3", "reconstruction", r"my.yaml: protocol must be a valid list, got 3"),
    ],
)
def test_mistaken_protocols_are_refused(home, protocol, analyses, message):
    with pytest.raises(LatentbenchError, match=message) as caught:
        write_suite(home, protocol, analyses)
    assert "\n" not in str(caught.value)


def test_an_analysis_by_protocols_needs_the_key(home):
    assert write_suite(home, "dc-ae").analyses == ("reconstruction", "protocols")
    with pytest.raises(LatentbenchError, match="--analysis protocols: my has no key protocol"):
        suites.with_analyses(write_suite(home, "[]"), ["protocols"])
