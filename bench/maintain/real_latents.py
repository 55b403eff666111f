"""Measures two public sets of real latents of one tokenizer: the table in docs/latent_space.md.

    python -m latentbench.bench.maintain.real_latents FOLDER docs/latent_space.md

FOLDER has `f16d32.npy` and `f16d32_vf_dinov2.npy`, float32 `[10000, 32]` each: one random position of the
grid of each of 10,000 ImageNet images, by a plain VAE and by one aligned with DINOv2, from the repository
hustvl/LightningDiT (MIT licence). The files are not part of this project. Takes about five minutes, most of
them for t-SNE.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from latentbench.analysis.health.code_statistics import participation
from latentbench.analysis.latent.dead_zones import Gap, MassEstimate, beyond_null, null_gaps
from latentbench.analysis.latent.density_gaps import POINTS
from latentbench.analysis.latent.density_uniformity import Uniformity, kernel_density, t_sne, uniformity
from latentbench.analysis.latent.intrinsic_dimension import two_nn
from latentbench.analysis.latent.overlap import evaluation_error, network_score, overlap_coverage
from latentbench.analysis.statistics.intervals import NORMAL_95
from latentbench.analysis.statistics.moments import Whitening, moment_matched
from latentbench.bench.text import markdown
from latentbench.data.errors import LatentbenchError
from latentbench.data.text import numbers
from latentbench.models.seeds import generator

BLOCK = "real latents"
FILES = {"plain": "f16d32.npy", "aligned": "f16d32_vf_dinov2.npy"}
NORMAL = "N(0, I)"
"""The column of a standard normal of as many points and dimensions."""


@dataclass(frozen=True)
class Health:
    """The measures of one set of latents."""

    without_null: MassEstimate
    """Version 1 of the dead zone."""
    dead_zone: MassEstimate
    white_dead_zone: MassEstimate
    """The present dead zone of the latents in white coordinates, where channels are not correlated."""
    leak: MassEstimate
    overlap_of_network: MassEstimate
    """Version 1 of the overlap: one small network, learned on half and evaluated on half."""
    overlap: MassEstimate
    participation: MassEstimate
    dimension: float
    uniformity: Uniformity

    @property
    def cells(self) -> dict[str, str]:
        """The values by what they measure, as text."""
        return {
            "dead zone without a null (version 1)": _with_error(self.without_null),
            "`dead_zone_moment` (version 3)": _with_error(self.dead_zone),
            "the same in white coordinates": _with_error(self.white_dead_zone),
            "`leak_moment`": _with_error(self.leak),
            "overlap by one small network (version 1)": _with_error(self.overlap_of_network),
            "`overlap_moment` (version 3)": _with_error(self.overlap),
            "`participation_ratio`": _with_error(self.participation),
            "`intrinsic_dimension` (two nearest neighbours)": f"{self.dimension:.1f}",
            "`t_sne_density_cv` (depends on t-SNE)": f"{self.uniformity.cv:.3f}",
            "`t_sne_density_entropy` (depends on t-SNE)": f"{self.uniformity.entropy:.4f}",
            "`t_sne_density_gini` (depends on t-SNE)": f"{self.uniformity.gini:.3f}",
        }


def _with_error(estimate: MassEstimate) -> str:
    return numbers.with_error(estimate.value, NORMAL_95 * estimate.se)


def measure(codes: Tensor) -> Health:
    """Measure latents `[N, D]` next to draws of the Gaussian with their moments."""
    noise = torch.randn(codes.shape, generator=torch.Generator().manual_seed(0))
    draws = moment_matched(codes, noise)
    gap = Gap.of(codes, draws)
    white = Whitening.of(codes)(codes).float()
    return Health(
        gap.dead_zone(),
        beyond_null(gap, null_gaps(codes, draws)),
        beyond_null(Gap.of(white, noise), null_gaps(white, noise)),
        gap.leak(),
        _overlap_of_network(codes, draws),
        overlap_coverage(codes, draws),
        participation(codes),
        two_nn(codes[:POINTS]),
        uniformity(kernel_density(t_sne(codes))),
    )


def _overlap_of_network(codes: Tensor, draws: Tensor) -> MassEstimate:
    half = len(codes) // 2
    score = network_score(codes[:half], draws[:half], 0)
    hits, false_alarms = (float((score(z[half:]) > 0).double().mean()) for z in (codes, draws))
    return MassEstimate(1 - (hits - false_alarms), evaluation_error(hits - false_alarms, len(codes) - half))


def load(folder: Path) -> dict[str, Tensor]:
    """Read the latents by name. Raises LatentbenchError for a file that is missing or not `[N, D]`."""
    found = {}
    for name, file in FILES.items():
        path = folder / file
        try:
            array = np.load(path)
        except (OSError, ValueError) as error:
            raise LatentbenchError(f"{path}: no latents: {error}") from None
        if array.ndim != 2:
            raise LatentbenchError(f"{path}: expected latents [N, D], got {list(array.shape)}")
        found[name] = torch.from_numpy(array.astype(np.float32))
    return found


def table(found: Mapping[str, Health]) -> str:
    """Return a row for each measure and a column for each set."""
    columns = [each.cells for each in found.values()]
    rows = [[measure, *(cells[measure] for cells in columns)] for measure in columns[0]]
    return markdown.table(["measure", *found], rows, align="lr")


def study(folder: Path) -> str:
    """Measure both files and a standard normal of the same size."""
    latents = load(folder)
    shape = next(iter(latents.values())).shape
    latents[NORMAL] = torch.randn(shape, generator=generator(0, "real latents"))
    content = table({name: measure(codes) for name, codes in latents.items()})
    return f"{content}\n\n{shape[0]:,} latents of {shape[1]} channels each; ± is half of a 95 % interval."


def main() -> None:
    """Measure the latents in a folder and rewrite the block in a page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("page", type=Path)
    arguments = parser.parse_args()
    try:
        content = study(arguments.folder)
        text = markdown.with_blocks(
            arguments.page.read_text(encoding="utf-8"), {BLOCK: content}, arguments.page.name
        )
    except LatentbenchError as error:
        sys.exit(str(error))
    arguments.page.write_text(text, encoding="utf-8")
    sys.stdout.write(content + "\n")


if __name__ == "__main__":
    main()
