"""Where the time of MAMQL's training goes, and how near it is to its matrix products alone."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from mairl.algorithms.descent import apply
from mairl.algorithms.device_loop import one_by_one
from mairl.algorithms.mamql import MAMQL, State
from mairl.bench.timing import measure
from mairl.core.policy import UniformPolicy
from mairl.core.transition import observe
from mairl.data.collect import play, record, reset
from mairl.games import make_game
from mairl.networks.mlp import MLP
from mairl.recipes import learner_recipe

REPEATS = 32
"""Times that a part is done within one timed call: calls themselves cost time."""


def profile_mamql(name: str = "gems", seeds: int = 10) -> dict[str, Any]:
    """Milliseconds of each part of a gradient update, for all seeds together, on one device.

    The parts are timed on their own, so that they need not add up to the whole: in the whole, the compiler merges them.
    "matrix products" is what no implementation with these networks and batches can do without: each layer's product
    forwards and both backwards, nothing else.

    Returns:
        "ms" by part; "gflop", that of the products per update of all seeds; "gflops_per_s", their rate;
        "share_of_limit", products / whole.
    """
    game = make_game(name)
    algorithm, _ = learner_recipe("mamql", name)
    assert isinstance(algorithm, MAMQL)
    data = record(game, UniformPolicy(game.num_agents, game.action_space), jax.random.key(0), num_steps=20_000)
    data = data.observed(game)
    keys = jax.random.split(jax.random.key(1), seeds)
    state = eqx.filter_jit(eqx.filter_vmap(lambda k: algorithm.init(k, game, data)))(keys)
    worlds = jax.vmap(lambda k: reset(game, k, algorithm.num_envs))(keys)
    policy = eqx.filter_vmap(algorithm.behaviour)(state)
    _, rollout = eqx.filter_vmap(lambda p, k, w: play(game, p, k, w, algorithm.num_steps))(policy, keys, worlds)

    def draw(key, state: State):
        assert state.replay is not None
        first, second = jax.random.split(key)
        expert = observe(game, data.sample(first, algorithm.batch))
        return expert, observe(game, state.replay.sample(second, algorithm.batch))

    def gradient(key, state: State, steps):
        loss = eqx.filter_grad(algorithm.loss, has_aux=True)
        return loss(state.learnt, state.target, key, game, *steps)[0]

    def descend(key, state: State, grads):
        return eqx.filter(apply(algorithm._optimiser(), state.learnt, state.opt_state, grads), eqx.is_array)

    def rollouts(key, policy, worlds):
        return play(game, policy, key, worlds, algorithm.num_steps)

    def update(key, state: State, rollout):
        return algorithm.update(key, state, game, data, rollout)

    steps = eqx.filter_vmap(draw)(keys, state)
    grads = eqx.filter_vmap(gradient)(keys, state, steps)
    nets, inputs = _products(state.learnt, steps, algorithm.batch)
    parts: dict[str, tuple[Any, tuple, int]] = {
        "whole update": (update, (state, rollout), algorithm.updates),
        "play": (rollouts, (policy, worlds), algorithm.updates),
        "draw and observe": (draw, (state,), 1),
        "loss and gradient": (gradient, (state, steps), 1),
        "clip and Adam": (descend, (state, grads), 1),
        "matrix products": (lambda key, nets, inputs: _linear(nets, inputs), (nets, inputs), 1),
    }
    ms = {part: 1e3 * _seconds(f, given, keys) / updates for part, (f, given, updates) in parts.items()}
    flops = sum(_flops(net, x) for net, x in zip(nets, inputs, strict=True))
    return {
        "game": name,
        "seeds": seeds,
        "batch": 2 * algorithm.batch,
        "ms": ms,
        "gflop": flops / 1e9,
        "gflops_per_s": flops / 1e6 / ms["matrix products"],
        "share_of_limit": ms["matrix products"] / ms["whole update"],
    }


def _seconds(function, inputs, keys) -> float:
    """Median seconds of one call, of `REPEATS` in a loop; seeds side by side or in turn, as training does it."""
    arrays, static = eqx.partition(inputs, eqx.is_array)
    over_seeds = jax.lax.map if one_by_one() else (lambda f, x: jax.vmap(f)(x))

    @jax.jit
    def loop(keys, arrays):
        def once(k, carry):
            total, arrays = carry
            # What is added is 0, but the compiler cannot know: no round can be left out or done before the loop.
            arrays = jax.tree.map(lambda x: x + (0 * total).astype(x.dtype) if _floats(x) else x, arrays)

            def one(given):
                out = function(jax.random.fold_in(given[0], k), *eqx.combine(given[1], static))
                return sum(jnp.sum(x.astype(jnp.float32)) for x in jax.tree.leaves(out) if _floats(x))

            return total + jnp.sum(over_seeds(one, (keys, arrays))), arrays

        return jax.lax.fori_loop(0, REPEATS, once, (jnp.zeros(()), arrays))[0]

    return measure(lambda: loop(keys, arrays)).median / REPEATS


def _floats(x) -> bool:
    return eqx.is_inexact_array(x)


def _products(learnt, steps, batch: int):
    """The weights `[seed, agent, in, out]` of every network, once per batch that goes through it, and such batches."""
    agents, seeds = steps[0].actions.shape[2], steps[0].actions.shape[0]
    nets, inputs = [], []
    for net, passes in ((learnt.critic, 2), (learnt.reward, 1)):
        mlps = [x for x in jax.tree.leaves(net, is_leaf=lambda x: isinstance(x, MLP)) if isinstance(x, MLP)]
        weights = [layer.weight for layer in mlps[0].layers]
        weights = [w if w.ndim == 4 else jnp.broadcast_to(w[:, None], (seeds, agents, *w.shape[1:])) for w in weights]
        for number in range(passes):
            key = jax.random.key(number)
            nets.append(weights)
            inputs.append(jax.random.normal(key, (seeds, agents, 2 * batch, weights[0].shape[-2])))
    return nets, inputs


def _flops(net, x) -> int:
    """Of `_linear`: three products for each layer, the first layer's inputs needing no gradient."""
    rows = x.size // x.shape[-1]
    return 6 * rows * sum(w.shape[-1] * w.shape[-2] for w in net) - 2 * x.size * net[0].shape[-1]


def _linear(nets, inputs):
    """Gradients of linear networks: products forwards, and those for weights and hidden layers backwards."""

    def value(nets, inputs):
        total = 0.0
        for net, x in zip(nets, inputs, strict=True):
            for weight in net:
                x = jnp.einsum("abi,aio->abo", x, weight)
            total = total + jnp.sum(x * x)
        return total

    return jax.grad(value)(nets, inputs)
