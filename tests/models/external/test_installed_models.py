"""Models and families of installed packages are found by their names."""

import subprocess
import sys
import textwrap

import pytest
from shared.user_modules import MODULE, loaded, refusal, resolved

pytestmark = pytest.mark.usefixtures("apart")


@pytest.fixture
def install(tmp_path, monkeypatch):
    """`install(group, **points)`: a package as pip leaves one: its metadata in a folder."""
    site = tmp_path / "site"

    def install(group, **points):
        about = site / "plugin-1.0.dist-info"
        about.mkdir(parents=True)
        (about / "METADATA").write_text("Metadata-Version: 2.1\nName: plugin\nVersion: 1.0\n")
        lines = [f"{name} = {value}" for name, value in points.items()]
        (about / "entry_points.txt").write_text("\n".join([f"[{group}]", *lines, ""]))
        monkeypatch.syspath_prepend(str(site))
        return site

    return install


def test_an_installed_model_is_found_by_its_name(install, data, tmp_path):
    site = install("latentbench.models", theirs="plugin_models:Plain", broken="plugin_models:absent")
    (site / "plugin_models.py").write_text(textwrap.dedent(MODULE))
    spec = resolved("theirs", data, tmp_path, kwargs={"latent": 2})
    assert spec.label == "theirs-2"
    assert loaded(spec, data).model.encode(data.test.images / 255).mean.shape == (8, 2)
    assert "unknown installed model 'thiers'; did you mean 'theirs'" in refusal("thiers", data, tmp_path)
    assert "broken (plugin_models:absent): AttributeError" in refusal("broken", data, tmp_path)


FAMILY = """
    from latentbench.models.families.autoencoders.pca import PCA
    from latentbench.models.family import FAMILIES

    @FAMILIES.register("theirs")
    class Theirs(PCA):
        "A third-party family."
"""


def in_a_process(code, site, folder):
    """Return the output of `code` in a new Python, since registered families would otherwise stay."""
    path = f"import sys; sys.path.insert(0, {str(site)!r}); from latentbench.models import zoo; "
    return subprocess.run([sys.executable, "-c", path + code], capture_output=True, text=True, cwd=folder)


def test_an_installed_family_is_found_by_name(install, tmp_path):
    site = install("latentbench.families", theirs="plugin_family")
    (site / "plugin_family.py").write_text(textwrap.dedent(FAMILY))
    done = in_a_process("print(zoo.model_spec(family='theirs', latent_dim=2).label)", site, tmp_path)
    assert done.stdout == "theirs-2\n", done.stderr


def test_a_broken_installed_family_fails_only_on_use(install, tmp_path):
    site = install("latentbench.families", awful="plugin_awful", theirs="plugin_family")
    (site / "plugin_family.py").write_text(textwrap.dedent(FAMILY))
    (site / "plugin_awful.py").write_text("import not_there\n")
    good = in_a_process("print(zoo.model_spec(family='theirs', latent_dim=2).label)", site, tmp_path)
    assert good.stdout == "theirs-2\n", good.stderr
    bad = in_a_process("zoo.model_spec(family='awful', latent_dim=2)", site, tmp_path)
    assert "entry point 'plugin_awful' fails with ModuleNotFoundError" in bad.stderr
