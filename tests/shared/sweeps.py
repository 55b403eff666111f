"""A sweep of 24 small cases, run on an executor or in this process."""

from rich.console import Console

from latentbench.bench.cli.progress import Lines
from latentbench.bench.run import suite as suites
from latentbench.bench.run.runner import Options, run_suite
from latentbench.bench.store.store import Store

SWEEP = """
description: small cases
data: digits
seeds: 4
analyses: [likelihood, code]
recipe: {epochs: 5}
models: [{family: pca, latent_dim: [2, 3, 4]}, {family: ae, latent_dim: [2, 3, 4], hidden: 16}]
"""


class Watcher(Lines):
    """Does something once, when so many steps of stages are done; prints as `latentbench run` does."""

    def __init__(self, after=None, act=None):
        super().__init__(Console(width=110))
        self.left, self.act = after, act

    def stage_advanced(self, label):
        if self.left is not None:
            self.left -= 1
            if self.left == 0:
                self.act()


def values(run):
    """Everything of a run's records that does not depend on the machine; cases finish in any order."""
    return {
        record.case: (record.weights, [(each.name, each.value, each.se, each.n) for each in record.metrics])
        for record in run.records
    }


def run(home, store, executor, watcher=None):
    loaded = suites.load(str(home / "my.yaml"))
    options = Options(device="cpu", executor=executor)
    return run_suite(loaded, Store(home / store), options, watcher or Watcher())


def run_here(home, **more):
    """The same suite in this process, without the models of other runs."""
    loaded = suites.load(str(home / "my.yaml"))
    options = Options(device="cpu", this_process=True, use_cache=False, **more)
    return run_suite(loaded, Store(home / "here"), options, Watcher())
