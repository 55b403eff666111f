"""The settings of an executor: the option `--executor`, and `executor:` in a suite file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from latentbench.data.errors import LatentbenchError
from latentbench.data.registry import unknown
from latentbench.data.text.validation import validated

NAMES = ("local", "ray", "slurm")
CLIENT = "ray://"
MEMORY_GB = 8.0
"""The main memory of a worker if the settings do not state it."""


class ExecutorSettings(BaseModel):
    """An executor and what it gives a worker. Nothing here changes the identity of a case."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Literal["local", "ray", "slurm"] = "local"
    address: Annotated[str, Field(pattern=r"^ray://[^/\s:]+:\d{1,5}$")] | None = None
    """A Ray cluster elsewhere, `ray://HOST:PORT`; None: the cluster of this machine or of $RAY_ADDRESS."""
    shards: Annotated[int, Field(ge=1)] = 1
    """The number of workers that share the pass over the test images of one model."""
    cpus: Annotated[int, Field(ge=1)] = 1
    """CPUs of a worker; it runs as many threads."""
    gpus: Annotated[float, Field(ge=0)] = 0
    """GPUs of a worker; a fraction such as 0.25 lets workers share one."""
    memory_gb: Annotated[float, Field(gt=0)] | None = None
    """Main memory of a worker. None: a Slurm job asks for 8 GB, and a Ray task for none in particular."""
    gpu_memory_gb: Annotated[float, Field(gt=0)] | None = None
    """Memory of a GPU that a worker may use, half of which is for a stack of models; None: ask a worker."""
    timing_on: str | None = None
    """Nodes on which timings run: a Ray resource such as `accelerator_type:H100`, or a Slurm constraint."""
    partition: str | None = None
    """The partition of Slurm jobs."""
    jobs: Annotated[int, Field(ge=1)] = 64
    """The highest number of Slurm jobs; cases are grouped so that no more are needed."""
    minutes_per_case: Annotated[float, Field(gt=0)] = 10
    """The time that a stage of a case takes at most, from which a Slurm job's wall time follows."""
    cluster: Literal["slurm", "local", "debug"] = "slurm"
    """The way submitit runs jobs: by Slurm, as processes of this machine, or in this process."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        """Refuse settings that have no effect."""
        allowed = {
            "local": {"shards"},
            "ray": {"address", "shards", "cpus", "gpus", "memory_gb", "gpu_memory_gb", "timing_on"},
            "slurm": set(type(self).model_fields) - {"address"},
        }[self.name]
        for setting in sorted(self.model_fields_set - {"name"} - allowed):
            raise ValueError(f"{setting} has no effect on the executor {self.name}; leave it out")
        if self.gpu_memory_gb is not None and not self.gpus:
            raise ValueError("gpu_memory_gb has no effect on workers without a GPU; add gpus")
        if self.gpus > 1 and self.gpus != int(self.gpus):
            raise ValueError(f"gpus must be a whole number or less than 1, got {self.gpus:g}")
        if self.name == "slurm" and self.gpus != int(self.gpus):
            raise ValueError(f"gpus must be a whole number for Slurm, which shares no GPU, got {self.gpus:g}")
        return self

    @property
    def memory_bytes(self) -> int:
        """The main memory of a worker, as far as it is stated."""
        return int(1e9 * (self.memory_gb or MEMORY_GB))

    @property
    def is_remote(self) -> bool:
        """True if units may run on other machines."""
        return self.name != "local"


def parse(given: str | Mapping[str, Any], where: str) -> ExecutorSettings:
    """Return the settings of `local`, `ray`, `ray://HOST:PORT`, `slurm`, or a mapping with a `name`.

    Raises LatentbenchError.

    >>> parse("ray://head:10001", "--executor").address
    'ray://head:10001'
    """
    content = dict(given) if isinstance(given, Mapping) else {"name": given}
    name = str(content.get("name", "local"))
    if name.startswith(CLIENT):
        content |= {"name": "ray", "address": name}
    elif name not in NAMES:
        raise LatentbenchError(f"{where}: {unknown('executor', name, [*NAMES, 'ray://HOST:PORT'])}")
    return validated(ExecutorSettings, content, where)


def chosen(option: str | None, shards: int | None, in_suite: ExecutorSettings | None) -> ExecutorSettings:
    """Return the suite's settings as the options of the command line change them.

    Settings of another executor than the one that `--executor` names are dropped.
    """
    content: dict[str, Any] = in_suite.model_dump(exclude_unset=True) if in_suite else {}
    if option is not None:
        named = parse(option, "--executor")
        own = content if named.name == content.get("name", "local") else {}
        content = {key: value for key, value in own.items() if key != "address"}
        content |= named.model_dump(exclude_unset=True)
    if shards is not None:
        content["shards"] = shards
    return validated(ExecutorSettings, content, "--executor")
