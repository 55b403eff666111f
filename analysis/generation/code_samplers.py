"""Draws of codes that are decoded into images: of the prior, of densities fitted to the codes, of the data.

A model that cannot generate from one density may be able to from another (Ghosh et al. 2020,
arXiv:1903.12436): every measure of samples belongs to a model and a sampler.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from functools import reduce
from operator import add

import torch
from torch import Tensor

from latentbench.analysis.core.data_context import BATCH
from latentbench.analysis.core.metric import Unmeasurable, finite
from latentbench.analysis.core.subject import Subject
from latentbench.analysis.flow.recipe import recipe_for
from latentbench.analysis.flow.stored_flows import flow_of
from latentbench.analysis.flow.train_flow import TrainedFlow
from latentbench.analysis.statistics.moments import Moments, Whitening, moment_matched
from latentbench.analysis.stored.samplers import FLOW
from latentbench.data.registry import Registry
from latentbench.data.storage.temporary_file import room_for_codes
from latentbench.models.codes import by_position, from_positions
from latentbench.models.protocols import DiscreteAutoencoder, Posterior
from latentbench.models.seeds import derive, numpy_seed
from latentbench.models.training.history import Diverged

NO_PRIOR = "this code is not trained to follow a prior; see the sampler `moment`"
"""The reason why a model has no samples of `prior`: dividing its code by a number would change them."""
COMPONENTS = 10
FITTED = 10_000
"""The number of codes to which a mixture is fitted."""
FEWEST = 10 * COMPONENTS
FLOW_VALUES = 100_000_000
"""The number of values of the codes that a flow is trained on, at most: all of MNIST's pixels and more."""
DISCRETE = "the code is discrete: a flow is a density of continuous codes"
NO_MIXTURE = "the code is a grid or tokens: a mixture is fitted to vectors"


Draw = Callable[[Subject, int], Tensor]
"""`draw(subject, count)` returns independent codes `[count, *shape]`, or raises Unmeasurable."""
DRAWS: Registry[Draw] = Registry("sampler")


@DRAWS.register("prior")
def prior(subject: Subject, count: int) -> Tensor:
    """Draws of N(0, I), which the codes are trained to follow; uniform ones of discrete codes.

    Raises Unmeasurable for a code that is trained to follow no prior: its scale is arbitrary.
    """
    if isinstance(subject.model, DiscreteAutoencoder):
        return uniform_codes(subject, subject.model, count)
    if not subject.has_prior:
        raise Unmeasurable(NO_PRIOR)
    return _noise(subject, "prior", count)


@torch.inference_mode()
def uniform_codes(subject: Subject, model: DiscreteAutoencoder, count: int) -> Tensor:
    """Draw codes whose every position is uniform over its values, `[count, D]`, on the CPU."""
    draws = subject.generator("sample prior")
    positions = [torch.randint(size, (count,), generator=draws) for size in model.code_sizes]
    indices = torch.stack(positions, dim=1).to(subject.context.device)
    return torch.cat([model.codes(batch).float().cpu() for batch in indices.split(BATCH)])


@DRAWS.register("moment")
def moment(subject: Subject, count: int) -> Tensor:
    """Draw from the Gaussian with the codes' first two moments.

    The positions of a grid are drawn independently, from the mean and covariance of its channels over all
    positions: whole grids have more covariances than there are images to estimate them from.
    """
    codes, noise = finite(subject.code_samples), _noise(subject, "moment", count)
    if codes.ndim == 2:
        return moment_matched(codes, noise)
    moments = reduce(add, (Moments.of(by_position(part).flatten(0, 1)) for part in codes.split(BATCH)))
    for part in noise.split(BATCH):  # in place: a second set of large codes may not fit
        part.copy_(from_positions(moments.draws(by_position(part)), subject.code_shape))
    return noise


