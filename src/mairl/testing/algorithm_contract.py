"""The contract of `Algorithm`, as checks that anybody can run on a learner of their own.

from mairl.testing import check_algorithm
check_algorithm(MyLearner(), game, demonstrations)
"""

from __future__ import annotations

import tempfile
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from mairl.algorithms.base import Algorithm, Collection
from mairl.core.errors import MairlError
from mairl.core.game import MarkovGame
from mairl.core.learned import Learned
from mairl.core.policy import DiscretePolicy
from mairl.core.reward import Reward
from mairl.core.spaces import Discrete
from mairl.core.stacked import one_of
from mairl.core.transition import Transition, observe
from mairl.data.collect import play, reset, step_zeros
from mairl.data.demonstrations import Demonstrations


class AlgorithmViolation(MairlError):
    """A learner does not keep the contract; the message says which part, and what was found."""


def check_algorithm(
    algorithm: Algorithm,
    game: MarkovGame,
    data: Demonstrations | None = None,
    *,
    key: Key[Array, ""] | None = None,
    reads_reward: bool = False,
    updates: int = 2,
) -> None:
    """Trains two seeds for a few updates and checks all that `fit` and the commands rely on.

    Args:
        game: a pure one, better small: everything is compiled once.
        data: a recording of it, for learners that need one; with `true_reward`, so that reading it is found out.
        reads_reward: for learners that may read the true reward (reinforcement learning). Others must not: they have
            to do the same when every true reward is NaN.
        updates: how many for each seed.

    Raises:
        AlgorithmViolation: the first part of the contract that is broken, with what was found.
    """
    key = jax.random.key(0) if key is None else key
    algorithm.check(game, data)
    if data is not None:
        data = data.observed(game)
    collection = algorithm.collection(game)
    _need(
        collection is None or isinstance(collection, Collection),
        f"collection returned {collection!r}: a Collection, or None for offline learners",
    )
    check_init(algorithm, game, data, key)
    check_update(algorithm, game, data, collection, key)
    check_traces_alike(algorithm, game, data, collection, key)
    keys = jax.random.split(key, 3)
    train = _trainer(algorithm, game, collection, updates)
    untainted = jnp.zeros((), jnp.float32)
    states, results = train(keys[:2], data, untainted)
    _same((states, results), train(keys[:2], data, untainted), "two runs with one key differ")
    others, _ = train(keys[jnp.array([0, 2])], data, untainted)
    _same(one_of(states, 0), one_of(others, 0), "a seed's state depends on the seeds beside it")
    _need(not _equal(one_of(states, 0), one_of(states, 1)), "two keys gave the same state: keys are not used")
    if not reads_reward:
        hidden = _without_reward(data)
        found = train(keys[:2], hidden, jnp.full((), jnp.nan, jnp.float32))
        _same((states, results), found, "the learner reads the true reward: with NaN in its place it learns otherwise")
    learned = one_of(results, 0)
    steps = _some_steps(game, data, key)
    check_policy(learned, game, steps, key)
    for name in ("reward", "shaped_reward", "induced_reward"):
        if getattr(learned, name) is not None:
            check_reward(getattr(learned, name), name, game, steps)
    check_saved(learned, steps)


def check_init(algorithm: Algorithm, game: MarkovGame, data: Demonstrations | None, key: Key[Array, ""]) -> None:
    """`init` gives the same state for the same key, a pytree of arrays that holds neither the game nor the data."""
    state = algorithm.init(key, game, data)
    _same(state, algorithm.init(key, game, data), "init gave two different states for one key")
    shared = {id(x): "the data" for x in jax.tree.leaves(data) if eqx.is_array(x) and x.size > 1}
    shared |= {id(x): "the game" for x in jax.tree.leaves(game) if eqx.is_array(x) and x.size > 1}
    for path, leaf in jax.tree_util.tree_leaves_with_path(eqx.filter(state, eqx.is_array)):
        name = jax.tree_util.keystr(path)
        _need(isinstance(leaf, jax.Array), f"the state's {name} is a {type(leaf).__name__}: keep jax arrays")
        _need(id(leaf) not in shared, f"the state's {name} holds {shared.get(id(leaf))}, which is passed to every call")
    playing = algorithm.collection(game) is not None
    _need(
        (algorithm.behaviour(state) is not None) == playing,
        "behaviour and collection disagree: both are None for offline learners, neither is for those that play",
    )


