"""One agent's side of a game while the others keep to their policies: what its best response is learned in."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from mairl.core.game import MarkovGame, TimeStep
from mairl.core.policy import Policy
from mairl.core.spaces import ActionSpace


class BestResponseGame(MarkovGame):
    """`game` as agent `agent` sees it, the others played by `others`; one agent.

    The episode is over as soon as this agent has terminated.
    """

    game: MarkovGame
    others: Policy
    agent: Int[Array, ""]

    @property
    def num_agents(self) -> int:
        """One."""
        return 1

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
        state, _ = self.game.reset(key)
        return state, self.observe(state)

    def step(self, key, state, actions):
        """See `MarkovGame.step`."""
        key_others, key_step = jax.random.split(key)
        joint = self.others.sample(key_others, self.game.observe(state), self.game.action_mask(state))
        joint = joint.at[self.agent].set(actions[0].astype(joint.dtype))
        next_state, step = self.game.step(key_step, state, joint)
        return next_state, TimeStep(
            self._own(step.obs),
            self._own(step.reward),
            self._own(step.terminated),
            step.truncated,
            self._own(step.mask),
        )

    def observe(self, state):
        """See `MarkovGame.observe`."""
        return self._own(self.game.observe(state))

    def action_mask(self, state):
        """See `MarkovGame.action_mask`."""
        allowed = self.game.action_mask(state)
        return None if allowed is None else self._own(allowed)

    def _own(self, tree):
        return jax.tree.map(lambda x: jnp.take(x, self.agent[None], axis=0), tree)


def best_response_game(game: MarkovGame, others: Policy, agent: int) -> BestResponseGame:
    """As the class, for one (unstacked) policy."""
    return BestResponseGame(game, eqx.nn.inference_mode(others), jnp.asarray(agent))
