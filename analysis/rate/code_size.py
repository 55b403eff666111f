"""The size of a code: its numbers and positions, and how they compare with the values of an image."""

from __future__ import annotations

import math

from latentbench.analysis.core.metric import define
from latentbench.analysis.core.registry import Measurement, analysis
from latentbench.analysis.core.subject import Subject
from latentbench.models.codes import positions

CODE_VALUES = define(
    "code_values",
    unit="values",
    better="neither",
    title="Number of values in the code of one image, over all channels and positions.",
    heading="code values",
    tolerance=0.0,
    decimals=0,
)
CODE_POSITIONS = define(
    "code_positions",
    unit="positions",
    better="neither",
    title="Number of positions of the code: 1 for a vector, whose latent analyses use whole codes; of a grid "
    "or tokens they use one position of each image.",
    heading="code positions",
    tolerance=0.0,
    decimals=0,
)
COMPRESSION = define(
    "compression",
    unit="",
    better="neither",
    title="Compression: values of an image for each number of its code.",
    heading="compression",
    tolerance=0.0,
    decimals=1,
)
DOWNSAMPLING = define(
    "downsampling",
    unit="",
    better="neither",
    title="Downsampling: pixels along a side of the image for each position along a side of the grid.",
    heading="downsampling",
    tolerance=0.0,
    decimals=1,
)
NO_GRID = "the code is no grid"


@analysis("code", [CODE_VALUES, CODE_POSITIONS, COMPRESSION, DOWNSAMPLING], passes=())
def code(subject: Subject) -> Measurement:
    """Measure the size of the code; all of it follows from the shapes of code and image."""
    shape, image_shape = subject.code_shape, subject.data.image_shape
    values = math.prod(shape)
    return Measurement(
        (
            CODE_VALUES.measured(values),
            CODE_POSITIONS.measured(positions(shape)),
            COMPRESSION.measured(math.prod(image_shape) / values),
            DOWNSAMPLING.measured(image_shape[1] / shape[1])
            if len(shape) == 3
            else DOWNSAMPLING.missing(NO_GRID),
        )
    )
