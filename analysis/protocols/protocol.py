"""A protocol states each choice on which a published number depends; two protocols give two numbers.

`latentbench` is the one to state next to a number: the code's mean, and images of 8 bits. The others do what
published evaluation scripts of tokenizers do, including their slips, as read in their public code;
docs/protocols.md compares them.
"""

from __future__ import annotations

import hashlib
from typing import Literal

from pydantic import BaseModel, ConfigDict

from latentbench.data.registry import Registry

MetricName = Literal["psnr", "ssim", "lpips", "rfid"]
METRICS: tuple[MetricName, ...] = ("psnr", "ssim", "lpips", "rfid")
UNDER = "protocol_"
"""The beginning of the names of metrics that are measured by a protocol."""
Filter = Literal["bicubic", "bilinear", "bilinear without antialiasing", "halving then bicubic"]


class Protocol(BaseModel):
    """The choices of an evaluation. A field that lists metrics says for which of them something is done."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    resize: Filter = "bicubic"
    """The filter of the shorter side; `halving then bicubic` is the crop of guided-diffusion."""
    resize_values: Literal["8 bits", "float"] = "8 bits"
    """Pixels are rounded to 8 bits after they are resized, or kept as floats."""
    crop: Literal["center", "none"] = "center"
    code: Literal["mean", "sample"] = "mean"
    """The code that is decoded: the posterior's mean, or a seeded sample of it."""
    pixels_read_as: Literal["[0, 1]", "[-1, 1]"] = "[0, 1]"
    """The range that PSNR, SSIM and LPIPS take pixels in [0, 1] for; [-1, 1] is a slip."""
    clamped: tuple[MetricName, ...] = ()
    """Metrics for which reconstructions are clamped to [0, 1]."""
    rounded: tuple[MetricName, ...] = METRICS
    """Metrics for which images are rounded to 8 bits (and clamped)."""
    rounding: Literal["nearest", "down"] = "nearest"
    ssim_window: Literal["gaussian 11", "uniform 7"] = "gaussian 11"
    """11 taps with σ = 1.5 and population covariances, or 7 equal taps with sample covariances."""
    ssim_border: Literal["left out", "reflected"] = "left out"
    """Windows inside of the image only, or also those around its border, with the image mirrored there."""
    ssim_pixels: Literal["[0, 1]", "[-1, 1]"] = "[0, 1]"
    """The pixels that SSIM sees; its luminance term depends on where 0 is."""
    ssim_range: Literal["of the pixels", "of the values"] = "of the pixels"
    """The data range in SSIM's constants: that of possible pixels, or of the values in both images."""
    lpips_network: Literal["alex", "vgg"] = "alex"
    extractor: Literal["inception"] = "inception"
    extractor_input: Literal["torch-fidelity", "pytorch-fid"] = "torch-fidelity"
    """TensorFlow 1's resizing, or torch's bilinear one, to 299 pixels; and how pixels are centred."""
    reference: Literal["originals", "train images"] = "originals"
    """The images that reconstructions are compared with as a set."""
    averaged_by_batch: tuple[MetricName, ...] = ()
    """Metrics that are means of the means of batches; a last, smaller batch then weighs more."""
    batch: int = 1

    @property
    def sha256(self) -> str:
        """A hash of all choices: values of protocols with the same hash can be compared."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    def differences(self, other: Protocol, metric: MetricName) -> tuple[str, ...]:
        """Return the fields in which the two differ and on which a metric depends."""
        fields = (*COMMON, *OWN[metric])
        return tuple(name for name in fields if self._seen(name, metric) != other._seen(name, metric))

    def with_field(self, other: Protocol, field: str) -> Protocol:
        """Return this protocol with one field of another; what a batch is belongs to the averaging."""
        names = ("averaged_by_batch", "batch") if field == "averaged_by_batch" else (field,)
        return self.model_copy(update={name: getattr(other, name) for name in names})

    def _seen(self, name: str, metric: MetricName) -> object:
        """Return a field as the metric sees it: whether it is in a list, not what else is."""
        value = getattr(self, name)
        if name == "averaged_by_batch":
            return metric in value and self.batch
        return metric in value if isinstance(value, tuple) else value


COMMON = ("resize", "resize_values", "crop", "code", "clamped", "rounded", "rounding")
PER_IMAGE = ("pixels_read_as", "averaged_by_batch")
OWN: dict[MetricName, tuple[str, ...]] = {
    "psnr": PER_IMAGE,
    "ssim": (*PER_IMAGE, "ssim_window", "ssim_border", "ssim_pixels", "ssim_range"),
    "lpips": (*PER_IMAGE, "lpips_network"),
    "rfid": ("extractor", "extractor_input", "reference"),
}
"""The fields that each metric depends on, besides the common ones."""


def network_of(metric: MetricName, protocol: Protocol) -> str | None:
    """Return the name of the network that a metric needs; None if it needs none.

    >>> network_of("lpips", Protocol()), network_of("psnr", Protocol())
    ('lpips:alex', None)
    """
    return {"lpips": f"lpips:{protocol.lpips_network}", "rfid": protocol.extractor}.get(metric)


PROTOCOLS: Registry[Protocol] = Registry("protocol")


def _protocol(name: str, protocol: Protocol) -> Protocol:
    return PROTOCOLS.register(name)(protocol)


LATENTBENCH = _protocol("latentbench", Protocol())
_protocol(
    "va-vae",  # hustvl/LightningDiT, evaluate_tokenizer.py
    Protocol(
        resize="bilinear",
        resize_values="float",
        code="sample",
        clamped=("psnr", "ssim", "rfid"),
        rounded=("psnr", "rfid"),
        ssim_border="reflected",
        ssim_pixels="[-1, 1]",
        lpips_network="vgg",
        extractor_input="pytorch-fid",
        averaged_by_batch=("ssim", "lpips"),
        batch=8,
    ),
)
_protocol(
    "eq-vae",  # zelaki/eqvae, eval.py
    Protocol(
        resize="bilinear",
        resize_values="float",
        code="sample",
        clamped=("psnr", "rfid"),
        rounded=("psnr", "rfid"),
        ssim_border="reflected",
        ssim_pixels="[-1, 1]",
        ssim_range="of the values",
        lpips_network="vgg",
        extractor_input="pytorch-fid",
    ),
)
_protocol(
    "seed-voken",  # TencentARC/SEED-Voken, evaluation_image.py
    Protocol(
        resize="bilinear without antialiasing",
        clamped=METRICS,
        rounded=("psnr", "ssim"),
        rounding="down",
        ssim_window="uniform 7",
        extractor_input="pytorch-fid",
        averaged_by_batch=("psnr", "ssim"),
        batch=4,
    ),
)
_protocol(
    "dc-ae",  # mit-han-lab/efficientvit, aecore/evaluator.py
    Protocol(
        resize="halving then bicubic",
        clamped=METRICS,
        rounded=METRICS,
        ssim_border="reflected",
        extractor_input="pytorch-fid",
    ),
)
_protocol(
    "ifid",  # tongdaxu/Making-rFID-Predictive-of-Diffusion-gFID, evalvae.py
    Protocol(
        resize="bilinear",
        pixels_read_as="[-1, 1]",
        rounded=(),
        extractor_input="pytorch-fid",
        averaged_by_batch=("psnr", "ssim", "lpips"),
        batch=25,
    ),
)


def network_behind(metric: str) -> str | None:
    """Return the network of a metric by its name, if a protocol that is known here decides on it.

    >>> network_behind("protocol_lpips (va-vae)"), network_behind("protocol_psnr (va-vae)")
    ('lpips:vgg', None)
    """
    base, _, name = metric.partition(" (")
    name = name.removesuffix(")")
    if not base.startswith(UNDER) or name not in PROTOCOLS:
        return None
    known = next((each for each in METRICS if each == base.removeprefix(UNDER)), None)
    return None if known is None else network_of(known, PROTOCOLS[name])
