"""Tables: values, intervals, nulls and order, in every format."""

import io
import json
import re
from dataclasses import replace

import pandas as pd
import pytest
from rich.console import Console

from latentbench.analysis.catalogue import METRICS
from latentbench.analysis.figures.drawing.registry import ModelResult
from latentbench.analysis.figures.drawing.seeds import estimate
from latentbench.analysis.statistics.intervals import mean_interval
from latentbench.bench.present import tables, terminal_table
from latentbench.bench.present.rows import best, columns, rows
from latentbench.bench.store.records.record import JudgeReference
from latentbench.bench.store.records.recorded_model import RecordedModel
from latentbench.models.training.recipe import Recipe
from latentbench.models.zoo import model_spec


def test_a_cell_is_the_mean_with_students_interval(make_record):
    values = [0.010, 0.012, 0.017]
    (row,) = rows([make_record(mse=value, seed=seed) for seed, value in enumerate(values)])
    low, high = mean_interval(values)
    assert row.cells["mse"].value == pytest.approx(0.013)
    assert row.cells["mse"].half_width == pytest.approx((high - low) / 2)
    assert row.cells["mse"].measured == 3
    # t(0.975, 2) = 4.303
    assert row.cells["mse"].half_width == pytest.approx(4.303 * 0.0036056 / 3**0.5, rel=1e-3)


def test_a_seed_without_a_value_does_not_count(make_record):
    (row,) = rows([make_record(mse=0.01), make_record(mse=None, seed=1)])
    assert (row.cells["mse"].value, row.cells["mse"].measured) == (0.01, 1)


def test_contended_seeds_count_only_where_there_are_no_others(make_record, contended):
    name = "encode_images_per_second"
    quiet = [make_record(**{name: 1000.0}), make_record(**{name: 1100.0}, seed=1)]
    slow = contended(make_record(**{name: 10.0}, seed=2), name)
    (row,) = rows([*quiet, slow])
    cell = row.cells[name]
    assert (cell.value, cell.measured, cell.share, cell.doubt) == (1050.0, 2, "2/3 seeds", None)
    (row,) = rows([slow])
    assert (row.cells[name].value, row.cells[name].decisive) == (10.0, None)


def test_contended_values_are_marked_and_never_the_best(make_record, contended):
    name = "encode_images_per_second"
    fast = contended(make_record(latent_dim=2, **{name: 9000.0}), name)
    table = rows([fast, *(make_record(latent_dim=d, **{name: 10.0 * d}) for d in (8, 16))])
    assert best(table, METRICS[name]) == 160.0
    markdown = tables.as_markdown(table)
    assert "9,000 †" in markdown
    assert "†: other work disturbed the timing" in markdown
    assert json.loads(tables.as_json(table))[0]["metrics"][name]["doubt"] == "contended"


def test_each_kind_of_doubt_has_its_own_mark(make_record):
    record = make_record(precision_moment=0.98765, mse=0.1)
    collapsed = [metric.doubted("collapsed", "all alike") for metric in record.metrics]
    (row,) = table = rows([record.model_copy(update={"metrics": (collapsed[0], record.metrics[1])})])
    assert row.cells["precision_moment"].decisive is None
    markdown = tables.as_markdown(table)
    assert "0.988 ‡ |" in markdown
    assert "‡: the samples have collapsed, which this metric does not see" in markdown
    assert "†" not in markdown


def test_a_model_whose_loss_still_fell_is_marked(make_record):
    falling, settled = (
        make_record(mse=0.1, latent_dim=width).model_copy(update={"still_falling": width == 2})
        for width in (2, 8)
    )
    table = rows([falling, settled])
    markdown = tables.as_markdown(table)
    assert "| ae-2 § |" in markdown
    assert "| ae-8 |" in markdown
    assert "§: the loss was still falling when the training ended" in markdown
    assert [model["still_falling"] for model in json.loads(tables.as_json(table))] == [True, False]
    assert "§" not in tables.as_markdown(rows([settled]))


def test_rows_are_sorted_by_width(make_record):
    table = rows([make_record(mse=0.1, latent_dim=d, seed=s) for s in (0, 1) for d in (16, 2, 8)])
    assert [row.label for row in table] == ["ae-2", "ae-8", "ae-16"]


def test_models_with_the_same_label_are_numbered(make_record):
    wide = make_record(mse=0.1)
    longer = wide.model_copy(update={"recipe": Recipe(epochs=9)})
    assert [row.label for row in rows([wide, longer])] == ["ae-2", "ae-2 (2)"]


