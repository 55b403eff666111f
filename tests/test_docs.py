"""README and docs do what they say: every fenced block is parsed, and run where that takes seconds."""

import re
import shlex
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import typer.main
import yaml
from typer.testing import CliRunner

from latentbench.analysis.catalogue import METRICS
from latentbench.bench.cli.app import app
from latentbench.bench.run import suite
from latentbench.bench.store.baseline import set_baseline
from latentbench.bench.store.reference import copy_run
from latentbench.bench.store.run import read
from latentbench.bench.store.store import Store

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])
FENCED = re.compile(r"^```(\w*)\n(.*?)^```", flags=re.DOTALL | re.MULTILINE)
PYTHON = re.compile(r"(?:`(\w+\.py)`:\n\n)?^```python\n(.*?)^```", flags=re.DOTALL | re.MULTILINE)
"""Blocks of Python, each with the name of the file that the text before it gives it."""
PARSED = {"run", "time", "doctor", "audit", "explain", "reproduce", "import"}
"""Commands that are not executed here: they train, time, look at the machine, or read others' files."""
MODELS = ("pca-16", "ae-16", "vae-16 β=0.25")


def blocks(language):
    """The fenced blocks of all pages in one language, each with a readable id."""
    return [
        pytest.param(content, id=f"{page.name}-{number}")
        for page in PAGES
        for number, (found, content) in enumerate(FENCED.findall(page.read_text(encoding="utf-8")))
        if found == language
    ]


def commands():
    """Every `latentbench` command of the pages, without comments."""
    found = {}
    for page in PAGES:
        for language, content in FENCED.findall(page.read_text(encoding="utf-8")):
            for line in content.splitlines() if language == "sh" else ():
                words = shlex.split(line, comments=True)
                if words[:1] == ["latentbench"]:
                    found.setdefault(shlex.join(words[1:]), page.name)
    return [pytest.param(shlex.split(line), id=f"{page}: {line}") for line, page in found.items()]


def _as_defined_now(record):
    """The record with today's versions: these tests are of commands, and ours may be older."""
    metrics = [replace(each, version=METRICS[each.name].version) for each in record.metrics]
    return record.model_copy(update={"metrics": tuple(metrics)})


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with three suites of runs, a reference store and a baseline, from our records."""
    home = tmp_path_factory.mktemp("home")
    results, reference = Store(home / "results"), Store(home / "results" / "reference")
    ours = Store(ROOT / "results" / "reference")
    shown = read(ours.find("mnist"))
    records = [_as_defined_now(record) for record in shown.records if record.label in MODELS]
    for name in ("theirs", "my", "mnist", "mnist"):
        with results.writer(name, None) as writer:
            for record in records:
                environment = shown.environment(record.environment)
                results.remember_environment(record.environment, environment)
                writer.append(record.model_copy(update={"suite": name, "run": writer.run_id}))
            writer.finish()
    earlier = read(results.find("latest~1"))
    set_baseline(results, "main", earlier, "to compare with")
    copy_run(earlier, reference)
    return home


@pytest.mark.parametrize("content", blocks("yaml"))
def test_yaml_blocks_are_valid(content):
    loaded = yaml.safe_load(content)
    if "models" in loaded:
        assert suite.parse(content, name="shown", where="shown.yaml").entries
    else:
        assert loaded["jobs"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_blocks_of_a_page_run_in_order(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for name, content in PYTHON.findall(page.read_text(encoding="utf-8")):
        if name:
            Path(name).write_text(content)
            monkeypatch.delitem(sys.modules, Path(name).stem, raising=False)
        exec(compile(content, "shown", "exec"), {"__name__": "shown"})


@pytest.mark.parametrize("words", commands())
def test_shown_commands_exist(words):
    command = typer.main.get_command(app)
    context = command.make_context("latentbench", list(words))
    while hasattr(command, "resolve_command"):
        _, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        context = command.make_context(command.name, rest, parent=context)


@pytest.mark.parametrize("words", [shown for shown in commands() if shown.values[0][0] not in PARSED])
def test_shown_commands_work_on_a_run(home, words, tmp_path, monkeypatch):
    monkeypatch.chdir(shutil.copytree(home, tmp_path / "home"))
    if "throughput" in words or "--throughput" in words:
        pytest.skip("times processes; the tests of the throughput gate and of sweeps do this")
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target
