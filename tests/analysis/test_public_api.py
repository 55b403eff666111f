"""The public functions are listed, documented, keyword-only where they take options, and lazy."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

from latentbench import analysis
from latentbench.bench.maintain.api_page import page

DOCS = Path(__file__).parents[2] / "docs" / "api.md"
TENSORS = {"a", "b", "codes", "embedding", "fake", "features", "log_var", "mean", "points", "positives"}
TENSORS |= {"probabilities", "real", "reference", "samples", "scores", "truth", "x", "y", "classes"}


def test_docs_list_the_public_functions():
    assert DOCS.read_text(encoding="utf-8") == page()


@pytest.mark.parametrize("name", analysis.__all__)
def test_public_function_documents_its_input(name):
    function = getattr(analysis, name)
    documentation = inspect.getdoc(function)
    assert documentation.splitlines()[0].endswith((".", "]"))
    assert "[N, " in documentation or "`[N]`" in documentation


@pytest.mark.parametrize("name", [name for name in analysis.__all__ if name != "measure"])
def test_options_of_metric_functions_are_keyword_only(name):
    parameters = inspect.signature(getattr(analysis, name)).parameters.values()
    positional = {each.name for each in parameters if each.kind is not inspect.Parameter.KEYWORD_ONLY}
    assert positional <= TENSORS


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'frechet'"):
        analysis.frechet  # noqa: B018


def test_importing_the_package_does_not_import_torch():
    code = "import sys, latentbench.analysis; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
