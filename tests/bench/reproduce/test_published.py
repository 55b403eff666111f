"""Published rows: as printed, and inside where chance and rounding explain the difference."""

from dataclasses import replace

import numpy as np
import open_clip
import pytest
from PIL import Image
from shared.open_clip_models import save_model
from typer.testing import CliRunner

from latentbench.analysis.catalogue import ANALYSES, METRICS
from latentbench.analysis.core.data_context import DataContext
from latentbench.analysis.core.subject import Subject
from latentbench.analysis.reconstruction import PSNR
from latentbench.bench.cli.app import app
from latentbench.bench.cli.options import EXIT_NOTHING
from latentbench.bench.reproduce import tokenizers, zero_shot  # noqa: F401 - they register themselves
from latentbench.bench.reproduce.published import (
    ROW_SETS,
    Reproducible,
    Row,
    RowRequest,
    RowSet,
    compare_row,
    judge,
    parse_published,
)
from latentbench.data import load
from latentbench.data.errors import DataError
from latentbench.models import zoo
from latentbench.models.resolver import Resolver
from latentbench.models.training.recipe import Recipe


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("LATENTBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def row(value):
    return Row(name="a model", model={}, values={"psnr": value})


def test_values_are_read_as_printed():
    assert parse_published("0.0802") == {"value": 0.0802, "step": 0.0001, "sd": None}
    assert parse_published("24.5 ± 3.7") == {"value": 24.5, "step": 0.1, "sd": 3.7}
    with pytest.raises(ValueError, match="must be a number as printed"):
        parse_published("24.5 dB")


@pytest.mark.parametrize(
    ("measured", "se", "verdict"),
    [(24.54, 0.0, "inside"), (24.56, 0.0, "outside"), (24.6, 0.05, "inside"), (24.0, 0.05, "outside")],
)
def test_rounding_and_errors_are_allowed(measured, se, verdict):
    found = judge(row("24.5"), "psnr", PSNR.measured(measured, se=se, n=5000), 5000)
    assert found.verdict == verdict
    assert found.allowed == pytest.approx(0.05 + 1.96 * se)


def test_published_spread_is_an_error_of_its_mean():
    found = judge(row("24.5 ± 3.7"), "psnr", PSNR.measured(24.6, se=0.05, n=5000), 5000)
    assert found.allowed == pytest.approx(0.05 + 1.96 * (3.7**2 / 5000 + 0.05**2) ** 0.5)
    assert judge(row("24.5"), "psnr", PSNR.missing("why"), 5000).verdict == "not measured"


def test_published_rows_are_those_of_the_tables():
    coco, imagenet = (ROW_SETS[name]().rows for name in ("coco-2017-256", "imagenet-512"))
    mse = next(row for row in coco.rows if row.name == "sd-vae ft-MSE")
    assert [mse.values[name].value for name in ("rfid", "psnr", "ssim")] == [4.70, 24.5, 0.71]
    assert mse.values["psnr"].sd == 3.7
    assert [published.value for published in imagenet.rows[0].values.values()] == [
        0.21678,
        26.149,
        0.7105,
        0.0802,
    ]


def test_an_accuracy_is_inside_the_binomial_interval():
    """Its width is 1.96 √(p (1 − p) / n) for the n images that were measured, and half of the last digit."""
    published = Row(name="a model", model={}, values={"prompt_top1": "0.6332"})
    for n, width in ((50_000, 0.00422), (500, 0.0422)):
        for sign, verdict in ((0.99, "inside"), (1.03, "outside")):
            measured = METRICS["prompt_top1"].measured(0.6332 + sign * width + 0.00005, n=n)
            found = judge(published, "prompt_top1", measured, 50_000)
            assert (found.verdict, round(found.allowed, 3)) == (verdict, round(width, 3))


def test_clip_rows_are_those_of_the_tables():
    sets = [ROW_SETS[f"{name}-zero-shot"]().rows for name in ("imagenet", "cifar10", "cifar100", "mnist")]
    first = [rows.rows[0].values["prompt_top1"].value for rows in sets]
    assert first == [0.6332, 0.8983, 0.6423, 0.4839]
    assert [rows.rows[2].values["prompt_top1"].value for rows in sets] == [0.6917, 0.9561, 0.8031, 0.8124]
    assert [len(rows.rows) for rows in sets] == [6, 3, 3, 6]
    tags = {
        (row.model["pretrained"]["model"], row.model["pretrained"]["tag"])
        for rows in sets
        for row in rows.rows
    }
    assert tags <= set(open_clip.list_pretrained())


def test_zero_shot_rows_need_prompts_with_the_images(home):
    result = CliRunner().invoke(app, ["reproduce", "mnist-zero-shot", "--data", "digits"])
    assert "needs class names and templates next to the images" in str(result.exception)


@pytest.fixture
def images(tmp_path):
    """Two classes of three images, with names and templates."""
    folder = tmp_path / "images"
    draws = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (folder / name).mkdir(parents=True)
        for index in range(3):
            pixels = draws.integers(0, 256, (40, 50, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{index}.png")
    (folder / "classes.txt").write_text("cat\ndog\n")
    return folder


@pytest.fixture
def table(images, home, monkeypatch):
    """The same images as rows of Hugging Face's library, with and without names of the classes."""
    datasets = pytest.importorskip("datasets")
    files = sorted(images.glob("*/*.png"))
    features = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(names=["cat", "dog"]))
    columns = {"image": list(map(str, files)), "label": [0, 0, 0, 1, 1, 1]}
    rows = datasets.Dataset.from_dict(columns, features=features)
    rows.save_to_disk(home / "table")
    rows.cast_column("label", datasets.Value("int64")).save_to_disk(home / "numbers")


def rows_of(*models, metrics=("prompt_top1",)):
    rows = [
        Row(name=name, model={"family": "clip", "pretrained": source}, values=dict.fromkeys(metrics, "0.5"))
        for name, source in models
    ]
    known = ROW_SETS["mnist-zero-shot"]()
    return replace(known, rows=known.rows.model_copy(update={"rows": rows}))


def test_a_row_without_weights_is_null_and_others_stay(home, images, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    here = {"model": f"local-dir:{save_model(home / 'model')}"}
    rows = rows_of(("here", here), ("gone", {"model": "local-dir:none"}))
    monkeypatch.setitem(ROW_SETS._entries, "two rows", lambda: rows)
    arguments = ["reproduce", "two rows", "--data", f"folder:{images}", "--format", "csv"]
    result = CliRunner().invoke(app, arguments)
    spec = zoo.model_spec(family="clip", pretrained=here)
    data = load(f"folder:{images}")
    model = zoo.train_or_load(zoo.Training(zoo.resolve(spec, data, Resolver(home)), Recipe(), 0), data).model
    (expected, *_) = ANALYSES["prompts"].measure(Subject(model, DataContext(data), seed=0)).metrics
    first, second = result.stdout.splitlines()[1:]
    assert first.startswith(f"here,prompt_top1,0.5,{expected.value:.5g},6,")
    assert second == "gone,prompt_top1,0.5,–,–,–,not measured"
    assert "not measured: pretrained local-dir:none: no open_clip_config.json in" in result.stderr
    assert result.exit_code == (0 if ",inside" in first else 3)


def test_hub_data_are_measured_as_a_folder_is(home, images, table, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    here = {"model": f"local-dir:{save_model(home / 'model')}"}
    rows = rows_of(("here", here), metrics=("prompt_top1", "prompt_mean_recall"))
    in_folder, in_table = (
        [
            (each.metric, each.measured.value, each.measured.n)
            for each in compare_row(rows, rows.rows.rows[0], request)
        ]
        for request in (RowRequest(f"folder:{images}"), RowRequest("hf:table"))
    )
    assert in_table == in_folder
    model = f"{{family: clip, pretrained: {{model: 'local-dir:{home / 'model'}'}}}}"
    explained = CliRunner().invoke(
        app, ["explain", "zero_shot", "--model", model, "--data", "hf:table", "--format", "csv"]
    )
    assert explained.exit_code == 0, explained.output
    assert "file reading" in explained.stdout


def test_data_that_no_row_can_measure_are_an_error(home, images, table):
    rows = rows_of(("gone", {"model": "local-dir:none"}))
    for place, message in (
        ("folder:nowhere", "nowhere"),
        ("hf:numbers", "^hf:numbers: column 'label' holds whole numbers without names"),
        (f"folder:{images}?size=64", r"\?size=64: size has no effect, because every model here scales"),
    ):
        with pytest.raises(DataError, match=message):
            compare_row(rows, rows.rows.rows[0], RowRequest(place))


def test_mistakes_are_one_line(home):
    for arguments, message in [
        (["reproduce", "coco-2017"], "unknown row set 'coco-2017'; did you mean 'coco-2017-256'"),
        (["reproduce", "coco-2017-256"], "add --data with your copy of the 5,000 validation images"),
        (["reproduce", "coco-2017-256", "--row", "SDXXL", "--data", "x"], "unknown row 'SDXXL'"),
        (["explain", "psnr"], "add --protocols A B"),
        (["explain", "zero_shot", "--model", "{family: ae}"], "must be a model of open_clip"),
        (["explain", "zero_shot", "--protocols", "latentbench", "ifid"], "have no effect on zero_shot"),
        (["explain", "fid", "--protocols", "latentbench", "ifid"], "unknown metric of protocols 'fid'"),
        (["explain", "psnr", "--protocols", "latentbench", "ifdi"], "unknown protocol 'ifdi'"),
    ]:
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code != 0
        assert message in str(result.exception)
        assert "\n" not in str(result.exception)


def test_another_number_of_images_has_no_verdict():
    found = judge(row("24.5 ± 3.7"), "psnr", PSNR.measured(24.5, se=0.1, n=833), 5000)
    assert (found.verdict, found.allowed) == ("not compared", None)
    assert found.reason.startswith("of 833 images, but published are values of 5,000; split=all")


@pytest.fixture
def three_images(home, monkeypatch):
    """A table of a codec on three images, and a flat folder of them with a file that is no image."""
    rows = RowSet(
        title="JPEG",
        source="here",
        data="three images",
        images=3,
        size=16,
        protocol="latentbench",
        rows=[Row(name="jpeg 50", model={"family": "jpeg", "quality": 50}, values={"psnr": "45.0 ± 9.0"})],
    )
    table = Reproducible(rows, tokenizers.define, tokenizers.measure)
    monkeypatch.setitem(ROW_SETS._entries, "three", lambda: table)
    (home / "photos").mkdir()
    for index in range(3):
        image = Image.linear_gradient("L").convert("RGB").rotate(90 * index)
        image.save(home / "photos" / f"{index}.png")
    (home / "photos" / "broken.png").write_bytes(b"no image")
    return home


def test_all_images_of_a_flat_folder_are_measured(three_images):
    result = CliRunner().invoke(
        app, ["reproduce", "three", "--data", "folder:photos?size=16&split=all", "--format", "csv"]
    )
    assert result.exit_code == 0, result.output
    assert ",3," in result.stdout
    assert ",inside" in result.stdout
    assert "1 of 4 files cannot be read as images, left out: broken.png" in result.stderr
    assert "decoding images: 4 images" in result.stderr
    assert "measuring: 4 images" in result.stderr


def test_fewer_images_than_published_have_no_verdict(three_images):
    result = CliRunner().invoke(
        app, ["reproduce", "three", "--data", "folder:photos?size=16&split=all&limit=2", "--format", "csv"]
    )
    assert result.exit_code == EXIT_NOTHING
    assert ",not compared" in result.stdout
    assert "published are values of 3; split=all in --data" in result.stderr


def test_sets_are_listed(home):
    result = CliRunner().invoke(app, ["reproduce", "--format", "csv"])
    assert result.exit_code == 0
    assert "coco-2017-256" in result.stdout


def test_explain_shows_the_slip_of_ifid(home):
    arguments = [
        "explain",
        "psnr",
        "--protocols",
        "latentbench",
        "ifid",
        "--format",
        "csv",
        "--data",
        "digits",
    ]
    result = CliRunner().invoke(app, [*arguments, "--model", "{family: pca, latent_dim: 4}"])
    assert result.exit_code == 0, result.output
    lines = {line.split(",")[0]: line for line in result.stdout.splitlines()}
    assert lines["pixels_read_as"].endswith("+6.021")
    assert lines["resize"].endswith("+0")
