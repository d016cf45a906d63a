"""One agent of a game as a Gymnasium environment; a given policy plays the others."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import numpy as np

from mairl.core.errors import InvalidGame, require
from mairl.core.game import MarkovGame
from mairl.core.policy import Policy
from mairl.games.adapters.pettingzoo import _action_space, _observation_space


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
    reset, allowed = eqx.filter_jit(game.reset), eqx.filter_jit(game.action_mask)

    @eqx.filter_jit
    def advance(policy, key, state, action):
        key_act, key_step = jax.random.split(key)
        obs = game.observe(state)
        joint = policy.sample(key_act, obs, game.action_mask(state)).at[agent].set(action)
        next_state, result = game.step(key_step, state, joint)
        masks = game.action_mask(state), game.action_mask(next_state)
        return next_state, result, (obs, joint, result.obs, result.terminated, *masks)

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
            self._key = jax.random.key(int(self.np_random.integers(2**31)))
            self._key, key = jax.random.split(self._key)
            self._state, obs = reset(key)
            return self._mine(obs), self._info()

        def step(self, action):
            self._key, key = jax.random.split(self._key)
            self._state, result, self.joint_step = advance(partners, key, self._state, np.asarray(action))
            reward, terminated = float(result.reward[agent]), bool(result.terminated[agent])
            return self._mine(result.obs), reward, terminated, bool(result.truncated), self._info()

        def render(self):
            return np.asarray(game.render(self._state))

        def _mine(self, obs):
            return jax.tree.map(lambda x: np.asarray(x[agent]), obs)

        def _info(self):
            mask = allowed(self._state)
            return {} if mask is None else {"action_mask": np.asarray(mask)[agent].astype(np.int8)}

    return AgentEnv()