def test_columns_are_in_the_order_of_the_definitions(make_record):
    a = rows([make_record(psnr=20.0, mse=0.1)])
    b = rows([make_record(mse=0.1, psnr=20.0)])
    assert [column.name for column in columns(a)] == [column.name for column in columns(b)]


def test_csv_has_full_values_and_empty_nulls(make_record):
    table = rows([make_record(mse=0.012345678901, ssim=None)])
    frame = pd.read_csv(io.StringIO(tables.as_csv(table)))
    assert frame["mse"][0] == 0.012345678901
    assert pd.isna(frame["ssim"][0])
    assert frame["model"][0] == "ae-2"


def test_json_gives_the_reason_of_a_null(make_record):
    (model,) = json.loads(tables.as_json(rows([make_record(mse=0.1, ssim=None)])))
    assert model["metrics"]["ssim"]["value"] is None
    assert model["metrics"]["ssim"]["reason"] == "not available"


def test_terminal_marks_the_best_and_shows_null_as_a_dash(make_record):
    table = rows(
        [make_record(mse=0.1), make_record(mse=0.2, latent_dim=8), make_record(mse=None, latent_dim=9)]
    )
    console = Console(file=io.StringIO(), force_terminal=True, width=100, color_system="standard")
    console.print(terminal_table.as_rich(table, title="t", width=100))
    output = console.file.getvalue()
    bold_green = "\x1b[1;32m"
    assert f"{bold_green}0.1" in output
    assert f"{bold_green}0.2" not in output
    assert "–" in output


def test_a_long_table_is_cut_in_a_terminal_and_says_so(make_record, monkeypatch):
    monkeypatch.setattr(terminal_table, "LONGEST_TABLE", 2)
    table = rows([make_record(mse=0.1 * width, latent_dim=width) for width in (1, 2, 3)])
    console = Console(file=io.StringIO(), width=100)
    console.print(terminal_table.as_rich(table, title="t", width=100))
    output = console.file.getvalue()
    assert [f"ae-{width}" in output for width in (1, 2, 3)] == [True, True, False]
    assert "1 more models; --format csv has all" in output
    assert "ae-3" in tables.as_csv(table)


def test_problems_are_listed(make_record):
    (row,) = rows([make_record(mse=None, status="diverged", reason="the loss was not finite at step 3")])
    assert row.problems == ["ae-2, seed 0: diverged (the loss was not finite at step 3)"]


def test_markdown_has_a_line_per_model_and_a_legend(make_record):
    markdown = tables.as_markdown(rows([make_record(mse=0.1), make_record(mse=0.2, latent_dim=8)]))
    lines = markdown.splitlines()
    assert lines[0].startswith("| model | MSE")
    assert lines[2].startswith("| ae-2 | 0.1")
    assert any("`mse`" in line for line in lines if line.startswith("- "))


def test_figures_and_tables_show_the_same_interval(make_record):
    """Cases are several seeds, one seed, and a metric without an error, which has none in either."""
    several = [make_record(mse=value, seed=seed) for seed, value in enumerate((0.1, 0.2, 0.4))]
    one = make_record(latent_dim=8).model_copy(
        update={"metrics": (METRICS["mse"].measured(0.1, se=0.01, n=100), METRICS["psnr"].measured(9.0))}
    )
    for records, names in ((several, ["mse"]), ([one], ["mse", "psnr"])):
        (row,) = rows(records)
        models = [ModelResult(r.label, r.model, r.seed, {m.name: m for m in r.metrics}, {}) for r in records]
        for name in names:
            assert estimate(models, name) == row.cells[name].estimate
    assert row.cells["psnr"].half_width is None


def test_a_mean_over_fewer_seeds_is_marked(make_record):
    table = rows([make_record(mse=value, seed=seed) for seed, value in enumerate((0.1, None, 0.2))])
    assert table[0].cells["mse"].share == "2/3 seeds"
    for text in (tables.as_markdown(table), rendered(table)):
        assert "(2/3 seeds)" in text
    assert "only two of three" in tables.as_markdown(table)
    assert "only two of three" in tables.footnote(table)
    assert pd.read_csv(io.StringIO(tables.as_csv(table)))["mse_seeds"].tolist() == [2]


def test_a_lone_seed_among_several_has_no_interval_over_seeds(make_record):
    measured = METRICS["mse"].measured(0.1, se=0.01, n=100)
    first = make_record().model_copy(update={"metrics": (measured,)})
    table = rows([first, make_record(mse=None, seed=1)])
    assert table[0].cells["mse"].half_width == pytest.approx(0.0196)
    for text in (tables.as_markdown(table).splitlines()[2], rendered(table)):
        assert "0.1000 (1/2 seeds)" in text
        assert "±" not in text


