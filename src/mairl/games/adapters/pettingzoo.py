"""Every game as a PettingZoo parallel environment: jitted and seeded."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import equinox as eqx
import jax
import numpy as np

from mairl.core.errors import require
from mairl.core.game import MarkovGame
from mairl.core.spaces import Discrete


def to_pettingzoo(game: MarkovGame) -> Any:
    """A `pettingzoo.ParallelEnv` that plays `game`.

    Observations are the game's own: a Box, or a Dict / Tuple of them as its pytree is. Where the game masks actions,
    each agent's info holds `action_mask` (int8 `[action]`). An agent leaves once it has terminated. `render` returns
    the game's picture, uint8 `[height, width, 3]`.

    Raises:
        MissingPackage: PettingZoo or Gymnasium is not installed.
    """
    purpose = "play games through PettingZoo"
    parallel_env = require("pettingzoo", purpose=purpose).ParallelEnv
    spaces = require("gymnasium.spaces", package="gymnasium", purpose=purpose)
    names = game.agent_names()
    begin, advance = _programs(TheSame(game))

    class GameEnv(parallel_env):
        metadata = {"name": type(game).__name__.lower(), "render_modes": ["rgb_array"], "is_parallelizable": True}  # noqa: RUF012
        render_mode = "rgb_array"

        def __init__(self):
            self.game = game
            self.possible_agents = list(names)
            self.agents: list[str] = []
            self.observation_spaces = {n: _observation_space(game.observation_spec, spaces) for n in names}
            self.action_spaces = {n: _action_space(game.action_space, spaces) for n in names}
            self._key = jax.random.key(int(np.random.default_rng().integers(2**31)))
            self._state = None

        def observation_space(self, agent):
            return self.observation_spaces[agent]

        def action_space(self, agent):
            return self.action_spaces[agent]

        def reset(self, seed=None, options=None):
            if seed is not None:
                self._key = jax.random.key(seed)
            self._key, self._state, obs, mask = begin(self._key)
            self.agents = list(names)
            return self._split(obs, names), self._infos(mask, names)

        def step(self, actions):
            acting = list(self.agents)
            space = game.action_space
            discrete = isinstance(space, Discrete)
            joint = np.zeros(len(names), np.int32) if discrete else np.zeros((len(names), space.size), np.float32)
            for i, name in enumerate(names):
                if name in acting:
                    joint[i] = actions[name]
            self._key, self._state, result, mask = advance(self._key, self._state, joint)
            reward, terminated = np.asarray(result.reward), np.asarray(result.terminated)
            truncated = bool(result.truncated)
            index = {name: names.index(name) for name in acting}
            self.agents = [n for n in acting if not (terminated[index[n]] or truncated)]
            return (
                self._split(result.obs, acting),
                {n: float(reward[i]) for n, i in index.items()},
                {n: bool(terminated[i]) for n, i in index.items()},
                dict.fromkeys(acting, truncated),
                self._infos(mask, acting),
            )

        def render(self):
            return np.asarray(game.render(self._state))

        def close(self):
            self._state = None

        def _split(self, obs, agents):
            host = jax.tree.map(np.asarray, obs)
            return {n: jax.tree.map(lambda x, i=names.index(n): np.asarray(x[i]), host) for n in agents}

        def _infos(self, mask, agents):
            if mask is None:
                return {n: {} for n in agents}
            mask = np.asarray(mask).astype(np.int8)
            return {n: {"action_mask": mask[names.index(n)]} for n in agents}

    return GameEnv()


@dataclasses.dataclass(frozen=True, eq=False)
class TheSame:
    """A game as a key: two are equal that hold one and the same object."""

    game: MarkovGame

    def __hash__(self):
        return id(self.game)

    def __eq__(self, other):
        return isinstance(other, TheSame) and self.game is other.game


@functools.lru_cache(maxsize=1)
def _programs(same: TheSame):
    """Compiled once for all environments of a game that are made in a row.

    One program a step, in which the game is constant: most of a step's time is calls, and what they are given.
    """
    game = same.game

    @eqx.filter_jit
    def begin(key):
        key, now = jax.random.split(key)
        state, obs = game.reset(now)
        return key, state, obs, game.action_mask(state)

    @eqx.filter_jit
    def advance(key, state, joint):
        key, now = jax.random.split(key)
        state, result = game.step(now, state, joint)
        return key, state, result, game.action_mask(state)

    return begin, advance


def _observation_space(spec, spaces):
    if isinstance(spec, jax.ShapeDtypeStruct):
        if spec.dtype == bool:
            return spaces.MultiBinary(spec.shape)
        if np.issubdtype(spec.dtype, np.integer):
            limits = np.iinfo(spec.dtype)
            return spaces.Box(limits.min, limits.max, spec.shape, spec.dtype.type)
        return spaces.Box(-np.inf, np.inf, spec.shape, spec.dtype.type)
    if isinstance(spec, dict):
        return spaces.Dict({k: _observation_space(v, spaces) for k, v in spec.items()})
    if isinstance(spec, tuple | list):
        return spaces.Tuple([_observation_space(v, spaces) for v in spec])
    raise TypeError(f"observations of type {type(spec).__name__} have no Gymnasium space: use dicts, tuples and arrays")


def _action_space(space, spaces):
    if isinstance(space, Discrete):
        return spaces.Discrete(space.n)
    return spaces.Box(space.low, space.high, (space.size,), np.float32)
