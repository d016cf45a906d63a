"""How far policies are apart at given observations: analytic divergences of categorical and of Gaussian policies."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key, PyTree

from mairl.core.errors import Unsupported
from mairl.core.policy import DiscretePolicy, Policy
from mairl.networks.heads import GaussianPolicy


class Distribution(eqx.Module):
    """What agents may do, each on its own: categorical, or independent normals before any clipping.

    Attributes:
        log_probs: `[*b, agent, action]`, in nats, or None.
        mean, log_std: `[*b, agent, size]`, or None.
    """

    log_probs: Float[Array, "*b agent action"] | None = None
    mean: Float[Array, "*b agent size"] | None = None
    log_std: Float[Array, "*b agent size"] | None = None


def distribution(
    policy: Policy, obs: PyTree[Array], allowed: Bool[Array, "*b agent action"] | None, lead: int
) -> Distribution:
    """Of a joint policy at observations with `lead` leading axes, leaves `[*b, agent, ...]`.

    Raises:
        Unsupported: a policy whose distribution is not known in closed form.
    """

    def one(obs, allowed):
        if isinstance(policy, DiscretePolicy):
            return Distribution(log_probs=policy.log_probs(obs, allowed))
        if isinstance(policy, GaussianPolicy):
            mean = policy.net(obs)
            return Distribution(mean=mean, log_std=jnp.broadcast_to(policy.log_std, mean.shape))
        raise Unsupported(
            f"the divergence of a {type(policy).__name__} is not known: categorical and Gaussian ones are"
        )

    run: Any = one
    for _ in range(lead):
        run = jax.vmap(run)
    return run(obs, allowed)


def divergence(real: Distribution, guess: Distribution) -> Float[Array, "*b agent"]:
    """KL(real ‖ guess), in nats."""
    if real.log_probs is not None and guess.log_probs is not None:
        known = jnp.isfinite(real.log_probs)
        apart = jnp.where(known, real.log_probs - guess.log_probs, 0.0)
        return jnp.sum(jnp.where(known, jnp.exp(real.log_probs), 0.0) * apart, axis=-1)
    (mean, log_std), (guess_mean, guess_log_std) = _normal(real), _normal(guess)
    narrower = guess_log_std - log_std
    square = jnp.exp(-2 * narrower) + ((mean - guess_mean) * jnp.exp(-guess_log_std)) ** 2
    return jnp.sum(narrower + 0.5 * (square - 1), axis=-1)


def sampled_divergence(key: Key[Array, ""], real: Distribution, guess: Distribution, samples: int):
    """KL(real ‖ guess) of Gaussian policies estimated from `samples` actions, as a check of `divergence`:
    E_{a ~ real}[log real(a) - log guess(a)]."""
    mean, log_std = _normal(real)
    actions = mean + jnp.exp(log_std) * jax.random.normal(key, (samples, *mean.shape))

    def log_density(of: Distribution):
        mean, log_std = _normal(of)
        return jnp.sum(jax.scipy.stats.norm.logpdf(actions, mean, jnp.exp(log_std)), axis=-1)

    return jnp.mean(log_density(real) - log_density(guess), axis=0)


def entropy(of: Distribution) -> Float[Array, "*b agent"]:
    """In nats."""
    if of.log_probs is not None:
        known = jnp.where(jnp.isfinite(of.log_probs), of.log_probs, 0.0)
        return -jnp.sum(jnp.exp(of.log_probs) * known, axis=-1)
    return jnp.sum(_normal(of)[1] + 0.5 * jnp.log(2 * jnp.pi * jnp.e), axis=-1)


def _normal(of: Distribution) -> tuple[Array, Array]:
    if of.mean is None or of.log_std is None:
        raise Unsupported("categorical and Gaussian policies cannot be compared with each other")
    return of.mean, of.log_std
