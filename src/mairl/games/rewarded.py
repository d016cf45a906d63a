"""A game paid by a recovered reward instead of its own."""

from __future__ import annotations

from typing import ClassVar

import equinox as eqx
import jax

from mairl.core.game import MarkovGame
from mairl.core.reward import Reward
from mairl.core.spaces import ActionSpace


class RewardedGame(MarkovGame):
    """The dynamics, observations and endings of `game`; each step pays `payment`. The true reward is not in it."""

    game: MarkovGame
    payment: Reward

    pure: ClassVar[bool] = True

    @property
    def num_agents(self) -> int:
        """As the game's."""
        return self.game.num_agents

    @property
    def action_space(self) -> ActionSpace:
        """As the game's."""
        return self.game.action_space

    @property
    def observation_spec(self):
        """As the game's."""
        return self.game.observation_spec

    @property
    def horizon(self) -> int:
        """As the game's."""
        return self.game.horizon

    def reset(self, key):
        """See `MarkovGame.reset`."""
        return self.game.reset(key)

    def step(self, key, state, actions):
        """See `MarkovGame.step`."""
        next_state, step = self.game.step(key, state, actions)
        obs, next_obs = self.game.observe(state), self.game.observe(next_state)
        masks = self.game.action_mask(state), self.game.action_mask(next_state)
        paid = self.payment(obs, actions, next_obs, step.terminated, *masks)
        return next_state, eqx.tree_at(lambda s: s.reward, step, jax.lax.stop_gradient(paid))

    def observe(self, state):
        """See `MarkovGame.observe`."""
        return self.game.observe(state)

    def action_mask(self, state):
        """See `MarkovGame.action_mask`."""
        return self.game.action_mask(state)

    def feature_names(self):
        """See `MarkovGame.feature_names`: of the game's own reward, not of the payment."""
        return self.game.feature_names()

    def features(self, state, actions, next_state):
        """See `MarkovGame.features`."""
        return self.game.features(state, actions, next_state)

    def feature_weights(self):
        """See `MarkovGame.feature_weights`."""
        return self.game.feature_weights()

    def render(self, state):
        """See `MarkovGame.render`."""
        return self.game.render(state)
