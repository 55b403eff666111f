"""Tables: values, intervals, nulls and order, in every format."""

import io
import json

import pandas as pd
import pytest
from rich.console import Console

from latentbench.analysis.statistics.intervals import mean_interval
from latentbench.bench.present import tables
from latentbench.models.training.recipe import Recipe


def test_over_seeds_a_cell_is_the_mean_and_students_interval(make_record):
    values = [0.010, 0.012, 0.017]
    (row,) = tables.rows([make_record(mse=value, seed=seed) for seed, value in enumerate(values)])
    low, high = mean_interval(values)
    assert row.cells["mse"].value == pytest.approx(0.013)
    assert row.cells["mse"].half_width == pytest.approx((high - low) / 2)
    assert row.cells["mse"].n_seeds == 3
    # t(0.975, 2) = 4.303
    assert row.cells["mse"].half_width == pytest.approx(4.303 * 0.0036056 / 3**0.5, rel=1e-3)


def test_a_seed_without_a_value_does_not_count(make_record):
    (row,) = tables.rows([make_record(mse=0.01), make_record(mse=None, seed=1)])
    assert (row.cells["mse"].value, row.cells["mse"].n_seeds) == (0.01, 1)


def test_models_are_rows_by_width_in_whatever_order_they_were_finished(make_record):
    table = tables.rows([make_record(mse=0.1, latent_dim=d, seed=s) for s in (0, 1) for d in (16, 2, 8)])
    assert [row.label for row in table] == ["ae-2", "ae-8", "ae-16"]


def test_models_that_share_a_label_are_told_apart(make_record):
    wide = make_record(mse=0.1)
    longer = wide.model_copy(update={"recipe": Recipe(epochs=9)})
    assert [row.label for row in tables.rows([wide, longer])] == ["ae-2", "ae-2 (2)"]


def test_columns_keep_the_order_of_the_definitions_whatever_the_records_say(make_record):
    a = tables.rows([make_record(psnr=20.0, mse=0.1)])
    b = tables.rows([make_record(mse=0.1, psnr=20.0)])
    assert [column.name for column in tables.columns(a)] == [column.name for column in tables.columns(b)]


def test_the_csv_has_every_value_in_full_and_nothing_for_a_null(make_record):
    table = tables.rows([make_record(mse=0.012345678901, ssim=None)])
    frame = pd.read_csv(io.StringIO(tables.as_csv(table)))
    assert frame["mse"][0] == 0.012345678901
    assert pd.isna(frame["ssim"][0])
    assert frame["model"][0] == "ae-2"


def test_the_json_gives_the_reason_of_a_null(make_record):
    (model,) = json.loads(tables.as_json(tables.rows([make_record(mse=0.1, ssim=None)])))
    assert model["metrics"]["ssim"]["value"] is None
    assert model["metrics"]["ssim"]["reason"] == "not to be had"


def test_the_best_value_stands_out_on_the_terminal_and_a_null_is_a_dash(make_record):
    table = tables.rows(
        [make_record(mse=0.1), make_record(mse=0.2, latent_dim=8), make_record(mse=None, latent_dim=9)]
    )
    console = Console(file=io.StringIO(), force_terminal=True, width=100, color_system="standard")
    console.print(tables.as_rich(table, title="t", width=100))
    output = console.file.getvalue()
    bold_green = "\x1b[1;32m"
    assert f"{bold_green}0.1" in output
    assert f"{bold_green}0.2" not in output
    assert "–" in output


def test_problems_are_listed(make_record):
    (row,) = tables.rows(
        [make_record(mse=None, status="diverged", reason="the loss was not finite at step 3")]
    )
    assert row.problems == ["ae-2, seed 0: diverged (the loss was not finite at step 3)"]


def test_the_markdown_has_one_line_a_model_and_a_legend(make_record):
    markdown = tables.as_markdown(tables.rows([make_record(mse=0.1), make_record(mse=0.2, latent_dim=8)]))
    lines = markdown.splitlines()
    assert lines[0].startswith("| model | MSE")
    assert lines[2].startswith("| ae-2 | 0.1")
    assert any("`mse`" in line for line in lines if line.startswith("- "))
