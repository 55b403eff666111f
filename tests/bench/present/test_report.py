"""Figures and the report of a run on disk, as the command line makes them."""

import json
from html.parser import HTMLParser
from io import BytesIO

import matplotlib.figure
import numpy as np
import pytest
from PIL import Image

from latentbench.bench.present import figures
from latentbench.bench.present.figures import draw_all, drawn, gaps, model_results
from latentbench.bench.present.report import write_report
from latentbench.bench.store.run import read
from latentbench.bench.store.store import Store
from latentbench.data.errors import LatentbenchError
from latentbench.models.zoo import model_spec

HOSTILE = '<b>"&conv'
ENVIRONMENT = {
    "cpu": "Some CPU",
    "cpu_cores": 2,
    "memory_bytes": 24 * 2**30,
    "gpu": None,
    "os": "Linux 6",
    "python": "3.11.7",
    "packages": {"torch": "2.11"},
}


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path)
    store.remember_environment("env", ENVIRONMENT)
    return store


@pytest.fixture
def save(store):
    """Write records, each with its arrays or None, as a finished run of suite `my`."""

    def write(*cases, suite="my"):
        with store.writer(suite, None) as writer:
            for record, arrays in cases:
                writer.append(record, arrays)
            return read(writer.finish())

    return write


def images(value):
    return np.full((10, 1, 8, 8), value, np.uint8)


def arrays(value=100):
    return {"reconstruction/originals": images(255), "reconstruction/reconstructions": images(value)}


@pytest.fixture
def run(save, make_record):
    hostile = make_record(latent_dim=64, mse=None, status="diverged", reason="loss <script>alert(1)</script>")
    hostile = hostile.model_copy(update={"model_label": f"ae-64 {HOSTILE}"})
    return save(
        (make_record(latent_dim=2, mse=0.04321, frechet_prior=512.25), arrays()),
        (make_record(latent_dim=8, mse=0.02, frechet_prior=None), arrays()),
        (hostile, None),
    )


@pytest.fixture(autouse=True)
def as_png(monkeypatch):
    """Most tests do not look at the pictures; those that do put this back."""
    real = figures.as_png
    monkeypatch.setattr(figures, "as_png", lambda picture: b"a picture")
    return real


class Page(HTMLParser):
    """The page as a browser parses it: text, tags, and everything it refers to."""

    def __init__(self, text):
        super().__init__()
        self.text, self.tags, self.references, self.titles, self.classes = [], [], [], [], {}
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        for name, value in attributes:
            if name in ("src", "href", "srcset", "action", "data", "poster"):
                self.references.append(value)
            if name == "title":
                self.titles.append(value)

    def handle_data(self, data):
        self.text.append(data)

    @property
    def plain(self):
        return " ".join(" ".join(self.text).split())


@pytest.fixture
def page(run, store):
    return Page(write_report(run, store).read_text(encoding="utf-8"))


def test_the_report_refers_to_nothing_outside_itself(run, store, page):
    text = write_report(run, store).read_text(encoding="utf-8")
    assert page.references
    assert all(reference.startswith(("#", "data:image/png;base64,")) for reference in page.references)
    assert "@import" not in text
    assert "url(" not in text
    assert "link" not in page.tags


def test_the_report_lies_under_reports_by_the_suites_name(run, store):
    assert write_report(run, store) == store.root / "reports" / "my.html"


def test_every_model_and_its_numbers_are_shown_as_in_the_table(page):
    assert {"ae-2", "ae-8", f"ae-64 {HOSTILE}"} <= set(page.text)
    assert "0.0432" in page.plain
    assert "512.2" in page.plain


def test_a_null_is_a_dash_with_its_reason(page):
    assert "not available" in page.titles
    assert "not available" in page.text


def test_what_comes_from_a_run_is_escaped(run, store, page):
    text = write_report(run, store).read_text(encoding="utf-8")
    assert "<script>alert(1)" not in text
    assert HOSTILE not in text
    assert page.tags.count("script") == 1
    assert "loss <script>alert(1)</script>" in page.plain


