"""How good learned policies are, for all seeds at once: returns, held-out likelihood, and what else is asked for."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array

from mairl.algorithms.spread import over_seeds
from mairl.core.game import MarkovGame
from mairl.core.transition import observe
from mairl.data.collect import play_episodes
from mairl.data.demonstrations import Demonstrations


@eqx.filter_jit
def _returns(policy, game, keys, episodes: int, mesh: Mesh | None = None):
    def one(policy, key, game):
        return jnp.mean(play_episodes(game, policy, key, episodes).returns, axis=0)

    return _for_each_seed(one, (policy, keys), game, mesh)


def _for_each_seed(function, per_seed, shared, mesh):
    """`function(*per_seed, shared)` for each seed, spread over devices."""
    dynamic, static = eqx.partition(per_seed, eqx.is_array)
    common, common_static = eqx.partition(shared, eqx.is_array)

    def run(dynamic, common):
        shared = eqx.combine(common, common_static)
        return jax.vmap(lambda d: function(*eqx.combine(d, static), shared))(dynamic)

    return over_seeds(run, mesh)(dynamic, common)


def log_likelihood(policy, game: MarkovGame, data: Demonstrations, limit: int = 4096) -> Array:
    """Mean log-likelihood (nats per step) of each agent's recorded actions under `policy`: `[agent]`.

    Args:
        limit: at most this many steps, evenly spread over the recording.
    """
    count = min(limit, data.num_steps)
    index = jnp.linspace(0, data.num_steps - 1, count).astype(jnp.int32)
    steps = observe(game, data.transition(index))
    log_prob = jax.vmap(policy.log_prob)(steps.obs, steps.actions, steps.action_mask)
    weight = steps.mask.astype(jnp.float32)
    return jnp.sum(jnp.where(steps.mask, log_prob, 0.0), axis=0) / jnp.maximum(jnp.sum(weight, axis=0), 1.0)


@eqx.filter_jit
def _likelihoods(policy, game, held, mesh: Mesh | None = None):
    return _for_each_seed(lambda policy, shared: log_likelihood(policy, *shared), (policy,), (game, held), mesh)


def evaluate_all(learned, game, held, key_eval, chunk, episodes, mesh, host) -> dict[str, np.ndarray]:
    """Returns over fresh episodes and likelihood of held-out steps, each `[seed]`, by the names of their columns."""
    measured: dict[str, np.ndarray] = {}
    if episodes > 0:
        keys = jax.vmap(lambda k: jax.random.fold_in(k, chunk))(key_eval)
        if host is not None:
            returns = host.returns(learned.policy, keys, episodes)
        else:
            returns = np.asarray(_returns(learned.policy, game, keys, episodes, mesh))
        measured["return/agent_mean"] = returns.mean(1)
        measured |= {f"return/agent_{i}": returns[:, i] for i in range(returns.shape[1])}
    if held is not None:
        each = np.asarray(_likelihoods(learned.policy, game, held, mesh))
        measured["heldout_log_likelihood"] = each.mean(1)
        measured |= {f"heldout_log_likelihood/agent_{i}": each[:, i] for i in range(each.shape[1])}
    return measured


@eqx.filter_jit
def measure(function, learned):
    """A function of one seed's result, for every seed."""
    return eqx.filter_vmap(function)(learned)