@DRAWS.register("gmm10")
def gmm10(subject: Subject, count: int) -> Tensor:
    """Draw from a mixture with full covariances: the ex-post density of Ghosh et al. 2020."""
    codes = finite(subject.code_samples[:FITTED])
    if codes.ndim > 2:
        raise Unmeasurable(NO_MIXTURE)
    if len(codes) < FEWEST:
        raise Unmeasurable(f"fewer than {FEWEST} codes to fit a mixture to")
    whitening = Whitening.of(codes)
    if not whitening.forward.numel():
        raise Unmeasurable("the codes are all the same")
    white = whitening(codes)
    available, dimensions = white.shape
    if available < COMPONENTS * (dimensions + 1):  # with fewer, covariances have no full rank
        raise Unmeasurable(f"{available} codes are too few for {COMPONENTS} covariances in {dimensions}-D")
    weights, means, factors = fit_mixture(white, seed=derive(subject.seed, "mixture"))
    draws = subject.generator("sample gmm10")
    chosen = torch.multinomial(weights, count, replacement=True, generator=draws)
    noise = torch.randn(count, means.shape[1], generator=draws, dtype=torch.float64)
    drawn = means[chosen] + torch.einsum("nij,nj->ni", factors[chosen], noise)
    return whitening.undo(drawn).to(codes.dtype)


@DRAWS.register(FLOW)
def flow(subject: Subject, count: int) -> Tensor:
    """Draw from a rectified flow that is trained on the codes of the train images, with a fixed budget."""
    drawn = subject.once(_drawn_from_flow)
    if count not in drawn:
        drawn[count] = learned_flow(subject).flow.sample(_noise(subject, "flow", count))
    return drawn[count]


def _drawn_from_flow(subject: Subject) -> dict[int, Tensor]:  # noqa: ARG001 - the key is the subject
    """Return the codes that were drawn already, by their number: each costs 64 evaluations of a network."""
    return {}


def learned_flow(subject: Subject) -> TrainedFlow:
    """Return the flow of a model's codes, from the cache where it is there.

    Raises Unmeasurable for codes without a density to learn, and for a flow that diverged.
    """
    outcome = subject.once(_flow_or_reason)
    if isinstance(outcome, Unmeasurable):
        raise outcome
    return outcome


def _flow_or_reason(subject: Subject) -> TrainedFlow | Unmeasurable:
    try:
        codes = flow_codes(subject)
        seed = derive(subject.seed, "flow")
        return flow_of(codes, recipe_for(subject.code_shape), seed=seed, device=subject.context.device)
    except Unmeasurable as reason:
        return reason
    except Diverged as diverged:
        return Unmeasurable(f"the flow diverged: {diverged}")


def flow_codes(subject: Subject) -> Posterior:
    """Return q(z | x) of the train images that a flow is trained on: all, or fewer if codes are large.

    Raises Unmeasurable for codes without a density to learn.
    """
    if isinstance(subject.model, DiscreteAutoencoder):
        raise Unmeasurable(DISCRETE)
    kept = max(1, FLOW_VALUES // math.prod(subject.code_shape))
    codes = subject.encode(subject.data.train.images[:kept])
    for values in (codes.mean, codes.log_var):
        if values is not None:
            finite(values)
    if len(codes.mean) < FEWEST:
        raise Unmeasurable(f"fewer than {FEWEST} codes to train a flow on")
    if not bool((codes.mean != codes.mean[:1]).any()) and codes.log_var is None:
        raise Unmeasurable("the codes are all the same")
    return codes


@DRAWS.register("posterior")
def posterior(subject: Subject, count: int) -> Tensor:
    """Codes of train images, one draw of q(z | x) each.

    There are fewer than `count` if there are fewer images.
    """
    return subject.code_samples[:count]


def fit_mixture(points: Tensor, *, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Fit `COMPONENTS` Gaussians with full covariances to white points `[N, D]`.

    Returns weights `[K]`, means `[K, D]` and factors L of the covariances L Lᵀ `[K, D, D]`, all float64.
    """
    # Imported here because it is slow, and most users of samples do not need it.
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture
    from threadpoolctl import threadpool_limits

    mixture = GaussianMixture(
        COMPONENTS, init_params="k-means++", reg_covar=1e-6, random_state=numpy_seed(seed)
    )
    # Uses as many threads as torch: on matrices this small more would only slow each other down.
    with threadpool_limits(torch.get_num_threads()), warnings.catch_warnings():
        # A mixture whose fit is stopped early is still a density.
        warnings.simplefilter("ignore", ConvergenceWarning)
        mixture.fit(points.double().numpy())
    covariances = torch.from_numpy(mixture.covariances_)
    return (
        torch.from_numpy(mixture.weights_),
        torch.from_numpy(mixture.means_),
        torch.linalg.cholesky(covariances),
    )


def _noise(subject: Subject, name: str, count: int) -> Tensor:
    room = room_for_codes(count, subject.code_shape)
    return room.normal_(generator=subject.generator(f"sample {name}"))
