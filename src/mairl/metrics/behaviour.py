"""How far learned behaviour is from the expert's."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mairl.core.policy import DiscretePolicy, Policy
from mairl.core.transition import Transition


def divergence(
    expert: DiscretePolicy, learned: DiscretePolicy, steps: Transition
) -> tuple[Float[Array, " agent"], Float[Array, " agent"]]:
    """Mean KL(expert ‖ learned) in nats, and how often their likeliest actions differ, over observed steps `[n, ...]`.

    Both are averaged over the steps in which the agent took part.
    """
    p = jax.vmap(expert.log_probs)(steps.obs, steps.action_mask)
    q = jax.vmap(learned.log_probs)(steps.obs, steps.action_mask)
    chance = jnp.exp(p)
    terms = jnp.where(chance > 0, chance * (p - q), 0.0)
    differ = (jnp.argmax(p, axis=-1) != jnp.argmax(q, axis=-1)).astype(jnp.float32)
    return over_steps(jnp.sum(terms, axis=-1), steps), over_steps(differ, steps)


def action_fit(learned: Policy, steps: Transition) -> tuple[Float[Array, " agent"], Float[Array, " agent"]]:
    """Mean log-likelihood (nats) of the recorded actions, and how often the likeliest action is another one."""
    log_prob = jax.vmap(learned.log_prob)(steps.obs, steps.actions, steps.action_mask)
    mode = jax.vmap(learned.mode)(steps.obs, steps.action_mask)
    differ = (mode != steps.actions).astype(jnp.float32)
    if differ.ndim == 3:
        differ = jnp.max(differ, axis=-1)
    return over_steps(log_prob, steps), over_steps(differ, steps)


def over_steps(values: Float[Array, "step agent"], steps: Transition) -> Float[Array, " agent"]:
    """Mean over the steps in which each agent took part; NaN if it took part in none."""
    count = jnp.sum(steps.mask, axis=0)
    total = jnp.sum(jnp.where(steps.mask, values, 0.0), axis=0)
    return jnp.where(count > 0, total / jnp.maximum(count, 1), jnp.nan)


@eqx.filter_jit
def divergences(expert, learned, steps):
    """`divergence` for stacked learned policies: `[seed, agent]` each."""
    return eqx.filter_vmap(lambda q: divergence(expert, q, steps))(learned)


@eqx.filter_jit
def action_fits(learned, steps):
    """`action_fit` for stacked learned policies: `[seed, agent]` each."""
    return eqx.filter_vmap(lambda q: action_fit(q, steps))(learned)
