"""MA-GAIL: multi-agent generative adversarial imitation (Song et al. 2018, arXiv:1807.09936).

    max_D  Σ_i E_expert[log D_i] + E_π[log(1 - D_i)]        max_π_i  E_π[reward_form(log D_i - log(1 - D_i))]

with D_i by the prior on who shares which reward: "decentralised" agents have a discriminator each, of their own
observation and own (or everybody's) actions; "centralised" ones, who cooperate, share one of everything.

    repeat: play π; step every D on the latest rollout against the expert; replace rewards; step every π by PPO

Recovers policies, and no reward: at the optimum D is 1/2 everywhere. Where it differs from GAIL for each agent: what
discriminators see. Expert joint play can then be told from agents that are right one by one and wrong together.
"""

from __future__ import annotations

from typing import Literal

import equinox as eqx
import jax

from mairl.algorithms.base import Algorithm, Collection, Metrics
from mairl.algorithms.gail import State, check_adversarial, new_state, score_rollout, train_discriminator, train_policy
from mairl.algorithms.ppo import PPO
from mairl.core.errors import Unsupported
from mairl.core.game import MarkovGame
from mairl.core.learned import Learned
from mairl.core.policy import Policy
from mairl.data.demonstrations import Demonstrations
from mairl.networks.discriminator import DiscriminatorConfig, Score, score_reward
from mairl.ops.discriminator import reward_form, with_absorbing


class MAGAIL(Algorithm):
    """Multi-agent adversarial imitation; discrete or vector actions.

    Attributes:
        ppo: the policies' learner; its discount is γ.
        discriminator: how discriminators are built and trained.
        sharing: one discriminator each ("decentralised") or one for all ("centralised": everybody is paid the same).
        actions: that decentralised discriminators see, "own" or "joint"; centralised ones always see "joint".
        reward: what a step pays: "softplus" (favours survival), "log" (favours a quick end) or "logit" (neither, at the
            optimum); see `mairl.ops.discriminator.reward_form`.
        absorbing: pay terminating steps what the state after the end would pay for ever.
        normalise_reward: divide rewards by their running root mean square.
    """

    ppo: PPO = PPO()
    discriminator: DiscriminatorConfig = eqx.field(static=True, default=DiscriminatorConfig())
    sharing: Literal["decentralised", "centralised"] = eqx.field(static=True, default="decentralised")
    actions: Literal["own", "joint"] = eqx.field(static=True, default="joint")
    reward: Literal["softplus", "log", "logit"] = eqx.field(static=True, default="logit")
    absorbing: bool = eqx.field(static=True, default=False)
    normalise_reward: bool = eqx.field(static=True, default=True)

    def check(self, game: MarkovGame, data: Demonstrations | None) -> None:
        """Refuses missing data and settings that contradict each other."""
        check_adversarial("MA-GAIL", game, data, self.discriminator, self.ppo.discount)
        if self.sharing == "centralised" and self.actions != "joint":
            raise Unsupported("a centralised discriminator sees everybody's actions: set actions='joint'")
        self.ppo.check(game, None)

    def collection(self, game: MarkovGame) -> Collection | None:
        """PPO's."""
        return self.ppo.collection(game)

    def init(self, key, game: MarkovGame, data: Demonstrations | None) -> State:
        """Fresh policies and discriminators."""
        key_ppo, key_score = jax.random.split(key)
        central = self.sharing == "centralised"
        g = Score.new(game, self.actions, self.discriminator.network, key_score, central)
        return new_state(self.ppo.init(key_ppo, game, None), self.discriminator, game, g, None, self.ppo.discount)

    def behaviour(self, state: State) -> Policy | None:
        """PPO's policy."""
        return self.ppo.behaviour(state.ppo)

    def update(self, key, state: State, game, data, rollout) -> tuple[State, Metrics]:
        """Steps the discriminators on the rollout, then PPO on what they pay for it."""
        assert data is not None
        assert rollout is not None
        key_train, key_ppo = jax.random.split(key)
        state, metrics = train_discriminator(self.discriminator, key_train, state, game, data, rollout)
        reward = reward_form(score_rollout(state, game, rollout), self.reward)
        if self.absorbing:
            pay = reward_form(state.discriminator.absorbing, self.reward)
            reward = with_absorbing(reward, pay, rollout.terminated, self.ppo.discount)
        return train_policy(self.ppo, key_ppo, state, game, rollout, reward, self.normalise_reward, metrics)

    def result(self, state: State) -> Learned:
        """The policies; no reward is identified, the discriminators' pay is the shaped one."""
        pay = score_reward(state.discriminator.g, state.moments, self.reward)
        return Learned(self.ppo.result(state.ppo).policy, None, pay)
