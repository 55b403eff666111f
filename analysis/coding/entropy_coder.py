"""An entropy coder for integers whose distribution was fitted to train codes.

One channel of a code has one distribution: a histogram with a Dirichlet prior, whose mean is a discretised
Gaussian. Where the train codes are many, the histogram decides, and where they are few, the Gaussian. The
weight of the prior is the one that makes the train codes most probable (empirical Bayes). Integers outside
of the histogram are written as they are, after an escape. The coder is that of `constriction` (asymmetric
numeral systems; Bamler 2022, arXiv:2201.01741).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int32]
Floats = NDArray[np.float64]

LARGEST_HISTOGRAM = 2**14
"""Values in a histogram; what lies outside is escaped."""
UNIFORM_SHARE = 1e-3
"""The part of the prior's mean that is uniform, so that a value never seen costs a bounded number of bits."""
ESCAPE_SHARE = 1e-5
WEIGHTS = tuple(10.0**power for power in range(0, 7))
"""The weights of the prior that are tried, in train codes."""
WORD, ESCAPED = np.dtype("<u4"), np.dtype("<i4")


@dataclass(frozen=True, eq=False)
class Distribution:
    """The probabilities of the integers `low`, `low` + 1, …, and of the escape, which is the last."""

    low: int
    probabilities: Floats

    @classmethod
    def fitted(cls, values: Integers, *, deviation: float) -> Distribution:
        """Fit to integers `[N]`; the prior is N(0, deviation²). With deviation 0 it is uniform."""
        low, high = _range(values)
        size = high - low + 1
        inside = values[(values >= low) & (values <= high)]
        counts: Floats = np.append(np.bincount(inside - low, minlength=size), len(values) - len(inside)) * 1.0
        return cls(low, _posterior(counts, _prior(low, size, deviation)))

    @classmethod
    def of_choices(cls, values: Integers, size: int) -> Distribution:
        """Fit to choices 0 … size − 1, `[N]`; the prior is uniform and nothing is ever escaped."""
        counts: Floats = np.append(np.bincount(values, minlength=size), 0) * 1.0
        return cls(0, _posterior(counts, np.append(np.full(size, (1 - ESCAPE_SHARE) / size), ESCAPE_SHARE)))

    @property
    def escape(self) -> int:
        """The place of the escape."""
        return len(self.probabilities) - 1

    def places(self, values: Integers) -> Integers:
        """Return the places of integers in `probabilities`, that of the escape if they have none."""
        places = values.astype(np.int64) - self.low
        return np.where((places >= 0) & (places < self.escape), places, self.escape).astype(np.int32)

    def bits(self, values: Integers) -> Floats:
        """Return −log₂ of the probability of each value, and 32 bits more for one that is escaped."""
        places = self.places(values)
        escaped = places == self.escape
        bits: Floats = -np.log2(self.probabilities)[places] + 8 * ESCAPED.itemsize * escaped
        return bits


def _range(values: Integers) -> tuple[int, int]:
    """Return the ends of the histogram: those of the values and a margin, as far as it may reach."""
    low, high = int(values.min()), int(values.max())
    margin = 8 + (high - low) // 4
    centre = int(np.median(values))
    half = LARGEST_HISTOGRAM // 2
    return max(low - margin, centre - half), min(high + margin, centre + half - 1)


def _prior(low: int, size: int, deviation: float) -> Floats:
    """Return the mean of the prior, `[size + 1]`, the escape last; it sums to 1."""
    uniform = np.full(size, 1 / size)
    mass = uniform
    if deviation > 0:
        from scipy.special import ndtr  # slow to import

        edges = (np.arange(size + 1) + low - 0.5) / deviation
        gaussian = np.diff(ndtr(edges))
        mass = (1 - UNIFORM_SHARE) * gaussian / max(gaussian.sum(), 1e-300) + UNIFORM_SHARE * uniform
    return np.append(mass / mass.sum() * (1 - ESCAPE_SHARE), ESCAPE_SHARE)


def _posterior(counts: Floats, prior: Floats) -> Floats:
    """Return the expected probabilities, with the weight of the prior that has the highest evidence."""
    weight = max(WEIGHTS, key=lambda weight: _log_evidence(counts, weight * prior))
    posterior: Floats = (counts + weight * prior) / (counts.sum() + weight)
    return posterior


def _log_evidence(counts: Floats, prior: Floats) -> float:
    """Return the log-probability of the counts under a Dirichlet prior, up to a constant."""
    from scipy.special import gammaln  # slow to import

    seen = counts > 0
    terms = gammaln(counts[seen] + prior[seen]) - gammaln(prior[seen])
    total = prior.sum()
    return float(terms.sum() + gammaln(total) - gammaln(total + counts.sum()))


def encode(channels: Sequence[Integers], distributions: Sequence[Distribution]) -> bytes:
    """Write the integers of all channels, `[N]` each, as one file.

    It is the number of escaped values, those values, and the words of the coder.
    """
    from constriction import stream

    coder, escaped = stream.stack.AnsCoder(), [np.zeros(0, np.int32)]
    # The coder is a stack: what is written last is read first.
    for values, distribution in reversed(list(zip(channels, distributions, strict=True))):
        places = distribution.places(values)
        coder.encode_reverse(places, stream.model.Categorical(distribution.probabilities, perfect=False))
        escaped.append(values[places == distribution.escape])
    raw = np.concatenate(escaped[::-1])
    header = np.array([len(raw)])
    return b"".join(
        part.astype(kind).tobytes()
        for part, kind in ((header, WORD), (raw, ESCAPED), (coder.get_compressed(), WORD))
    )


def decode(content: bytes, counts: Sequence[int], distributions: Sequence[Distribution]) -> list[Integers]:
    """Read the integers of all channels, of which there are `counts`, from a file of `encode`."""
    from constriction import stream

    escapes = int(np.frombuffer(content, WORD, count=1)[0])
    raw = np.frombuffer(content, ESCAPED, count=escapes, offset=WORD.itemsize)
    words = np.frombuffer(content, WORD, offset=WORD.itemsize * (1 + escapes))
    coder = stream.stack.AnsCoder(words.astype(np.uint32))
    channels, read = [], 0
    for count, distribution in zip(counts, distributions, strict=True):
        places = coder.decode(stream.model.Categorical(distribution.probabilities, perfect=False), count)
        values, escaped = places + distribution.low, places == distribution.escape
        here = int(escaped.sum())
        values[escaped] = raw[read : read + here]
        read += here
        channels.append(values.astype(np.int32))
    return channels