def test_problems_come_before_the_results(page):
    problem = page.plain.index(f"ae-64 {HOSTILE}, seed 0: diverged")
    assert "1 problem" in page.plain
    assert problem < page.plain.index("What the metrics mean")
    assert problem < page.plain.index("Data")


def test_where_the_numbers_come_from_is_stated(page):
    for fact in (
        "Some CPU, 2 cores",
        "24 GiB",
        "torch 2.11",
        "commit 00000000",
        "60,000 train",
        "6 s measuring",
    ):
        assert fact in page.plain
    assert "latentbench run my.yaml --seeds 1" in page.plain


def test_a_report_without_its_environments_file_names_the_hash(run, store):
    (store.root / "environments" / "env.json").unlink()
    assert "env" in Page(write_report(run, store).read_text(encoding="utf-8")).text


def test_the_best_of_a_column_is_marked_if_it_has_a_direction(run, store):
    text = write_report(run, store).read_text(encoding="utf-8")
    headline = text[text.index("<tbody>") : text.index("</tbody>")]
    assert headline.count('class="best"') == 1
    assert 'class="best" data-value="0.02"' in headline


def test_over_seeds_the_interval_is_shown(save, store, make_record):
    cases = [(make_record(seed=seed, mse=value), arrays()) for seed, value in enumerate((0.01, 0.02, 0.03))]
    plain = Page(write_report(save(*cases), store).read_text(encoding="utf-8")).plain
    assert "0.020 ± 0.025" in plain
    assert "--seeds 3" in plain


def test_a_report_without_pictures_is_still_a_report(save, store, make_record):
    run = save((make_record(mse=None, status="failed", reason="no memory"), None))
    assert "no memory" in Page(write_report(run, store).read_text(encoding="utf-8")).plain


def test_an_empty_run_has_no_report(save, store):
    with pytest.raises(LatentbenchError, match="no records"):
        write_report(save(), store)


# Several data sets


def test_a_report_names_the_data_set_of_every_row(save, store, make_record):
    """The best value is that of a data set, and no figure mixes two."""
    records = [
        make_record(latent_dim=width, mse=mse, data=data)
        for data, values in (("mnist", (0.1, 0.2)), ("digits", (0.3, 0.4)))
        for width, mse in zip((2, 8), values, strict=True)
    ]
    page = write_report(save(*((record, arrays()) for record in records)), store).read_text(encoding="utf-8")
    assert page.count('<td class="data"><bdi>digits</bdi></td>') == 2
    assert "digits, 60,000 train and 10,000 test images; mnist, 60,000" in Page(page).plain
    assert page.count('<td class="best" data-value') == 2
    assert 'id="reconstructions-0"' in page
    folders = (store.root / "figures" / "my").glob("*/reconstructions.png")
    assert {path.parent.name for path in folders} == {"digits", "mnist"}


# Pictures


def paths(figures):
    return {each.figure: each.path for each in figures}


def test_pictures_lie_under_the_suites_figures_and_can_be_read(run, store, as_png, monkeypatch):
    monkeypatch.setattr(figures, "as_png", as_png)
    files = paths(draw_all(run, store))
    assert set(files) == {"reconstructions", "trade_off"}
    assert files["reconstructions"] == store.root / "figures" / "my" / "reconstructions.png"
    with Image.open(files["reconstructions"]) as image:
        assert image.format == "PNG"
        assert image.width > 500


def test_a_picture_of_an_earlier_run_is_taken_away(run, save, store, make_record):
    old = paths(draw_all(run, store))["reconstructions"]
    later = save((make_record(mse=0.1, kl=1.0).model_copy(update={"model": vae(2)}), None))
    assert set(paths(draw_all(later, store))) == {"rate_distortion"}
    assert not old.exists()


def vae(latent_dim, **settings):
    return model_spec(
        family="vae", latent_dim=latent_dim, beta=1.0, likelihood="gaussian", sigma=1.0, **settings
    )


def test_nothing_to_draw_is_one_line(save, store, make_record):
    with pytest.raises(LatentbenchError, match=r"nothing to draw") as error:
        draw_all(save((make_record(mse=0.1), None)), store)
    assert "\n" not in str(error.value)


