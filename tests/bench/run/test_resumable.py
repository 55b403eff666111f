"""A call of `run` makes the latest run hold exactly what was asked for, and measures nothing twice."""

from dataclasses import dataclass, field

import pytest
import torch

from latentbench.bench.provenance.code import code
from latentbench.bench.run.resumable import Origin, Request, run_resumable
from latentbench.bench.store.records.record import JudgeReference, Record
from latentbench.bench.store.run import read
from latentbench.bench.store.store import Store
from latentbench.models.spec import ModelSpec

SPEC = ModelSpec(family="pca", latent_dim=2)


@dataclass(frozen=True)
class Asked:
    id: str
    spec: ModelSpec = SPEC
    analyses: tuple[str, ...] = ("reconstruction",)
    family_code: str | None = None
    features: tuple[object, ...] = ()


@dataclass
class Heard:
    """Remembers the events, and stops the run after some results."""

    stop_after: int | None = None
    written: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def run_started(self, path, what, total, done):
        self.started = total, done

    def result_written(self, record, details):
        self.written.append(record.case)
        if len(self.written) == self.stop_after:
            raise KeyboardInterrupt

    def note(self, message):
        self.notes.append(message)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "results")


@pytest.fixture
def ask(store, make_record):
    """`ask("a", "b")` runs a suite of the cases a and b; returns the run and what was heard."""

    def ask(*ids, suite="my", fresh=False, stop_after=None, judges=()):
        heard = Heard(stop_after)

        def produce(run):
            for each in run.todo:
                template: Record = make_record(mse=0.1, case=each.id)
                update = {"model": SPEC, "code": code(), "suite": run.suite, "run": run.writer.run_id}
                update["judges"] = tuple(JudgeReference(hash=each, accuracy=0.9) for each in judges)
                run.write(template.model_copy(update=update | {"environment": run.origin.environment}))

        wanted = [Asked(each) for each in ids]
        device = torch.device("cpu")
        request = Request(suite, "cases", wanted, device, fresh=fresh, judges=lambda: [judges])
        return run_resumable(request, store, heard, produce), heard

    return ask


def cases(run):
    return [record.case for record in run.records]


def test_run_answers_with_the_latest_run(ask, store):
    """A regression that is run again after a good run is judged again, and so is a reverted one."""
    for id_ in ("good", "bad", "good", "bad"):
        run, heard = ask(id_)
        assert store.find("latest") == store.find("my") == run.path
        assert cases(run) == [id_]
    assert heard.written == []
    assert "already done" in heard.notes[-1]


def test_the_same_call_twice_writes_nothing(ask, store):
    first, _ = ask("a", "b")
    second, heard = ask("b", "a")
    assert (second.path, heard.written) == (first.path, [])
    assert store.paths() == [first.path]


def test_another_suite_in_between_makes_a_new_run(ask, store):
    first, _ = ask("a")
    ask("x", suite="other")
    again, heard = ask("a")
    assert heard.written == []
    assert store.find("latest") == again.path != first.path
    assert again.records[0].reused_from == first.records[0].run


def test_fewer_cases_are_a_separate_run(ask):
    ask("a", "b")
    fewer, heard = ask("a")
    assert (cases(fewer), heard.written) == (["a"], [])


def test_fresh_measures_again(ask):
    first, _ = ask("a")
    second, heard = ask("a", fresh=True)
    assert (heard.written, second.path != first.path) == (["a"], True)


def test_an_interrupted_run_is_resumed(ask, store):
    with pytest.raises(KeyboardInterrupt):
        ask("a", "b", "c", stop_after=2)
    (partial,) = store.paths()
    run, heard = ask("a", "b", "c")
    assert (heard.started, heard.written) == ((3, 2), ["c"])
    assert run.stem == read(run.path).stem == partial.name.removesuffix(".partial.jsonl")


def test_a_resumed_run_is_the_latest(ask, store):
    with pytest.raises(KeyboardInterrupt):
        ask("a", "b", stop_after=1)
    ask("x", suite="other")
    run, heard = ask("a", "b")
    assert heard.written == ["b"]
    assert store.find("latest") == run.path


def test_an_interrupted_run_of_other_cases_is_left_alone(ask):
    with pytest.raises(KeyboardInterrupt):
        ask("a", "b", "c", stop_after=2)
    run, heard = ask("b", "c")
    assert heard.written == ["c"]
    assert cases(run) == ["b", "c"]


def test_a_run_never_mixes_results_of_several_judges(ask):
    ask("a", judges=("first",))
    _, heard = ask("a", "b", judges=("first",))
    assert heard.written == ["b"]
    _, heard = ask("a", "b", "c", judges=("second",))
    assert heard.written == ["a", "b", "c"]


def test_a_run_of_other_judges_is_not_resumed(ask, store):
    with pytest.raises(KeyboardInterrupt):
        ask("a", "b", stop_after=1, judges=("first",))
    (partial,) = store.paths()
    run, heard = ask("a", "b", judges=("second",))
    assert heard.written == ["a", "b"]
    assert run.stem != partial.name.removesuffix(".partial.jsonl")


def test_results_of_nodes_count_only_in_a_run_on_nodes(make_record):
    record = make_record(mse=0.1, case="a", environment="node").model_copy(update={"nodes": ("node-7",)})
    local = record.model_copy(update={"nodes": ()})
    one, many = (Origin("driver", "abc", elsewhere=elsewhere) for elsewhere in (False, True))
    assert [many.is_place_of(record), many.is_place_of(local)] == [True, False]
    assert not one.is_place_of(record)
    assert Origin("node", "abc").is_place_of(record)
