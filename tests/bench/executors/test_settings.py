"""The values that `--executor` and `executor:` in a suite accept."""

import pytest

from latentbench.bench.executors.settings import ExecutorSettings, chosen, parse
from latentbench.data.errors import LatentbenchError


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("rey", r"--executor: unknown executor 'rey'.*ray"),
        ("ray://head", r"address"),
        ({"name": "local", "gpus": 1}, "gpus has no effect on the executor local"),
        ({"name": "ray", "partition": "gpu"}, "partition has no effect on the executor ray"),
        ({"name": "slurm", "gpus": 0.5}, "Slurm, which shares no GPU"),
        ({"name": "ray", "gpus": 1.5}, "whole number or less than 1"),
        ({"name": "ray", "gpu_memory_gb": 40}, "gpu_memory_gb has no effect on workers without a GPU"),
        ({"name": "ray", "nodes": 3}, "nodes"),
    ],
)
def test_a_setting_without_effect_is_refused(given, message):
    with pytest.raises(LatentbenchError, match=message):
        parse(given, "--executor")


def test_the_option_replaces_the_address_of_the_suite():
    in_suite = parse({"name": "ray://a:1", "gpus": 0.25}, "my.yaml, executor")
    assert chosen("ray://b:2", None, in_suite) == parse({"name": "ray://b:2", "gpus": 0.25}, "")
    assert chosen("ray", None, in_suite) == ExecutorSettings(name="ray", gpus=0.25)


def test_another_executor_drops_the_settings_of_the_suite():
    in_suite = parse({"name": "ray", "gpus": 0.25, "shards": 3}, "my.yaml, executor")
    assert chosen("local", None, in_suite) == ExecutorSettings()
    assert chosen(None, 2, in_suite) == ExecutorSettings(name="ray", gpus=0.25, shards=2)
    assert chosen(None, None, None) == ExecutorSettings()
