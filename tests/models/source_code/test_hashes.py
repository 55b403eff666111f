"""The hash of a model's code changes with every file that can change what the model does."""

import importlib
import sys

import pytest

from latentbench.models.families.variational.vae import VAE
from latentbench.models.family import FAMILIES, Family
from latentbench.models.source_code import hashes
from latentbench.models.source_code.hashes import family_code, training_code, user_code


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a module that imports a helper, both loaded."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "sc_helper.py").write_text("import torch\nSCALE = 1\n")
    (tmp_path / "sc_model.py").write_text("from sc_helper import SCALE\nclass Net: pass\n")
    importlib.invalidate_caches()
    importlib.import_module("sc_model")
    yield tmp_path
    for name in ("sc_model", "sc_helper"):
        sys.modules.pop(name, None)


def test_a_changed_helper_changes_the_hash(folder):
    before = user_code("sc_model:Net")
    assert user_code("sc_model:Net") == before
    (folder / "sc_helper.py").write_text("import torch\nSCALE = 2\n")
    assert user_code("sc_model:Net") != before


@pytest.mark.parametrize(
    "text",
    [
        "import torch  # the framework\nSCALE = 1\n",
        '"""A helper."""\nimport torch\n\n\nSCALE = (\n    1\n)\n',
    ],
)
def test_comments_docstrings_and_layout_do_not_count(folder, text):
    before = user_code("sc_model:Net")
    (folder / "sc_helper.py").write_text(text)
    assert user_code("sc_model:Net") == before


@pytest.mark.parametrize("text", ["SCALE = " + "+".join(["1"] * 5_000), "SCALE =", "SCALE = '\\ud800'"])
def test_every_file_has_a_hash(folder, text):
    hashes = set()
    for end in ("\n", "\nX = 1\n"):
        (folder / "sc_helper.py").write_text(text + end)
        hashes.add(user_code("sc_model:Net"))
    assert len(hashes) == 2


def test_a_new_version_of_a_dependency_changes_the_hash(folder, monkeypatch):
    before = user_code("sc_model:Net")
    version = hashes.metadata.version
    monkeypatch.setattr(hashes.metadata, "version", lambda name: "0.0" if name == "torch" else version(name))
    assert user_code("sc_model:Net") != before


def test_the_hash_does_not_depend_on_where_the_folder_is(folder, tmp_path_factory, monkeypatch):
    before = user_code("sc_model:Net")
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    for name in ("sc_model", "sc_helper"):
        (elsewhere / f"{name}.py").write_bytes((folder / f"{name}.py").read_bytes())
        monkeypatch.setattr(sys.modules[name], "__file__", str(elsewhere / f"{name}.py"))
    assert user_code("sc_model:Net") == before


def test_an_installed_package_counts_as_a_whole(folder, tmp_path, monkeypatch):
    package = tmp_path / "lib" / "sc_package"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "loss.py").write_text("WEIGHT = 1\n")
    monkeypatch.syspath_prepend(package.parent)
    importlib.invalidate_caches()
    before = user_code("sc_package.loss:Net")
    (package / "loss.py").write_text("WEIGHT = 2\n")
    hashes.package_code.cache_clear()
    assert user_code("sc_package.loss:Net") != before


def test_a_family_of_another_package_has_a_hash(folder):
    namespace = {"__module__": "sc_model", "__doc__": "A family that another package registers."}
    FAMILIES.register("sc_family")(type("Theirs", (Family,), namespace))
    try:
        before = family_code("sc_family")
        assert before is not None
        (folder / "sc_model.py").write_text("class Net: changed = True\n")
        family_code.cache_clear()
        hashes.package_code.cache_clear()
        assert family_code("sc_family") != before
    finally:
        FAMILIES._entries.pop("sc_family")
        family_code.cache_clear()


def test_our_own_families_follow_our_training_code():
    assert FAMILIES["vae"] is VAE
    assert family_code("vae") is None
    assert len(training_code()) == 64
    files = hashes._files_of("latentbench.models")
    assert "latentbench.models/families/variational/vae.py" in files
