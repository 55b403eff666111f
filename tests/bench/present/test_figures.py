"""Figures of a run on disk: where they lie, and when they are drawn again."""

import json
from io import BytesIO

import matplotlib.figure
import numpy as np
import pytest
from PIL import Image
from shared.stored_runs import arrays

from latentbench.bench.present import figures
from latentbench.bench.present.figures import draw_all, drawn, gaps, model_results
from latentbench.bench.present.report import write_report
from latentbench.bench.store.store import Store
from latentbench.data.errors import LatentbenchError
from latentbench.models.zoo import model_spec

pytestmark = pytest.mark.usefixtures("as_png")


def paths(figures):
    return {each.figure: each.path for each in figures}


def test_figures_are_in_the_folder_of_their_suite(run, store, as_png, monkeypatch):
    monkeypatch.setattr(figures, "as_png", as_png)
    files = paths(draw_all(run, store))
    assert set(files) == {"reconstructions", "trade_off"}
    assert files["reconstructions"] == store.root / "figures" / "my" / "reconstructions.png"
    with Image.open(files["reconstructions"]) as image:
        assert image.format == "PNG"
        assert image.width > 500


def test_figure_of_an_earlier_run_is_removed(run, save, store, make_record):
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


def test_figures_are_drawn_again_only_for_another_run(run, save, store, make_record, monkeypatch):
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


def test_large_figure_is_made_small(as_png, monkeypatch):
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
