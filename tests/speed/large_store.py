"""Writes a large store, for measuring what commands take on one.

    python tests/speed/large_store.py FOLDER --runs 100 --records 1000

Each run has the same cases of suite `large`: VAEs of many widths at five seeds, with the first 40 metrics of
a VAE of the reference run. Values vary a little from run to run.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

from latentbench.bench.provenance.environment import environment_hash
from latentbench.bench.store.records.line import line_of
from latentbench.bench.store.records.recorded_model import RecordedModel
from latentbench.bench.store.run import read
from latentbench.bench.store.store import Store
from latentbench.bench.store.writer import checksum_of
from latentbench.models.zoo import model_spec

REFERENCE = Path(__file__).parents[2] / "results" / "reference"
ENVIRONMENT = {"cpu": "abacus"}
METRICS = 40
SEEDS = 5


def write(root: Path, runs: int, records: int) -> None:
    """Write the store; returns when all of its runs are finished."""
    store = Store(root)
    store.prepare()
    environment = environment_hash(ENVIRONMENT)
    store.remember_environment(environment, ENVIRONMENT)
    first = next(r for r in read(Store(REFERENCE).find("mnist")).records if r.model.family == "vae")
    template = first.model_copy(
        update={
            "schema_version": 3,
            "suite": "large",
            "environment": environment,
            "arrays": None,
            "metrics": first.metrics[:METRICS],
        }
    )
    draws = random.Random(0)
    cases = []
    for index in range(records):
        spec = RecordedModel.of(model_spec(family="vae", latent_dim=1 + index // SEEDS))
        case = {"model": spec, "model_label": spec.label, "model_series": spec.series}
        cases.append({**case, "case": f"{index:016x}", "seed": index % SEEDS})
    for number in range(runs):
        run_id = f"{number:06x}"
        name = f"202601{1 + number // 24:02d}T{number % 24:02d}0000Z-nocommit-{run_id}.jsonl"
        lines = []
        for case in cases:
            record = template.model_copy(update={"run": run_id, **case})
            content = json.loads(line_of(record))
            del content["digest"]
            for metric in content["metrics"]:
                if metric["value"] is not None:
                    metric["value"] *= 1 + draws.gauss(0, 0.002)
            lines.append(line_of(type(record).model_validate(content)))
        path = root / "runs" / "large" / name
        store.write_bytes(f"runs/large/{name}", b"".join(lines))
        store.write_bytes(f"runs/large/{name}.sha256", checksum_of(path.name, b"".join(lines)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--records", type=int, default=1000)
    given = parser.parse_args()
    write(given.folder, given.runs, given.records)
