"""The digest of a model's code changes with every file that the model consists of, and with no other."""

import importlib
import random
import sys

import pytest

from latentbench.models.source_code.hashes import user_code

FILES = {
    "cm_model.py": "import cm_helper\nfrom cm_pack import part\nimport cm_pack.deep, torch\n"
    "def build():\n    import cm_lazy\n    importlib = __import__('importlib')\n"
    "    return importlib.import_module('cm_named')\n",
    "cm_helper.py": "from cm_second import f\n",
    "cm_second.py": "def f(): return 1\n",
    "cm_lazy.py": "x = 1\n",
    "cm_named.py": "x = 1\n",
    "cm_pack/__init__.py": "",
    "cm_pack/part.py": "from . import sibling\nfrom .deep import VALUE\n",
    "cm_pack/sibling.py": "import cm_model\n",
    "cm_pack/deep.py": "VALUE = 1\n",
    "cm_unrelated.py": "x = 1\n",
    "cm_pack/unused.py": "x = 1\n",
    "cm_dynamic.py": "import importlib\nname = 'cm_' + 'plugin'\nimportlib.import_module(name)\n",
    "cm_plugin.py": "x = 1\n",
}
USED = [name for name in FILES if name.split("/")[-1] not in ("cm_unrelated.py", "unused.py")]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("cm_")]:
        del sys.modules[name]


def digest():
    return user_code("cm_model:build")


@pytest.mark.parametrize("name", [name for name in USED if name not in ("cm_dynamic.py", "cm_plugin.py")])
def test_a_change_in_any_imported_file_changes_the_digest(name, folder):
    before = digest()
    (folder / name).write_text((folder / name).read_text() + "CHANGED = 1\n")
    assert digest() != before


@pytest.mark.parametrize("name", ["cm_unrelated.py", "cm_pack/unused.py", "cm_dynamic.py"])
def test_a_change_in_another_file_does_not(name, folder):
    importlib.import_module("cm_unrelated")
    before = digest()
    (folder / name).write_text(FILES[name] + "CHANGED = 1\n")
    assert digest() == before


def test_the_order_of_imports_does_not_matter():
    before = digest()
    names = ["cm_model", "cm_helper", "cm_second", "cm_lazy", "cm_pack.part", "cm_unrelated"]
    for seed in range(3):
        random.Random(seed).shuffle(names)
        for name in [name for name in sys.modules if name.startswith("cm_")]:
            del sys.modules[name]
        for name in names:
            importlib.import_module(name)
        assert digest() == before


def test_the_folder_does_not_matter(folder, tmp_path, monkeypatch):
    before = digest()
    elsewhere = tmp_path / "elsewhere"
    for name, text in FILES.items():
        (elsewhere / name).parent.mkdir(parents=True, exist_ok=True)
        (elsewhere / name).write_text(text)
    monkeypatch.syspath_prepend(str(elsewhere))
    assert digest() == before


def test_a_computed_import_counts_all_loaded_files(folder):
    importlib.import_module("cm_dynamic")
    before = user_code("cm_dynamic:build")
    (folder / "cm_plugin.py").write_text("x = 2\n")
    assert user_code("cm_dynamic:build") != before


def test_our_own_code_and_unreadable_files_are_no_error(folder):
    (folder / "cm_model.py").write_text("import latentbench.models.zoo\nfrom .... import nothing\n")
    assert len(digest()) == 64
    (folder / "cm_model.py").write_text("def (\n")
    assert len(digest()) == 64