def check_update(algorithm, game: MarkovGame, data, collection: Collection | None, key: Key[Array, ""]) -> None:
    """`update` keeps the state's structure, shapes and types, and names the same scalar metrics again."""
    rollout = _rollout_spec(game, collection)

    def twice(key):
        state = algorithm.init(key, game, data)
        first, metrics = algorithm.update(key, state, game, data, rollout)
        kept = [eqx.filter(x, eqx.is_array) for x in (state, first)]
        second, again = algorithm.update(key, first, game, data, rollout)
        return (*kept, eqx.filter(second, eqx.is_array)), (metrics, again)

    (before, after, last), (metrics, again) = eqx.filter_eval_shape(twice, key)
    for now in (after, last):
        was, new = (dict(jax.tree_util.tree_leaves_with_path(x)) for x in (before, now))
        _need(
            jax.tree.structure(before) == jax.tree.structure(now),
            f"update changed the state's structure: {jax.tree.structure(before)} became {jax.tree.structure(now)}",
        )
        for path, x in was.items():
            y = new[path]
            _need(
                (x.shape, x.dtype) == (y.shape, y.dtype),
                f"update changed the state's {jax.tree_util.keystr(path)} from {x.dtype}{x.shape} to "
                f"{y.dtype}{y.shape}: scan cannot carry it",
            )
    _need(set(metrics) == set(again), f"metrics have other names at the second update: {set(metrics) ^ set(again)}")
    for name, value in metrics.items():
        _need(getattr(value, "shape", None) == (), f"metric {name!r} has shape {getattr(value, 'shape', None)}, not ()")


def check_traces_alike(algorithm, game: MarkovGame, data, collection: Collection | None, key: Key[Array, ""]) -> None:
    """Traced twice, `init` and `update` are the same program: nothing outside their arguments goes into them."""
    rollout = _rollout_spec(game, collection)

    def program(key):
        state = algorithm.init(key, game, data)
        state, metrics = algorithm.update(key, state, game, data, rollout)
        return eqx.filter(state, eqx.is_array), metrics

    first, second = (jax.make_jaxpr(lambda k: program(k))(key) for _ in range(2))
    alike = len(first.consts) == len(second.consts) and all(
        np.array_equal(_data(a), _data(b), equal_nan=True) for a, b in zip(first.consts, second.consts)
    )
    _need(
        alike and len(first.eqns) == len(second.eqns) and _text(first) == _text(second),
        "update is another program each time it is traced: draw numbers from the key, keep counts in the state",
    )


def check_policy(learned: Learned, game: MarkovGame, steps: Transition, key: Key[Array, ""]) -> None:
    """The policy's actions have the right shape, its probabilities sum to 1, and it keeps to the action mask."""
    policy, obs = learned.policy, jax.tree.map(lambda x: x[0], steps.obs)
    want = steps.actions.shape[1:]
    for name, actions in (("sample", policy.sample(key, obs)), ("mode", policy.mode(obs))):
        _need(actions.shape == want, f"policy.{name} gave shape {actions.shape}, the game plays {want}")
    space = game.action_space
    if not (isinstance(space, Discrete) and isinstance(policy, DiscretePolicy)):
        _need(
            policy.log_prob(obs, policy.sample(key, obs)).shape == (game.num_agents,),
            "policy.log_prob must give one number per agent",
        )
        return
    logs = jax.jit(jax.vmap(lambda o: policy.log_probs(o)))(steps.obs)
    shape = (steps.truncated.shape[0], game.num_agents, space.n)
    _need(logs.shape == shape, f"policy.log_probs gave shape {logs.shape}, expected {shape}")
    off = float(jnp.abs(jnp.sum(jnp.exp(logs), axis=-1) - 1).max())
    _need(off < 1e-4, f"the policy's probabilities are off a sum of 1 by {off:.2g}")
    if space.n < 2:
        return
    likeliest = jax.jit(jax.vmap(lambda o: policy.mode(o)))(steps.obs)
    allowed = jnp.arange(space.n) != likeliest[..., None]
    keys = jax.random.split(key, shape[0])
    drawn = jax.jit(jax.vmap(lambda *given: policy.sample(*given)))(keys, steps.obs, allowed)
    best = jax.jit(jax.vmap(lambda *given: policy.mode(*given)))(steps.obs, allowed)
    for name, actions in (("sample", drawn), ("mode", best)):
        broken = int(jnp.sum(actions == likeliest))
        _need(broken == 0, f"policy.{name} chose {broken} of {actions.size} actions that the mask forbids")
    forbidden = jax.jit(jax.vmap(lambda *given: policy.log_probs(*given)))(steps.obs, allowed)
    total = jnp.sum(jnp.where(allowed, jnp.exp(forbidden), 0.0), axis=-1)
    _need(
        bool(jnp.all(jnp.where(allowed, True, forbidden == -jnp.inf))) and float(jnp.abs(total - 1).max()) < 1e-4,
        "policy.log_probs must be -inf where the mask forbids, and sum to 1 over what it allows",
    )