def test_one_seed_is_labelled_in_every_format(make_record):
    table = rows([make_record(mse=0.1)])
    assert "one seed: ± is" in tables.as_markdown(table)
    assert "one seed: ± is" in tables.footnote(table)
    assert pd.read_csv(io.StringIO(tables.as_csv(table)))["interval_over"].tolist() == ["examples"]


def rendered(table):
    console = Console(file=io.StringIO(), width=200)
    console.print(terminal_table.as_rich(table, title="t", width=200))
    return console.file.getvalue()


def test_values_of_an_earlier_definition_are_null(make_record):
    record = make_record(mse=0.1)
    old = [replace(metric, version=0) for metric in record.metrics]
    (row,) = rows([record.model_copy(update={"metrics": tuple(old)})])
    assert row.cells["mse"].value is None
    assert row.cells["mse"].reason == "measured by version 0 of this metric, now 1; run it again"


def test_grids_state_the_shape_of_their_code(make_record):
    vector, grid = make_record(mse=0.1, latent_dim=4), make_record(mse=0.2, latent_dim=4, case="grid")
    assert "code_shape" not in tables.as_frame(rows([vector]))
    spec = model_spec(family="vae", latent_dim=4, backbone="conv", code="grid")
    spec = spec.model_copy(update={"code_shape": (4, 7, 7)})
    grid = grid.model_copy(update={"model": RecordedModel.of(spec)})
    frame = tables.as_frame(rows([vector, grid]))
    assert frame["code_shape"].tolist() == ["4", "4×7×7"]
    assert frame["model"].tolist()[1].startswith("vae-4×7×7 ")


def test_accuracy_of_the_judges_is_next_to_the_table(make_record):
    judges = tuple(
        JudgeReference(hash=digit * 64, accuracy=share) for digit, share in (("1", 0.9), ("2", 0.7))
    )
    table = rows([make_record(recognisable=0.8).model_copy(update={"judges": judges})])
    for text in (tables.as_markdown(table), tables.footnote(table)):
        assert "the judges recognise: 90.0% (11111111), 70.0% (22222222), which is little (below 80%)" in text
        assert "± includes the spread of the judges" in text
    assert "judges" not in tables.footnote(rows([make_record(mse=0.1)]))


def test_cases_of_several_environments_are_marked(make_record):
    here = [make_record(mse=0.1, seed=seed, environment="here") for seed in range(2)]
    there = make_record(mse=0.1, seed=2, environment="there")
    assert tables.footnote(rows(here)).endswith("environment here")
    told = tables.footnote(rows([*here, there]))
    assert told.endswith("different environments, whose times do not compare (cases): here (2), there (1)")


def test_each_data_set_is_a_block_with_its_own_best(make_record):
    table = rows(
        [
            make_record(mse=mse, latent_dim=width, data=data)
            for width, values in ((2, (0.4, 0.1)), (8, (0.3, 0.2)))
            for data, mse in zip(("mnist", "digits"), values, strict=True)
        ]
    )
    assert [row.name for row in table] == [
        "ae-2 on digits",
        "ae-8 on digits",
        "ae-2 on mnist",
        "ae-8 on mnist",
    ]
    assert tables.title("my", table) == "my: 2 data sets, 1 seed"
    console = Console(file=io.StringIO(), force_terminal=True, width=80, color_system="standard")
    console.print(terminal_table.as_rich(table, title="t", width=80))
    output = console.file.getvalue()
    assert re.findall("digits|mnist|  ae-[28]", output) == [
        "digits",
        "  ae-2",
        "  ae-8",
        "mnist",
        "  ae-2",
        "  ae-8",
    ]
    assert re.findall(r"1;32m(0\.\d)", output) == ["0.1", "0.3"]
    markdown = tables.as_markdown(table)
    assert "| digits | ae-8 | 0.2" in markdown
    assert "digits, 60,000 train" in tables.footnote(table)
    assert [row["data"] for row in json.loads(tables.as_json(table))] == [
        "digits",
        "digits",
        "mnist",
        "mnist",
    ]
    assert list(tables.as_frame(table)["data"]) == ["digits", "digits", "mnist", "mnist"]


def test_data_sets_of_one_name_are_told_apart(make_record):
    first, other = make_record(mse=0.1), make_record(mse=0.1, case="other")
    moved = other.data.model_copy(update={"fingerprint": "0123456789"})
    table = rows([first, other.model_copy(update={"data": moved})])
    assert [row.data for row in table] == ["mnist 01234567", "mnist m"]
