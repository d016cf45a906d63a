"""The value of what follows a step, averaged over the others' actions instead of taken from the one recorded.

For games whose states can be played again. Both functions return two values, so that a caller that multiplies them has
an unbiased square.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array

from mairl.core.game import MarkovGame


def sampled_next(key, game: MarkovGame, value_at, state, actions, policy) -> tuple[Array, Array]:
    """Two independent samples of V_i(s'), `[agent]` each: `state` played again with a_i as recorded, a_-i ~ π_-i.

    Args:
        value_at: (next state, who terminated) to V `[agent]`.
        policy: π(·|s), `[agent, action]`.
    """
    agents = actions.shape[0]

    def one(key):
        key_act, key_step = jax.random.split(key)
        fresh = jax.random.categorical(key_act, jnp.log(policy)).astype(actions.dtype)

        def for_agent(i):
            next_state, step = game.step(jax.random.fold_in(key_step, i), state, fresh.at[i].set(actions[i]))
            return value_at(next_state, step.terminated)[i]

        return jax.vmap(for_agent)(jnp.arange(agents))

    first, second = jax.vmap(one)(jax.random.split(key))
    return first, second


def enumerated_next(key, game: MarkovGame, value_at, state, actions, policy) -> tuple[Array, Array]:
    """E of V_i(s') over a_-i ~ π_-i and the game's branches, `[agent]`, exactly, twice; arguments as `sampled_next`."""
    agents, num_actions = policy.shape
    joints = jnp.stack(jnp.meshgrid(*[jnp.arange(num_actions)] * agents, indexing="ij"), -1).reshape(-1, agents)

    def value_of(joint):
        branches, terminated, probability = game.successors(key, state, joint)
        return probability @ jax.vmap(value_at)(branches, terminated)

    after = jax.vmap(value_of)(joints.astype(actions.dtype))
    each = jnp.take_along_axis(policy.T, joints, axis=0)
    own = jnp.arange(agents)
    means = []
    for i in range(agents):
        others = jnp.prod(jnp.where(own == i, 1.0, each), axis=1)
        means.append(jnp.sum(jnp.where(joints[:, i] == actions[i], others, 0.0) * after[:, i]))
    mean = jnp.stack(means)
    return mean, mean
