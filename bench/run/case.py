"""A case: one model, on one data set, by one recipe, from one seed. Its id is a hash of only these."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from latentbench.bench.run.suite import Suite
from latentbench.bench.store.records.record import DataReference, FeatureReference
from latentbench.data.images import ImageData
from latentbench.models.source_code.hashes import family_code
from latentbench.models.spec import ModelSpec
from latentbench.models.training.recipe import Recipe
from latentbench.models.zoo import Training


@dataclass(frozen=True)
class Case:
    """One line of the results: a model to train and measure."""

    spec: ModelSpec
    data: DataReference
    recipe: Recipe
    seed: int
    analyses: tuple[str, ...]
    """The analyses; not part of the id, since they do not change what is trained."""
    features: tuple[FeatureReference, ...] = ()
    """The networks in whose features images are compared; not part of the id either."""

    @property
    def id(self) -> str:
        """The first 16 hex digits of the sha256 of the canonical JSON, equal on every machine.

        It describes the model and not its code: a case is compared with itself across versions of the code.
        """
        content = {
            "spec": self.spec.model_dump(exclude_none=True, exclude={"code_sha256"}),
            "data": self.data.fingerprint,
            "recipe": self.recipe.model_dump(),
            "seed": self.seed,
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def family_code(self) -> str | None:
        """A hash of the installed package that defines the model's family; None for our own families."""
        return family_code(self.spec.family)

    @property
    def training(self) -> Training:
        """The training of the model, except for the data."""
        return Training(self.spec, self.recipe, self.seed)

    @property
    def label(self) -> str:
        """The model's label and the seed."""
        return f"{self.spec.label} (seed {self.seed})"


def cases(
    suite: Suite, data: ImageData, seeds: Sequence[int], features: tuple[FeatureReference, ...] = ()
) -> list[Case]:
    """Return every model of a suite for every seed, seed by seed: an interrupted run has complete seeds."""
    reference = DataReference(
        name=data.name,
        fingerprint=data.fingerprint,
        train=0 if data.test_only else len(data.train),
        test=len(data.test),
    )
    return [
        Case(entry.spec, reference, entry.recipe, seed, suite.analyses, features)
        for seed in seeds
        for entry in suite.entries
    ]