def test_pictures_are_drawn_again_only_for_another_run(run, save, store, make_record, monkeypatch):
    draw_all(run, store)
    manifest = json.loads((store.root / "figures" / "my" / "figures.json").read_text())
    assert manifest["run"] == run.stem
    another = save((make_record(mse=0.1), arrays(0)))
    with monkeypatch.context() as patch:
        patch.setattr(figures, "as_png", lambda picture: pytest.fail("drawn again"))
        assert set(paths(drawn(run, store))) == {"reconstructions", "trade_off"}
    monkeypatch.setattr(figures, "as_png", lambda picture: b"another picture")
    assert paths(drawn(another, store))["reconstructions"].read_bytes() == b"another picture"


def test_figures_are_drawn_again_by_changed_drawing_code(run, store, monkeypatch):
    draw_all(run, store)
    monkeypatch.setattr(figures, "drawing_code", lambda: "changed")
    monkeypatch.setattr(figures, "as_png", lambda picture: b"another picture")
    assert paths(drawn(run, store))["reconstructions"].read_bytes() == b"another picture"


def test_arrays_that_are_gone_are_named_with_a_remedy(save, make_record):
    run = save((make_record(latent_dim=2, mse=0.1), arrays()), (make_record(latent_dim=8, mse=0.1), arrays()))
    assert gaps(run) == []
    file = next(run.path.with_suffix("").glob("*-8-*.safetensors"))
    file.unlink()
    (line,) = gaps(run)
    assert line.startswith(f"the figures lack 1 of 2 cases, such as ae-8, seed 0: its arrays, {file}, are")
    assert "latentbench run --fresh" in line


def test_figures_of_many_models_show_some_and_say_so(save, make_record, monkeypatch):
    monkeypatch.setattr(figures, "MOST_MODELS", 3)
    records = [make_record(latent_dim=width, seed=seed, mse=0.1) for width in range(1, 10) for seed in (0, 1)]
    run = save(*((record, None) for record in records))
    assert [model.label for model in model_results(run, run.records)] == [
        "ae-1",
        "ae-1",
        "ae-5",
        "ae-5",
        "ae-9",
        "ae-9",
    ]
    (line,) = gaps(run)
    assert line.startswith("the figures show 3 of the 9 rows")
    assert "the figures show 3 of the 9 rows" in write_report(run, Store(run.path.parents[2])).read_text()


def test_a_damaged_manifest_only_means_drawing_again(run, store):
    draw_all(run, store)
    for damage in ("{", "[]", '{"figures": 3}', '{"run": "x"}'):
        (store.root / "figures" / "my" / "figures.json").write_text(damage)
        assert set(paths(drawn(run, store))) == {"reconstructions", "trade_off"}


def test_models_with_one_label_but_two_trainings_stay_separate(save, make_record):
    first = make_record(mse=0.1)
    longer = first.model_copy(
        update={"case": "other", "recipe": first.recipe.model_copy(update={"epochs": 50})}
    )
    second_seed = make_record(seed=1, mse=0.1)
    run = save((first, None), (longer, None), (second_seed, None))
    labels = [model.label for model in model_results(run, run.records)]
    assert labels == ["ae-2", "ae-2", "ae-2 (2)"]


def test_a_large_picture_is_made_small(as_png, monkeypatch):
    picture = matplotlib.figure.Figure(figsize=(6, 6))
    noise = np.random.default_rng(0).normal(size=(600, 600))
    picture.subplots().imshow(noise, cmap="gray")
    large = len(as_png(picture))
    monkeypatch.setattr(figures, "LARGEST_BYTES", 0.9 * large)
    assert len(as_png(picture)) <= 0.9 * large


def test_photographs_keep_their_colours(as_png):
    picture = matplotlib.figure.Figure(figsize=(4, 4))
    side = np.linspace(0, 1, 200)
    smooth = np.stack([*np.meshgrid(side, side), np.full((200, 200), 0.5)], axis=2)
    picture.subplots().imshow(smooth)
    with Image.open(BytesIO(as_png(picture))) as image:
        assert len(image.convert("RGB").getcolors(2**24)) > 10_000