def check_reward(reward: Reward, name: str, game: MarkovGame, steps: Transition) -> None:
    """A reward is one finite number per agent and reads what it declares: the next observation, others' actions."""

    @jax.jit
    def value(actions, next_obs, terminated):
        masks = steps.action_mask, steps.next_action_mask
        return jax.vmap(reward)(steps.obs, actions, next_obs, terminated, *masks)

    given = value(steps.actions, steps.next_obs, steps.terminated)
    shape = (steps.truncated.shape[0], game.num_agents)
    _need(given.shape == shape, f"{name} gave shape {given.shape[1:]} for one step, expected {shape[1:]}")
    _need(bool(jnp.all(jnp.isfinite(given))), f"{name} is not finite in {int(jnp.sum(~jnp.isfinite(given)))} places")
    if not reward.uses_next:
        other = value(steps.actions, jax.tree.map(jnp.flip, steps.next_obs), ~steps.terminated)
        _need(_equal(given, other), f"{name} declares uses_next=False, but depends on the next observation")
    space = game.action_space
    if not reward.uses_others and isinstance(space, Discrete):
        for i in range(game.num_agents):
            own = jnp.arange(game.num_agents) == i
            moved = jnp.where(own, steps.actions, (steps.actions + 1) % space.n)
            changed = value(moved, steps.next_obs, steps.terminated)[:, i]
            _need(_equal(given[:, i], changed), f"{name} declares uses_others=False, but reads agents' other than {i}")


def check_saved(learned: Learned, steps: Transition) -> None:
    """`Learned.save` and `Learned.load` give back the same arrays and the same structure."""
    with tempfile.TemporaryDirectory() as folder:
        learned.save(folder)
        again = Learned.load(folder)
    _need(
        jax.tree.structure(learned) == jax.tree.structure(again),
        "a saved result loads with another structure: static fields must be plain data or frozen dataclasses",
    )
    _same(learned, again, "a saved result loads with other numbers")
    obs = jax.tree.map(lambda x: x[0], steps.obs)
    _same(learned.policy.mode(obs), again.policy.mode(obs), "a loaded policy plays otherwise")


def _trainer(algorithm, game, collection, updates: int):
    """A compiled function of (keys `[seed]`, data, taint added to true rewards) to states and results."""

    def one(key, data, taint):
        key_init, key_env, key_loop = jax.random.split(key, 3)
        state = algorithm.init(key_init, game, data)
        env = None if collection is None else reset(game, key_env, collection.num_envs)
        dynamic, static = eqx.partition((state, env), eqx.is_array)

        def step(dynamic, key):
            state, env = eqx.combine(dynamic, static)
            key_play, key_update = jax.random.split(key)
            rollout = None
            if collection is not None:
                env, rollout = play(game, algorithm.behaviour(state), key_play, env, collection.num_steps)
                rollout = eqx.tree_at(lambda t: t.reward, rollout, rollout.reward + taint)
            state, _ = algorithm.update(key_update, state, game, data, rollout)
            return eqx.filter((state, env), eqx.is_array), None

        dynamic, _ = jax.lax.scan(step, dynamic, jax.random.split(key_loop, updates))
        state, _ = eqx.combine(dynamic, static)
        return eqx.filter(state, eqx.is_array), algorithm.result(state)

    return eqx.filter_jit(eqx.filter_vmap(one, in_axes=(0, None, None)))


def _rollout_spec(game: MarkovGame, collection: Collection | None) -> Transition | None:
    if collection is None:
        return None
    rollout = step_zeros(game, collection.num_steps, collection.num_envs)
    reward = jnp.zeros(rollout.mask.shape)
    return eqx.tree_at(lambda t: t.reward, rollout, reward, is_leaf=lambda x: x is None)


def _without_reward(data: Demonstrations | None) -> Demonstrations | None:
    if data is None or data.true_reward is None:
        return data
    return eqx.tree_at(lambda d: d.true_reward, data, data.true_reward * jnp.nan)


def _some_steps(game: MarkovGame, data: Demonstrations | None, key: Key[Array, ""]) -> Transition:
    """A few dozen steps with observations, recorded or of random play."""
    if data is not None:
        return observe(game, data.transition(jnp.arange(min(64, data.num_steps))))
    from mairl.core.policy import UniformPolicy

    @jax.jit
    def some(key):
        _, steps = play(game, UniformPolicy(game.num_agents, game.action_space), key, reset(game, key, 4), 16)
        return observe(game, jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), steps))

    return some(key)


def _data(x) -> Float[np.ndarray, "..."]:
    return np.asarray(jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x)


def _text(jaxpr) -> str:
    """The program as text, addresses of closures left out."""
    import re

    return re.sub(r"0x[0-9a-f]+", "", str(jaxpr))


def _equal(a: Any, b: Any) -> bool:
    first, second = (jax.tree.leaves(eqx.filter(x, eqx.is_array)) for x in (a, b))
    return len(first) == len(second) and all(
        np.array_equal(_data(x), _data(y), equal_nan=jnp.issubdtype(x.dtype, jnp.inexact))
        for x, y in zip(first, second)
    )


def _same(a: Any, b: Any, message: str) -> None:
    _need(_equal(a, b), message)


def _need(condition: bool, message: str) -> None:
    if not condition:
        raise AlgorithmViolation(message)
