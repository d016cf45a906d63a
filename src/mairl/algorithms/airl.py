"""AIRL: adversarial inverse reinforcement learning (Fu et al. 2018, arXiv:1710.11248), each agent on its own.

    D_i = exp f_i / (exp f_i + π_i(a_i|o_i)),    f_i(o_i, a_i, o_i') = g_i + γ h_i(o_i') - h_i(o_i)

whose logit is f_i - log π_i: at the optimum f_i is the expert's log-policy, that is its soft advantage, and g_i its
reward up to shaping. h is 0 after termination, and s' is the step's own next state, never that of a new episode.

    repeat: play π; step every (g_i, h_i) on the latest rollout against the expert; pay the rollout; step π by PPO

With g of the state alone, and deterministic dynamics in which states can be told apart, g is the reward up to a
constant, and h the value; with g of state and action, g is identified up to shaping only. Where partners or dynamics
are random, f has to fit the advantage with one sampled next state, and is biased.
"""

from __future__ import annotations

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp

from mairl.algorithms.base import Algorithm, Collection, Metrics
from mairl.algorithms.gail import State, check_adversarial, new_state, score_rollout, train_discriminator, train_policy
from mairl.algorithms.ppo import PPO
from mairl.core.game import MarkovGame
from mairl.core.learned import Learned
from mairl.core.policy import Policy
from mairl.core.transition import Transition, observe
from mairl.data.demonstrations import Demonstrations
from mairl.networks.discriminator import Discriminator, DiscriminatorConfig, Score, score_reward, shaped_reward
from mairl.ops.discriminator import with_absorbing


class AIRL(Algorithm):
    """Adversarial inverse reinforcement learning, each agent by what it sees itself; discrete or vector actions.

    Attributes:
        ppo: the policies' learner; its discount is γ. Its entropy bonus adds to the one that "logit" pays already.
        discriminator: how discriminators are built and trained.
        inputs: of g, the "state" (what the agent sees) alone, which is what can be told from shaping, or also its
            "own" action.
        reward: what a step pays: "logit" is log D - log(1 - D) = f - log π, the paper's, which carries an entropy
            bonus of weight 1; "f" and "g" are without it, and need PPO's.
        absorbing: pay terminating steps what the state after the end would pay for ever.
        normalise_reward: divide rewards by their running root mean square.
    """

    ppo: PPO = PPO()
    discriminator: DiscriminatorConfig = eqx.field(static=True, default=DiscriminatorConfig())
    inputs: Literal["state", "own"] = eqx.field(static=True, default="state")
    reward: Literal["logit", "f", "g"] = eqx.field(static=True, default="logit")
    absorbing: bool = eqx.field(static=True, default=False)
    normalise_reward: bool = eqx.field(static=True, default=True)

    def check(self, game: MarkovGame, data: Demonstrations | None) -> None:
        """Refuses missing data and settings without meaning."""
        check_adversarial("AIRL", game, data, self.discriminator, self.ppo.discount)
        self.ppo.check(game, None)

    def collection(self, game: MarkovGame) -> Collection | None:
        """PPO's."""
        return self.ppo.collection(game)

    def init(self, key, game: MarkovGame, data: Demonstrations | None) -> State:
        """Fresh policies and discriminators."""
        key_ppo, key_g, key_h = jax.random.split(key, 3)
        g = Score.new(game, self.inputs, self.discriminator.network, key_g)
        h = Score.new(game, "state", self.discriminator.network, key_h)
        return new_state(self.ppo.init(key_ppo, game, None), self.discriminator, game, g, h, self.ppo.discount)

    def behaviour(self, state: State) -> Policy | None:
        """PPO's policy."""
        return self.ppo.behaviour(state.ppo)

    def update(self, key, state: State, game, data, rollout) -> tuple[State, Metrics]:
        """Steps the discriminators on the rollout, then PPO on what they pay for it."""
        assert data is not None
        assert rollout is not None
        key_train, key_ppo = jax.random.split(key)
        policy = self.ppo.behaviour(state.ppo)
        assert policy is not None
        state, metrics = train_discriminator(self.discriminator, key_train, state, game, data, rollout, policy)
        reward = self._pay(state, policy, game, rollout)
        return train_policy(self.ppo, key_ppo, state, game, rollout, reward, self.normalise_reward, metrics)

    def result(self, state: State) -> Learned:
        """The policies, the recovered rewards g, and f with its shaping."""
        return Learned(
            self.ppo.result(state.ppo).policy,
            score_reward(state.discriminator.g, state.moments),
            shaped_reward(state.discriminator, state.moments),
        )

    def _pay(self, state: State, policy: Policy, game: MarkovGame, rollout: Transition):
        if self.reward == "g":
            d = state.discriminator
            unshaped = eqx.tree_at(lambda s: s.discriminator, state, Discriminator(d.g, None, d.absorbing, d.discount))
            reward = score_rollout(unshaped, game, rollout)
        else:
            reward = score_rollout(state, game, rollout)
        if self.reward == "logit":
            steps = observe(game, rollout)
            log_prob = jax.vmap(jax.vmap(policy.log_prob))(steps.obs, steps.actions, steps.action_mask)
            reward = reward - jnp.where(rollout.mask, log_prob, 0.0)
        if self.absorbing:
            reward = with_absorbing(reward, state.discriminator.absorbing, rollout.terminated, self.ppo.discount)
        return reward
