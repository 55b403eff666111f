"""Shipped suites are valid, and every mistake in a suite file is one line that names the place."""

import pytest

from latentbench import data as datasets
from latentbench.bench.run import suite
from latentbench.bench.run.case import cases
from latentbench.bench.text import shipped
from latentbench.data.errors import LatentbenchError

GOOD = """
description: two widths, two betas
models:
  - {family: vae, latent_dim: [2, 8], beta: [0.5, 1]}
  - {family: pca, latent_dim: 4}
"""


@pytest.fixture(scope="module")
def digits():
    return datasets.load("digits")


def parse(text):
    return suite.parse(text, name="my", where="my.yaml")


def test_a_list_means_one_model_each():
    labels = [entry.spec.label for entry in parse(GOOD).entries]
    assert labels == ["vae-2 β=0.5", "vae-2 β=1", "vae-8 β=0.5", "vae-8 β=1", "pca-4"]


def test_a_model_may_override_the_recipe():
    parsed = parse(
        "description: x\nrecipe: {epochs: 2, batch_size: 64}\n"
        "models: [{family: ae, latent_dim: 2}, {family: ae, latent_dim: 3, recipe: {epochs: 9}}]"
    )
    assert [(entry.recipe.epochs, entry.recipe.batch_size) for entry in parsed.entries] == [(2, 64), (9, 64)]


@pytest.mark.parametrize(("given", "seeds"), [("3", (0, 1, 2)), ("[0, 3, 7]", (0, 3, 7)), ("5-6", (5, 6))])
def test_a_suite_chooses_its_seeds(given, seeds, digits):
    parsed = parse(f"{GOOD}seeds: {given}")
    assert parsed.seeds == seeds
    assert {case.seed for case in cases(parsed, digits, parsed.seeds)} == set(seeds)


def test_other_epochs_change_nothing_else():
    parsed = parse(GOOD)
    longer = suite.with_recipe(parsed, epochs=7, precision=None)
    assert {entry.recipe.epochs for entry in longer.entries} == {7}
    assert suite.with_recipe(longer, epochs=parsed.entries[0].recipe.epochs) == parsed


def test_other_analyses_change_nothing_else():
    parsed = parse(GOOD)
    fewer = suite.with_analyses(parsed, ["probe", "reconstruction", "probe"])
    assert fewer.analyses == ("probe", "reconstruction")
    assert suite.with_analyses(fewer, parsed.analyses) == parsed
    with pytest.raises(LatentbenchError, match=r"--analysis\[1\]: unknown analysis 'prob'.*probe"):
        suite.with_analyses(parsed, ["probe", "prob"])


@pytest.mark.parametrize("name", shipped.names("suites"))
def test_every_shipped_suite_is_valid(name):
    assert suite.load(name).entries


def test_the_main_job_has_the_grid_it_promises():
    specs = [entry.spec for entry in suite.load("mnist").entries]
    widths = {
        family: {spec.latent_dim for spec in specs if spec.family == family}
        for family in ("pca", "ae", "vae")
    }
    assert all(widths[family] >= {2, 8, 16, 32} for family in widths)
    full = [
        width
        for width in widths["vae"]
        if {spec.beta for spec in specs if spec.family == "vae" and spec.latent_dim == width}
        >= {0.25, 1.0, 4.0}
    ]
    assert len(full) >= 2
    assert len({spec.latent_dim for spec in specs if spec.family == "clip"}) >= 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("models: [", r"my\.yaml: not YAML"),
        ("- a", r"my\.yaml: a suite is a mapping .* got list"),
        ("models: [{family: ae, latent_dim: 2}]", r"my\.yaml: the key 'description' is missing"),
        ("description: x", r"my\.yaml: the key 'models' is missing"),
        ("description: x\nmodels: []", r"my\.yaml: models"),
        ("description: x\nmodel: []", r"my\.yaml: .*'model'.* did you mean 'models'|key 'models' is missing"),
        (GOOD + "sede: 3", r"my\.yaml: unknown key 'sede'; did you mean 'seeds'\?"),
        (GOOD + "seeds: 0", r"my\.yaml: seeds must name at least one seed: .*, got 0"),
        (
            GOOD + "analyses: [samplin]",
            r"my\.yaml, analyses\[0\]: unknown analysis 'samplin'; did you mean 'sampling'",
        ),
        (
            GOOD + "recipe: {epoch: 1}",
            r"my\.yaml, models\[0\], recipe: unknown key 'epoch'; did you mean 'epochs'",
        ),
        (GOOD + "recipe: {learning_rate: -1}", r"learning_rate must be greater than 0, got -1"),
        (GOOD + "recipe: {precision: fp8}", r"precision must be 'fp32' or 'bf16', got 'fp8'"),
        (
            GOOD + "  - {family: vea, latent_dim: 2}",
            r"my\.yaml, models\[2\]: unknown family 'vea'; did you mean 'vae'",
        ),
        (
            GOOD + "  - {family: ae, latent_dim: 0}",
            r"models\[2\]: family 'ae': latent_dim must be greater than or equal to 1, got 0",
        ),
        (
            GOOD + "  - {family: ae, latent_dim: [2, -1]}",
            r"latent_dim must be greater than or equal to 1, got -1",
        ),
        (
            GOOD + "  - {family: vae, latent_dim: 2, beta: -1}",
            r"beta must be greater than or equal to 0, got -1",
        ),
        (
            GOOD + "  - {family: vae, latent_dim: 2, beta: .nan}",
            r"models\[2\]: family 'vae': beta must be .*, got nan",
        ),
        (
            GOOD + "  - {family: ae, latent_dim: 2, beta: 1}",
            r"models\[2\]: family 'ae': unknown key 'beta'",
        ),
        (
            GOOD + "  - {family: vae, latent_dim: 2, betta: 1}",
            r"models\[2\]: family 'vae': unknown key 'betta'; did you mean 'beta'",
        ),
        (
            GOOD + "  - {family: pca, latent_dim: 4}",
            r"models\[2\]: pca-4 is already in my\.yaml, models\[1\]",
        ),
        (
            GOOD + "  - {import: 'a:b', kwarg: {}}",
            r"models\[2\]: family 'import': unknown key 'kwarg'; did you mean 'kwargs'",
        ),
        (GOOD + "  - {import: 'a b'}", r"models\[2\]: family 'import': import must be module:attribute"),
        (
            GOOD + "  - {import: 'a:b'}\n  - {import: 'a:b'}",
            r"models\[3\]: b is already in my\.yaml, models\[2\]",
        ),
        (GOOD + "  - {family: ae, latent_dim: []}", r"models\[2\]: latent_dim is an empty list"),
        (
            GOOD + f"  - {{family: vae, latent_dim: {[1] * 1000}, beta: {[1] * 1000}}}",
            r"models\[2\]: stands for 1,000,000 models; at most 100,000",
        ),
        (GOOD + "seeds: 1000000000", r"my\.yaml: seeds must name at most 100,000 seeds"),
        (GOOD + "seeds: 50000", r"my\.yaml: 5 models × 50,000 seeds; .* at most 100,000 cases"),
        (GOOD + "seeds: [1, 1]", r"my\.yaml: seeds must be different whole numbers"),
        (GOOD + "description: again", r"my\.yaml: not YAML: the key 'description' is given twice"),
        (GOOD + "  - {latent_dim: 4}", r"models\[2\]: the key 'family' is missing"),
        (
            GOOD + "  - {family: ae, latent_dim: 2, recipe: fast}",
            r"models\[2\]: recipe must be a mapping, got 'fast'",
        ),
    ],
)
def test_a_mistake_is_one_line_that_names_the_place(text, message):
    with pytest.raises(LatentbenchError, match=message) as caught:
        parse(text)
    assert "\n" not in str(caught.value)


