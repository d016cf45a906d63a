"""The part of `fit` that runs on the device: iterations of collection and guarded updates, for all seeds at once."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array

from mairl.algorithms.spread import over_seeds
from mairl.core.learned import Learned
from mairl.data.collect import play, reset, step_zeros
from mairl.data.replay import Replay


class Carry(eqx.Module):
    """What goes from iteration to iteration; leaves `[seed, ...]` outside of `vmap`.

    Attributes:
        state: the learner's.
        env: the environments', None offline and of host games.
        alive: no number has been anything but finite.
        failed_at: the iteration in which one was, -1: none.
        failed_quantity: which, by its place among the metrics' names and "state" behind them.
        episodes: that ended.
    """

    state: Any
    env: Any
    alive: Array
    failed_at: Array
    failed_quantity: Array
    episodes: Array


def _init_one(algorithm, game, data, collection, key):
    key_state, key_env = jax.random.split(key)
    env = reset(game, key_env, collection.num_envs) if collection is not None and game.pure else None
    never = jnp.full((), -1, jnp.int32)
    zero = jnp.zeros((), jnp.int32)
    return Carry(algorithm.init(key_state, game, data), env, jnp.ones((), bool), never, never, zero)


# It runs once, for milliseconds: compiled with all care it took ten seconds, most of them for random numbers.
@eqx.filter_jit(compiler_options={"xla_backend_optimization_level": 0})  # type: ignore[call-overload]
def initial(algorithm, game, data, collection, keys) -> Carry:
    """The beginning, one seed a key, on a first axis."""
    return eqx.filter_vmap(lambda k: _init_one(algorithm, game, data, collection, k))(keys)


def metric_names(algorithm, game, data, collection) -> tuple[str, ...]:
    """Names of the metrics, without computing them."""

    def first(key):
        carry = _init_one(algorithm, game, data, collection, key)
        rollout = None
        if collection is not None:
            rollout = step_zeros(game, collection.num_steps, collection.num_envs, paid=True)
        return algorithm.update(key, carry.state, game, data, rollout)[1]

    return tuple(sorted(eqx.filter_eval_shape(first, jax.random.key(0))))


def update_one(algorithm, game, data, names, key, carry: Carry, env, rollout, iteration):
    """One guarded update of one seed: a result that is not finite is not taken, and remembered."""
    state, metrics = algorithm.update(key, carry.state, game, data, rollout)
    values = jnp.stack([jnp.asarray(metrics[n], jnp.float32) for n in names])
    finite_state = jnp.all(jnp.stack([jnp.all(jnp.isfinite(x)) for x in _watched(state)] or [jnp.ones((), bool)]))
    finite = jnp.concatenate([jnp.isfinite(values), finite_state[None]])
    fine = carry.alive & jnp.all(finite)
    failing = carry.alive & ~fine

    def keep(new, old):
        if isinstance(new, Replay) or not eqx.is_array(new):
            return new
        return jnp.where(fine, new, old)

    state = jax.tree.map(keep, state, carry.state, is_leaf=lambda x: isinstance(x, Replay))
    over = jnp.zeros((), jnp.int32)
    if rollout is not None:
        over = jnp.sum((jnp.all(rollout.terminated, axis=-1) | rollout.truncated).astype(jnp.int32))
    return Carry(
        state,
        env,
        fine,
        jnp.where(failing, iteration, carry.failed_at),
        jnp.where(failing, jnp.argmin(finite), carry.failed_quantity).astype(jnp.int32),
        carry.episodes + jnp.where(carry.alive, over, 0),
    ), values


def _watched(state):
    """Float leaves of a learner's state, replayed play left out."""
    leaves = jax.tree.leaves(state, is_leaf=lambda x: isinstance(x, Replay))
    return [x for x in leaves if eqx.is_inexact_array(x)]


def one_by_one() -> bool:
    """Whether a device trains its seeds one after the other rather than side by side.

    On a CPU yes: one seed's activations stay in a core's cache and its matrix products are large enough. Side by side
    ten seeds of MAMQL took 1.3 times as long, and a seed's last bits depended on the others.
    """
    return jax.default_backend() == "cpu"


@eqx.filter_jit(donate="all-except-first")
def run_chunk(
    shared,
    carry: Carry,
    names: tuple[str, ...],
    mesh: Mesh | None = None,
    *,
    in_turn: bool = False,
) -> tuple[Carry, dict[str, Array]]:
    """Some iterations of all seeds, one program for any number, and the mean of each metric over them, `[seed]`.

    Args:
        shared: algorithm, game, data, keys of the seeds `[seed]`, and the span of iterations `[2]`: the first, and the
            one behind the last.
        carry: given away.
        names: of the metrics.
        mesh: of devices that share the seeds out.
        in_turn: each device trains its seeds one after the other (see `one_by_one`).
    """
    algorithm, game, data, key_loop, span = shared
    dynamic, static = eqx.partition(carry, eqx.is_array)
    common, common_static = eqx.partition((algorithm, game, data), eqx.is_array)

    def run(per_seed, common):
        (algorithm, game, data), span = eqx.combine(common[0], common_static), common[1]
        collection = algorithm.collection(game)

        def one(dynamic, key):
            def step(iteration, loop):
                dynamic, total, count = loop
                carry = eqx.combine(dynamic, static)
                key_play, key_update = jax.random.split(jax.random.fold_in(key, iteration))
                env, rollout = carry.env, None
                if collection is not None:
                    env, rollout = play(game, algorithm.behaviour(carry.state), key_play, env, collection.num_steps)
                carry, values = update_one(algorithm, game, data, names, key_update, carry, env, rollout, iteration)
                finite = jnp.isfinite(values)
                return eqx.filter(carry, eqx.is_array), total + jnp.where(finite, values, 0.0), count + finite

            nothing = jnp.zeros(len(names))
            dynamic, total, count = jax.lax.fori_loop(span[0], span[1], step, (dynamic, nothing, nothing))
            return dynamic, total / count

        return jax.lax.map(lambda x: one(*x), per_seed) if in_turn else jax.vmap(one)(*per_seed)

    dynamic, mean = over_seeds(run, mesh)((dynamic, key_loop), (common, span))
    return eqx.combine(dynamic, static), {n: mean[:, i] for i, n in enumerate(names)}


@eqx.filter_jit
def results(algorithm, carry: Carry) -> Learned:
    """What every seed has learned, stacked."""
    return eqx.filter_vmap(algorithm.result)(carry.state)
