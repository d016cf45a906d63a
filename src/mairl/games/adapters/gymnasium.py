"""One agent of a game as a Gymnasium environment; a given policy plays the others."""

from __future__ import annotations

import functools
from typing import Any

import equinox as eqx
import jax
import numpy as np

from mairl.core.errors import InvalidGame, require
from mairl.core.game import MarkovGame
from mairl.core.policy import Policy
from mairl.games.adapters.pettingzoo import TheSame, _action_space, _observation_space


def to_gymnasium(game: MarkovGame, agent: int, partners: Policy) -> Any:
    """A `gymnasium.Env` in which one agent acts and `partners` samples the actions of all others.

    Where the game masks actions, the info holds `action_mask` (int8 `[action]`).

    Args:
        agent: index of the agent that the caller plays, 0 … num_agents-1.
        partners: a joint policy of the game; its action for `agent` is not used.

    Raises:
        InvalidGame: there is no such agent.
        MissingPackage: Gymnasium is not installed.
    """
    if not 0 <= agent < game.num_agents:
        raise InvalidGame(f"agent {agent} is not in the game: choose 0 … {game.num_agents - 1}")
    gymnasium = require("gymnasium", purpose="play one agent through Gymnasium")
    spaces = require("gymnasium.spaces", package="gymnasium", purpose="play one agent through Gymnasium")

    begin, advance = _programs(TheSame(game), agent)

    class AgentEnv(gymnasium.Env):
        metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012

        def __init__(self):
            self.render_mode = "rgb_array"
            self.game, self.agent = game, agent
            self.joint_step: Any = None  # a reward's arguments, see reward_wrapper
            self.observation_space = _observation_space(game.observation_spec, spaces)
            self.action_space = _action_space(game.action_space, spaces)

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            key = jax.random.key(int(self.np_random.integers(2**31)))
            self._key, self._state, (obs, mask) = begin(key)
            return jax.tree.map(np.asarray, obs), _info(mask)

        def step(self, action):
            self._key, self._state, self.joint_step, own = advance(partners, self._key, self._state, np.asarray(action))
            obs, mask, reward, terminated, truncated = own
            seen = jax.tree.map(np.asarray, obs)
            return seen, float(reward), bool(terminated), bool(truncated), _info(mask)

        def render(self):
            return np.asarray(game.render(self._state))

    return AgentEnv()


@functools.lru_cache(maxsize=1)
def _programs(same: TheSame, agent: int):
    """Compiled once for all environments of an agent that are made in a row.

    One program a step, of which only the agent's own part is read: most of a step's time is calls.
    """
    game = same.game

    def mine(tree):
        return jax.tree.map(lambda x: x[agent], tree)

    @eqx.filter_jit
    def begin(key):
        key, key_reset = jax.random.split(key)
        state, obs = game.reset(key_reset)
        return key, state, mine((obs, game.action_mask(state)))

    @eqx.filter_jit
    def advance(policy, key, state, action):
        key, now = jax.random.split(key)
        key_act, key_step = jax.random.split(now)
        obs, mask = game.observe(state), game.action_mask(state)
        joint = policy.sample(key_act, obs, mask).at[agent].set(action)
        next_state, result = game.step(key_step, state, joint)
        next_mask = game.action_mask(next_state)
        joint_step = obs, joint, result.obs, result.terminated, mask, next_mask
        own = *mine((result.obs, next_mask, result.reward, result.terminated)), result.truncated
        return key, next_state, joint_step, own

    return begin, advance


def _info(mask) -> dict[str, np.ndarray]:
    return {} if mask is None else {"action_mask": np.asarray(mask).astype(np.int8)}
