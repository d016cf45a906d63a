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
        raise Unsupported(f"the divergence of a {type(policy).__name__} is not known: categorical and Gaussian ones are")

    run: Any = one
    for _ in range(lead):
        run = jax.vmap(run)
    return run(obs, allowed)


def divergence(real: Distribution, guess: Distribution) -> Float[Array, "*b agent"]:
    """KL(real ‖ guess), in nats."""
    if real.log_probs is not None:
        assert guess.log_probs is not None
        known = jnp.isfinite(real.log_probs)
        apart = jnp.where(known, real.log_probs - guess.log_probs, 0.0)
        return jnp.sum(jnp.where(known, jnp.exp(real.log_probs), 0.0) * apart, axis=-1)
    assert real.mean is not None and real.log_std is not None and guess.mean is not None and guess.log_std is not None
    narrower = guess.log_std - real.log_std
    square = jnp.exp(-2 * narrower) + ((real.mean - guess.mean) * jnp.exp(-guess.log_std)) ** 2
    return jnp.sum(narrower + 0.5 * (square - 1), axis=-1)


def sampled_divergence(key: Key[Array, ""], real: Distribution, guess: Distribution, samples: int):
    """KL(real ‖ guess) of Gaussian policies estimated from `samples` actions, as a check of `divergence`:
    E_{a ~ real}[log real(a) - log guess(a)]."""
    assert real.mean is not None and real.log_std is not None and guess.mean is not None and guess.log_std is not None
    noise = jax.random.normal(key, (samples, *real.mean.shape))
    actions = real.mean + jnp.exp(real.log_std) * noise

    def log_density(d: Distribution):
        return jax.scipy.stats.norm.logpdf(actions, d.mean, jnp.exp(d.log_std)).sum(-1)  # type: ignore[arg-type]

    return jnp.mean(log_density(real) - log_density(guess), axis=0)


def entropy(of: Distribution) -> Float[Array, "*b agent"]:
    """In nats."""
    if of.log_probs is not None:
        known = jnp.where(jnp.isfinite(of.log_probs), of.log_probs, 0.0)
        return -jnp.sum(jnp.exp(of.log_probs) * known, axis=-1)
    assert of.log_std is not None
    return jnp.sum(of.log_std + 0.5 * jnp.log(2 * jnp.pi * jnp.e), axis=-1)