def test_an_unknown_suite_names_the_known_ones():
    with pytest.raises(LatentbenchError, match=r"unknown suite 'mnits'; did you mean 'mnist'\?.*smoke"):
        suite.load("mnits")


def test_a_missing_suite_file_is_named():
    with pytest.raises(LatentbenchError, match=r"no suite file nowhere\.yaml"):
        suite.load("nowhere.yaml")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_suite_with_a_byte_order_mark_is_read(tmp_path, encoding):
    text = "description: café\ndata: digits\nmodels: [{family: pca, latent_dim: 2}]\n"
    (tmp_path / "mine.yaml").write_text(text, encoding=encoding)
    assert suite.load(str(tmp_path / "mine.yaml")).description == "café"
    (tmp_path / "mine.yaml").write_text(text, encoding="latin-1")
    with pytest.raises(LatentbenchError, match=r"mine\.yaml, line 1: byte 0xe9 is not UTF-8 text; save"):
        suite.load(str(tmp_path / "mine.yaml"))


def test_a_suite_names_its_executor():
    parsed = parse(f"{GOOD}\nexecutor: {{name: ray, gpus: 0.25}}\n")
    assert (parsed.executor.name, parsed.executor.gpus) == ("ray", 0.25)
    assert parse(GOOD).executor is None
    with pytest.raises(LatentbenchError, match=r"my\.yaml, executor: unknown executor 'slurn'"):
        parse(f"{GOOD}\nexecutor: slurn\n")


def test_data_option_replaces_the_data_and_is_relative_to_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    other = suite.with_data(suite.load("codecs"), ["folder:mine?size=64"])
    (data,) = other.data
    assert (data.folder, data.size, other.data_folder) == ("mine", 64, tmp_path)
    assert [str(each) for each in suite.with_data(other, ["digits", "mnist"]).data] == ["digits", "mnist"]
    with pytest.raises(LatentbenchError, match="--data"):
        suite.with_data(suite.load("codecs"), ["no-such-data"])


@pytest.mark.parametrize("name", ["codecs", "tokenizers", "bits"])
def test_suites_of_codecs_measure_bits(name):
    loaded = suite.load(name)
    assert {"reconstruction", "coding"} <= set(loaded.analyses)
    assert {"jpeg", "avif" if name != "bits" else "png"} <= {entry.spec.family for entry in loaded.entries}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("[]", "data must be one data set, or a list of 1 to 100"),
        ("[digits, mnist, digits]", r"my.yaml, data\[2\]: digits is already in my.yaml, data\[0\]"),
        ("[digits, no-such]", r"my.yaml, data\[1\]: unknown data set 'no-such'"),
        ("[digits, {name: mnist, sise: 3}]", r"my.yaml, data\[1\]: unknown key 'sise'"),
        (
            f"[{', '.join(f'{{name: digits, limit: {n}}}' for n in range(1, 102))}]",
            "list of 1 to 100 .got 101.",
        ),
    ],
)
def test_bad_lists_of_data_sets_are_named(data, message):
    text = f"description: d\ndata: {data}\nmodels: [{{family: pca, latent_dim: 2}}]\n"
    with pytest.raises(LatentbenchError, match=message):
        suite.parse(text, name="my", where="my.yaml")


def test_a_suite_names_several_data_sets():
    text = "description: d\ndata: [digits, {name: mnist, limit: 9}]\nmodels: [{family: pca, latent_dim: 2}]\n"
    parsed = suite.parse(text, name="my", where="my.yaml")
    assert [str(each) for each in parsed.data] == ["digits", "mnist?limit=9"]
