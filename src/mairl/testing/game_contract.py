"""The contract of `MarkovGame`, as checks that anybody can run on a game of their own.

from mairl.testing import check_game
check_game(MyGame(), jax.random.key(0))
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from mairl.core.game import MarkovGame, TimeStep
from mairl.core.policy import UniformPolicy
from mairl.core.spaces import Box, Discrete
from mairl.core.stacked import one_of
from mairl.testing.feature_contract import check_features
from mairl.testing.violation import ContractViolation
from mairl.testing.violation import need as _need


def check_game(
    game: MarkovGame,
    key: Key[Array, ""],
    *,
    num_envs: int = 16,
    num_steps: int | None = None,
    samples: int = 1000,
    tolerance: float = 1e-4,
) -> None:
    """Plays a game at random and checks all that learners rely on.

    Args:
        num_envs: episodes played.
        num_steps: steps of each; the horizon by default. Fewer leave the time limit unchecked.
        samples: steps drawn from one state, to compare frequencies with the probabilities of `successors`.
        tolerance: between compiled and plain, batched and single calls (relative and absolute, floats only).

    Raises:
        ContractViolation: the first part of the contract that is broken, with what was found.
    """
    check_declaration(game)
    if not game.pure:
        _check_host_game(game, key, num_steps)
        return
    check_reset(game, key)
    check_step(game, key)
    check_pure(game, key)
    check_transforms(game, key, tolerance)
    played = rollout(game, key, num_envs, num_steps or game.horizon)
    check_played(game, *played[:-1])
    check_successors(game, key, played[0], samples, tolerance)
    check_features(game, *played, tolerance)
    check_gradients(game, key)
    check_render(game, key)


def check_declaration(game: MarkovGame) -> None:
    """Fields: counts, spaces, names."""
    for name in ("num_agents", "horizon"):
        value = getattr(game, name)
        _need(isinstance(value, int) and value >= 1, f"{name} must be a positive int, got {value!r}")
    space = game.action_space
    _need(isinstance(space, Discrete | Box), f"action_space must be Discrete or Box, got {space!r}")
    spec = jax.tree.leaves(game.observation_spec)
    _need(
        bool(spec) and all(isinstance(s, jax.ShapeDtypeStruct) for s in spec),
        f"observation_spec must be a pytree of jax.ShapeDtypeStruct, got {game.observation_spec!r}",
    )
    names = game.agent_names()
    _need(len(set(names)) == game.num_agents, f"agent_names must be {game.num_agents} distinct names, got {names}")
    if isinstance(space, Discrete):
        names = game.action_names()
        _need(len(names) == space.n, f"action_names must be {space.n} names, got {len(names)}")


def check_reset(game: MarkovGame, key: Key[Array, ""]) -> None:
    """`reset` gives an observation as declared, the one that `observe` gives, and the same one for the same key."""
    state, obs = game.reset(key)
    _check_obs(game, obs, "reset")
    _same(obs, game.observe(state), "observe(state) differs from the observation that reset returned")
    _same((state, obs), game.reset(key), "reset gave two different results for one key")
    _check_action_mask(game, state)


def check_step(game: MarkovGame, key: Key[Array, ""]) -> None:
    """`step` returns a state like the one it was given, and a `TimeStep` with the right shapes and types."""
    state, _ = game.reset(key)
    next_state, step = game.step(key, state, _actions(game, key, state))
    _check_timestep(game, step)
    was, now = jax.tree.structure(state), jax.tree.structure(next_state)
    _need(was == now, f"step returned a state of another structure than reset: {now} instead of {was}")
    for path, (a, b) in _leaves(state, next_state):
        a, b = jnp.asarray(a), jnp.asarray(b)
        _need(
            a.shape == b.shape and a.dtype == b.dtype,
            f"step changed the state's leaf {path} from {a.dtype}{a.shape} to {b.dtype}{b.shape}: scan cannot carry it",
        )
    _same(step.obs, game.observe(next_state), "observe(next state) differs from the observation that step returned")


def check_pure(game: MarkovGame, key: Key[Array, ""]) -> None:
    """Stepping again from the same state with the same key gives the same, whatever was played in between."""
    state, _ = game.reset(key)
    actions = _actions(game, key, state)
    first = game.step(key, state, actions)
    game.step(key, first[0], _actions(game, key, first[0]))
    _same(
        first,
        game.step(key, state, actions),
        "step gave two different results for one key, state and action: a game that keeps a hidden state must "
        "declare pure = False",
    )


def check_transforms(game: MarkovGame, key: Key[Array, ""], tolerance: float = 1e-4) -> None:
    """`jit` and `vmap` change nothing."""
    keys = jax.random.split(key, 2)
    state, obs = game.reset(keys[0])
    resets = _traced(lambda: jax.jit(jax.vmap(game.reset))(keys), "reset", "jit and vmap")
    _same((state, obs), _head(resets), "reset differs under jit and vmap", tolerance)
    actions = _actions(game, key, state)
    single = game.step(keys[0], state, actions)
    batch = resets[0], jnp.stack([actions, actions])
    steps = _traced(lambda: jax.jit(jax.vmap(game.step))(keys, *batch), "step", "jit and vmap")
    _same(single, _head(steps), "step differs under jit and vmap", tolerance)


def rollout(
    game: MarkovGame, key: Key[Array, ""], num_envs: int, num_steps: int
) -> tuple[Any, Any, TimeStep, Array, Array]:
    """Random play, scanned and not reset.

    Returns:
        States before each step, those after it, what the step returned, whether the episode was still on, and the
        actions: leaves `[time, env, ...]`, on the host.
    """

    def one(carry, key):
        state, over = carry
        key_act, key_step = jax.random.split(key)
        actions = _actions(game, key_act, state)
        next_state, step = game.step(key_step, state, actions)
        return (next_state, over | step.done), (state, next_state, step, ~over, actions)

    def episode(key):
        key_reset, key_play = jax.random.split(key)
        state, _ = game.reset(key_reset)
        return jax.lax.scan(one, (state, jnp.zeros((), bool)), jax.random.split(key_play, num_steps))[1]

    run = jax.jit(jax.vmap(episode, out_axes=1))
    return _traced(lambda: run(jax.random.split(key, num_envs)), "step", "scan")


def check_played(game: MarkovGame, states: Any, next_states: Any, steps: TimeStep, alive: Array) -> None:
    """What `rollout` returned: observations, rewards, masks, endings and the time limit."""
    on = np.asarray(alive)
    seen = jax.jit(jax.vmap(jax.vmap(game.observe)))(next_states)
    for path, (a, b) in _leaves(steps.obs, seen):
        a, b = np.asarray(a)[on], np.asarray(b)[on]
        _need(np.allclose(a, b, 1e-5, 1e-5, equal_nan=True), f"observe(next state) differs from step's obs at {path}")
        _need(bool(np.all(np.isfinite(a))), f"an observation is not finite at {path}")
    mask, reward = np.asarray(steps.mask), np.asarray(steps.reward)
    terminated, truncated = np.asarray(steps.terminated), np.asarray(steps.truncated)
    bad = on[..., None] & mask & ~np.isfinite(reward)
    _need(not bad.any(), f"{bad.sum()} rewards of acting agents are not finite, the first at step {_first(bad)}")
    bad = on & ~mask.any(axis=-1)
    _need(not bad.any(), f"nobody is in the game (mask) at step {_first(bad)}, though the episode is not over")
    both = on & truncated & terminated.all(axis=-1)
    _need(
        not both.any(), f"step {_first(both)} is both terminated for all and truncated: an ending is one or the other"
    )
    early = on & truncated & (np.arange(len(on))[:, None] + 1 < game.horizon)
    _need(not early.any(), f"truncated after {_first(early) + 1} steps, before the horizon of {game.horizon}")
    if len(on) >= game.horizon:
        last = game.horizon - 1
        late = on[last] & ~truncated[last] & ~terminated[last].all(axis=-1)
        _need(not late.any(), f"the episode is not over after {game.horizon} steps, its horizon")
    back = on[1:, :, None] & terminated[:-1] & ~terminated[1:]
    _need(not back.any(), f"an agent that had terminated is alive again at step {_first(back) + 1}")
    acts = on[1:, :, None] & terminated[:-1] & mask[1:]
    _need(not acts.any(), f"an agent that had terminated still acts (mask) at step {_first(acts) + 1}")
    if game.cooperative:
        apart = on[..., None] & (np.abs(reward - reward[..., :1]) > 1e-6) & mask & mask[..., :1]
        _need(not apart.any(), f"cooperative is declared, but rewards differ at step {_first(apart)}")
    allowed = jax.jit(jax.vmap(jax.vmap(game.action_mask)))(states)
    if allowed is not None:
        none = on[..., None] & mask & ~np.asarray(allowed).any(axis=-1)
        _need(not none.any(), f"an acting agent has no allowed action at step {_first(none)}")


def check_successors(
    game: MarkovGame, key: Key[Array, ""], states: Any, samples: int = 1000, tolerance: float = 1e-4
) -> None:
    """`successors` enumerates what `step` draws, with its probabilities, from the first states of a rollout."""
    state = _head(_head(states))
    actions = _actions(game, key, state)
    branches, over, probability = game.successors(key, state, actions)
    p = np.asarray(probability, np.float64)
    _need(p.ndim == 1 and p.min() >= 0, f"successors: probabilities must be [branch] and not negative, got {p}")
    _need(abs(p.sum() - 1) < 1e-4, f"successors: probabilities sum to {p.sum():.6g}, not 1")
    over = np.asarray(over)
    _need(
        over.shape == (len(p), game.num_agents) and over.dtype == bool,
        f"successors: terminated is {over.dtype}{over.shape}, expected bool {(len(p), game.num_agents)}",
    )
    draw = jax.jit(jax.vmap(lambda k: game.step(k, state, actions)))
    drawn, step = draw(jax.random.split(key, samples))
    match = np.ones((samples, len(p)), bool)
    for _, (a, b) in _leaves(drawn, branches):
        a, b = _data(a), _data(b)
        close = np.isclose(a[:, None], b[None], tolerance, tolerance, equal_nan=True)
        match &= close.reshape(samples, len(p), -1).all(axis=-1)
    match &= p > 0
    missed = ~match.any(axis=1)
    _need(not missed.any(), f"successors: {missed.sum()} of {samples} states that step drew are not among the branches")
    which = match.argmax(axis=1)
    wrong = np.any(over[which] != np.asarray(step.terminated), axis=-1)
    _need(not wrong.any(), f"successors: {wrong.sum()} of {samples} draws terminate otherwise than their branch says")
    # Equal branches are counted together.
    share = match.mean(axis=0)
    want = np.array([p[match[which == b][0]].sum() if (which == b).any() else 0.0 for b in range(len(p))])
    off = np.where(want > 0, np.abs(share - want) - 6 * np.sqrt(want * (1 - want) / samples), 0.0)
    worst = int(off.argmax())
    _need(
        off.max() < 1e-3,
        f"successors: branch {worst} has probability {want[worst]:.3g}, but step drew it in {share[worst]:.3g} of "
        f"{samples} draws",
    )


def check_gradients(game: MarkovGame, key: Key[Array, ""]) -> None:
    """A game that declares `differentiable` has finite gradients of rewards and states with respect to actions."""
    if not game.differentiable:
        return
    state, _ = game.reset(key)

    def total(actions):
        next_state, step = game.step(key, state, actions)
        floats = [x for x in jax.tree.leaves(next_state) if jnp.issubdtype(jnp.asarray(x).dtype, jnp.floating)]
        return jnp.sum(step.reward) + sum(jnp.sum(x) for x in floats)

    slope = np.asarray(jax.grad(total)(_actions(game, key, state)))
    _need(bool(np.all(np.isfinite(slope))), f"differentiable is declared, but a gradient is not finite: {slope}")
    _need(bool(np.any(slope != 0)), "differentiable is declared, but the gradient with respect to actions is 0")


def check_render(game: MarkovGame, key: Key[Array, ""]) -> None:
    """A game with a picture gives uint8 `[height, width, 3]`."""
    try:
        image = game.render(game.reset(key)[0])
    except NotImplementedError:
        return
    _need(
        isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3,
        f"render must return uint8 [height, width, 3], got {getattr(image, 'dtype', type(image))}"
        f"{getattr(image, 'shape', '')}",
    )


def _check_host_game(game: MarkovGame, key: Key[Array, ""], num_steps: int | None) -> None:
    """One episode, forward only: what can be asked of a game that cannot be stepped again."""
    state, obs = game.reset(key)
    _check_obs(game, obs, "reset")
    for t in range(num_steps or game.horizon):
        key, key_act, key_step = jax.random.split(key, 3)
        _check_action_mask(game, state)
        state, step = game.step(key_step, state, _actions(game, key_act, state))
        _check_timestep(game, step)
        reward = np.asarray(step.reward)[np.asarray(step.mask)]
        _need(bool(np.all(np.isfinite(reward))), f"a reward is not finite at step {t}: {reward}")
        early = bool(step.truncated) and t + 1 < game.horizon
        _need(not early, f"truncated after {t + 1} steps, before the horizon of {game.horizon}")
        both = bool(step.truncated) and bool(np.all(step.terminated))
        _need(not both, f"step {t} is both terminated for all and truncated: an ending is one or the other")
        if bool(step.done):
            return
    _need(num_steps is not None, f"the episode is not over after {game.horizon} steps, its horizon")


def _check_obs(game: MarkovGame, obs: Any, where: str) -> None:
    spec = game.observation_spec
    _need(
        jax.tree.structure(obs) == jax.tree.structure(spec),
        f"{where}: the observation's structure is {jax.tree.structure(obs)}, observation_spec's is "
        f"{jax.tree.structure(spec)}",
    )
    for path, (x, s) in _leaves(obs, spec):
        want = (game.num_agents, *s.shape)
        _need(
            np.shape(x) == want and x.dtype == s.dtype,
            f"{where}: the observation at {path} is {x.dtype}{np.shape(x)}, observation_spec says {s.dtype}{want}",
        )


def _check_timestep(game: MarkovGame, step: TimeStep) -> None:
    _check_obs(game, step.obs, "step")
    n = game.num_agents
    for name, shape, kind in (
        ("reward", (n,), np.floating),
        ("terminated", (n,), np.bool_),
        ("truncated", (), np.bool_),
        ("mask", (n,), np.bool_),
    ):
        x = jnp.asarray(getattr(step, name))
        _need(
            x.shape == shape and jnp.issubdtype(x.dtype, kind),
            f"step: {name} is {x.dtype}{x.shape}, expected {kind.__name__}{shape}",
        )
    for name, x in step.info.items():
        _need(
            np.shape(x)[:1] in ((), (n,)),
            f"step: info[{name!r}] has shape {np.shape(x)}, expected [agent] first or none",
        )


def _check_action_mask(game: MarkovGame, state: Any) -> None:
    allowed = game.action_mask(state)
    if allowed is None:
        return
    space = game.action_space
    _need(isinstance(space, Discrete), "action_mask is given, but the action space is not Discrete")
    want = (game.num_agents, space.n) if isinstance(space, Discrete) else ()
    _need(
        np.shape(allowed) == want and allowed.dtype == bool,
        f"action_mask is {allowed.dtype}{np.shape(allowed)}, expected bool{want}",
    )


def _actions(game: MarkovGame, key: Key[Array, ""], state: Any) -> Array:
    """Random allowed actions (any action for an agent that has none)."""
    allowed = game.action_mask(state)
    if allowed is not None:
        allowed = allowed | ~jnp.any(allowed, axis=-1, keepdims=True)
    return UniformPolicy(game.num_agents, game.action_space).sample(key, None, allowed)


def _same(a: Any, b: Any, otherwise: str, tolerance: float = 0.0) -> None:
    """Equal trees; floats within the tolerance."""
    _need(jax.tree.structure(a) == jax.tree.structure(b), f"{otherwise} (in structure)")
    for path, (x, y) in _leaves(a, b):
        x, y = _data(x), _data(y)
        is_float = np.issubdtype(x.dtype, np.floating)
        close = np.allclose(x, y, tolerance, tolerance, equal_nan=True) if is_float else np.array_equal(x, y)
        _need(x.shape == y.shape and bool(close), f"{otherwise}, at {path}: {x} and {y}")


def _head(tree: Any) -> Any:
    """The first of a batch."""
    return one_of(tree, 0)


def _data(x: Any) -> np.ndarray:
    """A leaf on the host; random keys as their numbers."""
    return np.asarray(jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x)


def _leaves(a: Any, b: Any) -> list[tuple[str, tuple[Any, Any]]]:
    paths = [jax.tree_util.keystr(path) or "the root" for path, _ in jax.tree_util.tree_leaves_with_path(a)]
    return list(zip(paths, zip(jax.tree.leaves(a), jax.tree.leaves(b))))


def _first(bad: np.ndarray) -> int:
    """The first step at which something is wrong, `bad` being `[time, ...]`."""
    return int(np.argmax(bad.reshape(len(bad), -1).any(axis=1))) if bad.any() else -1


def _traced(call: Callable, what: str, how: str) -> Any:
    try:
        return call()
    except (jax.errors.JAXTypeError, jax.errors.JAXIndexError, TypeError, ValueError) as error:
        line = str(error).strip().splitlines()[0]
        raise ContractViolation(f"{what} does not work under {how}: {type(error).__name__}: {line}") from error
