"""The metrics of analysis `latent_health`."""

from __future__ import annotations

from latentbench.analysis.core.metric import define
from latentbench.analysis.health.equivariance import TRANSFORMS
from latentbench.analysis.health.noise import SIGMAS

SCALING_FACTOR = define(
    "scaling_factor",
    better="neither",
    title="Scaling factor: 1 / the standard deviation over all values of the codes.",
    heading="scaling",
    decimals=5,
)
SHIFT_FACTOR = define(
    "shift_factor",
    better="neither",
    title="Shift factor: the mean over all values of the codes.",
    heading="shift",
    decimals=4,
)
SCALING_IMAGES = define(
    "scaling_images",
    unit="images",
    better="neither",
    title="Number of images after which the standard error of the scaling factor is 1 % of it.",
    heading="images for scaling",
    tolerance=0.2,
    decimals=0,
)
SHIFT_IMAGES = define(
    "shift_images",
    unit="images",
    better="neither",
    title="Number of images after which the shift factor's standard error is 1 % of one standard deviation.",
    heading="images for shift",
    tolerance=0.2,
    decimals=0,
)
CHANNEL_OFFSET = define(
    "channel_offset",
    unit="deviations",
    better="lower",
    title="Largest distance of a channel's mean from the mean over all values, in their standard deviation.",
    heading="channel offset",
)
CHANNEL_RANGE = define(
    "channel_range",
    better="lower",
    title="Largest over smallest standard deviation of a channel, without constant ones.",
    heading="channel range",
    decimals=2,
)
CONSTANT_CHANNELS = define(
    "constant_channels",
    unit="channels",
    better="lower",
    title="Number of channels of the code that are the same for all images and positions.",
    heading="constant channels",
    tolerance=0.0,
    decimals=0,
)
PARTICIPATION_RATIO = define(
    "participation_ratio",
    unit="dimensions",
    better="neither",
    title="Participation ratio (Σλ)² / Σλ² of the channels' covariance: its effective number of dimensions.",
    heading="participation",
    decimals=2,
)
SLOPE_IMAGES = define(
    "spectral_slope_images",
    better="neither",
    title="Slope of the log power of test images against log frequency, from one cycle per side to Nyquist.",
    heading="slope of images",
    decimals=2,
)
SLOPE_CODES = define(
    "spectral_slope_codes",
    better="neither",
    title="Slope of the log power of grid codes against log frequency, from one cycle per side to Nyquist.",
    heading="slope of codes",
    decimals=2,
)
EQUIVARIANCE = {
    name: define(
        f"equivariance_{name}",
        better="lower",
        title=f"Equivariance error of {transform.title}: ‖E(Tx) − T E(x)‖² / ‖E(x) − mean‖².",
        heading=f"equivariance {name}",
    )
    for name, transform in TRANSFORMS.items()
}
NOISE = {
    sigma: define(
        f"noise_mse_{round(100 * sigma):03}",
        better="lower",
        title=f"Mean squared change of decoded images by noise of {sigma} deviations of each channel.",
        heading=f"noise {sigma}",
        decimals=5,
    )
    for sigma in SIGMAS
}
FRECHET_RECONSTRUCTION = define(
    "frechet_reconstruction",
    better="lower",
    title="Fréchet distance of reconstructions to the test images (rFID), in the judges' features.",
    heading="Fréchet reconstruction",
    decimals=1,
)
FRECHET_INTERPOLATION = define(
    "frechet_interpolation",
    better="lower",
    title="Fréchet distance of decoded midpoints of nearest codes to the test images (iFID), in the judges' "
    "features.",
    heading="Fréchet interpolation",
    decimals=1,
)
FRECHET = (FRECHET_RECONSTRUCTION, FRECHET_INTERPOLATION)
SCALE = (SCALING_FACTOR, SHIFT_FACTOR, SCALING_IMAGES, SHIFT_IMAGES)
CHANNELS = (CHANNEL_OFFSET, CHANNEL_RANGE, CONSTANT_CHANNELS, PARTICIPATION_RATIO)
