"""MAMQL: multi-agent marginal Q-learning from demonstrations (Haynam et al. 2025, arXiv:2503.04679).

Each agent i has a critic Q̄_i(s, a_i), marginal over the others' policies (Eq. 2), and plays π_i = softmax(λ Q̄_i)
(Eq. 3). With V_i the soft value (Eqs. 4-5) the reward that the critic implies is

    R̄_i(s, a_i) = Q̄_i(s, a_i) - γ E[V_i(s')]        over a_-i ~ π_-i(·|s), s' ~ T(·|s, a)          (Eq. 6)

and the critic maximises IQ-Learn's concave objective (Eq. 8, in the online form of Algorithm 1):

    min_Q̄  E_ρ[V_i(s) - γ V_i(s')] - E_expert[φ(R̄_i(s, a_i))],    φ(x) = x - x²/(4α)

A joint reward R_i(s, a) is fitted so that its mean over a_-i ~ π_-i is R̄_i (Eqs. 7, 9).

    repeat: add a rollout of π to the buffer
            for each agent: sample expert and rollout steps; step Q̄_i on Eq. 8; step R_i on Eq. 9

Where the paper is silent or its choice is one of several, the choice is a field below.
"""

from __future__ import annotations

from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key

from mairl.algorithms.base import Algorithm, Collection, Metrics
from mairl.algorithms.descent import adam, apply, descend, follow, trainable
from mairl.algorithms.inverse_q import check_inverse_q, draw, new_replay, with_play
from mairl.algorithms.next_value import enumerated_next, sampled_next
from mairl.core.errors import Unsupported
from mairl.core.game import MarkovGame
from mairl.core.learned import Learned
from mairl.core.policy import masked
from mairl.core.spaces import Discrete
from mairl.core.transition import Transition, joined
from mairl.data.demonstrations import Demonstrations
from mairl.data.replay import Replay
from mairl.networks.build import NetworkConfig, PerAgent, WithVector, flat_size, per_agent_network
from mairl.networks.heads import BoltzmannPolicy
from mairl.networks.mlp import MLP
from mairl.networks.rewards import (
    ImplicitReward,
    InducedReward,
    JointReward,
    VectorJointReward,
    marginal_over_others,
    take_action,
)
from mairl.ops.inverse_q import inverse_q_loss, value_term
from mairl.ops.soft_bellman import soft_value


class Learnt(eqx.Module):
    """What is trained: critics, joint rewards, and each agent's (log) reward scale."""

    critic: PerAgent
    reward: PerAgent
    log_scale: Float[Array, " agent"]


class State(eqx.Module):
    """What is trained, the slow critic, the optimiser, and the play seen so far (None offline)."""

    learnt: Learnt
    target: PerAgent
    opt_state: Any
    replay: Replay | None
    num_actions: int = eqx.field(static=True)


class MAMQL(Algorithm):
    """Marginal inverse soft Q-learning, online or offline.

    Attributes:
        discount: γ, per step.
        rationality: λ, in 1 / units of reward. It fixes the unit of the recovered reward.
        value_form: "soft", the entropy-regularised value, or "paper_eq5" as printed (they agree at λ = 1).
        phi: "chi2" is φ(x) = x - x²/(4α), "identity" is φ(x) = x.
        alpha: α of φ, in units of reward. The paper has 1; larger is less biased, smaller is more stable.
        chi2_on: where the square is averaged: "expert" (as printed) or "both", which also bounds the
            reward on the learner's own steps.
        value_term: E_ρ over "mixture" (expert and rollouts), "policy" (as printed), "expert" (offline), or "initial",
            (1 - γ) E[V(s_0)].
        next_value: V(s') from the recorded step ("one_sample", the paper's biased choice); from two fresh plays of
            the same state with new actions of the others ("two_sample", unbiased, also in the square); or the exact
            mean over their joint actions and the game's branches ("enumerate").
        target_rate: the next value comes from a slow copy that moves by this share per update; 1 is the critic
            itself, with its gradient (the objective as written).
        reward_fit: Eq. 9 with the mean over a_-i "enumerate"d (at most 4,096 joint actions), or "regress": R(s, a)
            on Q̄_i(s, a_i) - γ V(s'), whose mean satisfies Eq. 7.
        reward_on: steps that Eq. 9 averages over: "policy" (as printed) or "both", expert steps too.
        reward_l2: β, weight of the mean squared reward.
        learning_rate, reward_learning_rate: of Adam.
        anneal: iterations over which both rates fall linearly to a twentieth; 0 keeps them.
        max_grad_norm: each agent's gradient is clipped to this norm.
        weight_decay: of the critic (AdamW).
        batch: steps drawn from the expert, and as many from the buffer, per update.
        updates: gradient updates per iteration.
        num_envs, num_steps: play per iteration.
        buffer: steps of play kept; rounded down to whole rollouts.
        offline: learn from the recording alone, without playing.
        calibrated: the learned policy is softmax(λ e^s Q̄) with each agent's fitted log scale s, as its reward is
            scaled by e^s; else softmax(λ Q̄), which also plays and learns. Temperature scaling (Guo et al. 2017): the
            softness that φ adds goes.
        critic_network, reward_network: sizes.
    """

    discount: float = eqx.field(static=True, default=0.97)
    rationality: float = eqx.field(static=True, default=1.0)
    value_form: Literal["soft", "paper_eq5"] = eqx.field(static=True, default="soft")
    phi: Literal["chi2", "identity"] = eqx.field(static=True, default="chi2")
    alpha: float = eqx.field(static=True, default=10.0)
    chi2_on: Literal["expert", "both"] = eqx.field(static=True, default="both")
    value_term: Literal["mixture", "policy", "expert", "initial"] = eqx.field(static=True, default="mixture")
    next_value: Literal["one_sample", "two_sample", "enumerate"] = eqx.field(static=True, default="one_sample")
    target_rate: float = eqx.field(static=True, default=1.0)
    reward_fit: Literal["enumerate", "regress"] = eqx.field(static=True, default="enumerate")
    reward_on: Literal["policy", "both"] = eqx.field(static=True, default="both")
    reward_l2: float = eqx.field(static=True, default=1e-3)
    learning_rate: float = eqx.field(static=True, default=3e-4)
    reward_learning_rate: float = eqx.field(static=True, default=3e-4)
    anneal: int = eqx.field(static=True, default=0)
    max_grad_norm: float = eqx.field(static=True, default=10.0)
    weight_decay: float = eqx.field(static=True, default=0.0)
    batch: int = eqx.field(static=True, default=128)
    updates: int = eqx.field(static=True, default=8)
    num_envs: int = eqx.field(static=True, default=8)
    num_steps: int = eqx.field(static=True, default=8)
    buffer: int = eqx.field(static=True, default=16_384)
    offline: bool = eqx.field(static=True, default=False)
    calibrated: bool = eqx.field(static=True, default=False)
    critic_network: NetworkConfig = eqx.field(static=True, default=NetworkConfig())
    reward_network: NetworkConfig = eqx.field(static=True, default=NetworkConfig(width=64))

    def check(self, game: MarkovGame, data: Demonstrations | None) -> None:
        """Refuses vector actions, missing data, and re-stepping where it is impossible."""
        check_inverse_q("MAMQL", game, data, self.offline, self.value_term)
        assert data is not None
        assert isinstance(game.action_space, Discrete)
        if self.next_value != "one_sample":
            if not game.pure:
                raise Unsupported(
                    f"next_value={self.next_value!r} plays a state again, which this game cannot do: use 'one_sample'"
                )
            if data.state is None:
                raise Unsupported(
                    f"next_value={self.next_value!r} needs recorded game states; this recording has observations only"
                )
        joint = game.action_space.n**game.num_agents
        if self.reward_fit == "enumerate" and joint > 4096:
            raise Unsupported(f"{joint} joint actions are too many to enumerate: use reward_fit='regress'")

    def collection(self, game: MarkovGame) -> Collection | None:
        """`num_envs` × `num_steps` per iteration; none offline."""
        return None if self.offline else Collection(self.num_envs, self.num_steps)

    def init(self, key: Key[Array, ""], game: MarkovGame, data: Demonstrations | None) -> State:
        """Fresh networks and an empty buffer."""
        assert isinstance(game.action_space, Discrete)
        key_critic, key_reward = jax.random.split(key)
        actions, agents = game.action_space.n, game.num_agents
        critic = per_agent_network(game, actions, self.critic_network, key_critic, out_scale=0.01)
        reward = self._new_reward(game, key_reward)
        replay = None if self.offline else new_replay(game, self.num_envs * self.num_steps, self.buffer)
        learnt = Learnt(critic, reward, jnp.zeros(agents))
        opt_state = self._optimiser().init(trainable(learnt))
        return State(learnt, critic, opt_state, replay, actions)

    def behaviour(self, state: State) -> BoltzmannPolicy | None:
        """π_i = softmax(λ Q̄_i)."""
        return None if self.offline else BoltzmannPolicy(state.learnt.critic, self.rationality)

    def update(self, key, state: State, game, data, rollout) -> tuple[State, Metrics]:
        """Adds the rollout to the buffer and makes `updates` steps on Eqs. 8 and 9."""
        assert data is not None
        replay = with_play(state.replay, rollout)

        def step(carry, key):
            learnt, target, opt_state = carry
            key_draw, key_loss = jax.random.split(key)
            steps = draw(key_draw, game, data, replay, self.batch, self.value_term)
            loss = eqx.filter_grad(self.loss, has_aux=True)
            grads, metrics = loss(learnt, target, key_loss, game, steps.expert, steps.played, steps.starts)
            learnt, opt_state = apply(self._optimiser(), learnt, opt_state, grads)
            return (learnt, follow(target, learnt.critic, self.target_rate), opt_state), metrics

        carry = (state.learnt, state.target, state.opt_state)
        (learnt, target, opt_state), metrics = descend(step, carry, key, self.updates)
        return State(learnt, target, opt_state, replay, state.num_actions), metrics

    def result(self, state: State) -> Learned:
        """The Boltzmann policies; the joint reward of Eq. 9, its mean over the others (induced), and the critic's own
        one-sample reward (shaped)."""
        critic, scale = state.learnt.critic, jnp.exp(state.learnt.log_scale)
        # Eq. 7 holds under the policy that plays, calibrated or not.
        playing = BoltzmannPolicy(critic, self.rationality)
        policy = BoltzmannPolicy(critic, self.rationality, scale) if self.calibrated else playing
        implicit = ImplicitReward(critic, scale, self.rationality, self.discount, self.value_form)
        if self.reward_fit == "regress":
            return Learned(policy, VectorJointReward(state.learnt.reward, state.num_actions, scale), implicit)
        joint = JointReward(state.learnt.reward, state.num_actions, scale)
        return Learned(policy, joint, implicit, InducedReward(joint, playing))

    def loss(
        self,
        learnt: Learnt,
        target: PerAgent,
        key: Key[Array, ""],
        game: MarkovGame,
        expert: Transition,
        played: Transition | None,
        starts: Transition | None = None,
    ) -> tuple[Float[Array, ""], Metrics]:
        """The sum over agents of Eq. 8, Eq. 9 and the scale's likelihood, each for parameters of its own.

        Args:
            expert, played: `[batch, ...]` steps with observations; `played` is None offline.
            starts: first steps of episodes, where `value_term` is "initial".
        """
        both = expert if played is None else joined(expert, played)
        count = expert.truncated.shape[0]
        q_row, q, value, next_recorded, next_first, next_second = self.values(learnt.critic, target, key, game, both)
        weight = both.mask.astype(jnp.float32)
        from_expert = jnp.arange(weight.shape[0]) < count
        flow = value_term(
            value,
            next_recorded,
            weight=weight,
            from_expert=from_expert,
            discount=self.discount,
            form=self.value_term,
            initial_value=None if starts is None else self._value(learnt.critic, starts.obs, starts.action_mask),
        )
        critic_loss, parts = inverse_q_loss(
            q,
            next_first,
            next_second,
            flow,
            weight=weight,
            from_expert=from_expert,
            discount=self.discount,
            phi=self.phi,
            alpha=self.alpha,
            chi2_on=self.chi2_on,
        )
        implied = jax.lax.stop_gradient(q - self.discount * 0.5 * (next_first + next_second))
        fitted = self._fitted_reward(learnt.reward, both, jax.lax.stop_gradient(q_row))
        fit_weight = weight if self.reward_on == "both" or played is None else weight * ~from_expert[:, None]
        total = jnp.maximum(jnp.sum(fit_weight, axis=0), 1.0)
        reward_loss = jnp.sum(fit_weight * ((implied - fitted) ** 2 + self.reward_l2 * fitted**2), axis=0) / total
        # The regulariser φ softens the policy and so shrinks the reward; the scale that makes the expert's actions
        # most likely, fitted for each agent on its own, undoes that.
        frozen = jax.lax.stop_gradient(q_row[:count])
        log_prob = jax.nn.log_softmax(
            masked(self.rationality * jnp.exp(learnt.log_scale)[:, None] * frozen, expert.action_mask)
        )
        chosen = jnp.take_along_axis(log_prob, expert.actions[..., None], axis=-1)[..., 0]
        seen = expert.mask.astype(jnp.float32)
        scale_loss = -jnp.sum(jnp.where(expert.mask, chosen, 0.0), axis=0) / jnp.maximum(jnp.sum(seen, axis=0), 1.0)
        metrics = {
            "critic_loss": jnp.mean(critic_loss),
            "reward_loss": jnp.mean(reward_loss),
            "reward_scale": jnp.mean(jnp.exp(learnt.log_scale)),
            **{k: jnp.mean(v) for k, v in parts.items()},
        }
        return jnp.sum(critic_loss) + jnp.sum(reward_loss) + jnp.sum(scale_loss), metrics

    def values(self, critic: PerAgent, target: PerAgent, key, game: MarkovGame, steps: Transition):
        """Critic values of a batch of steps.

        Returns:
            Q̄(s, ·) `[batch, agent, action]`; then, each `[batch, agent]`: Q̄(s, a), V(s), V of the recorded s', and two
            samples of V(s'), which are the recorded one twice if `next_value` is "one_sample". V is 0 after
            termination.
        """
        q_row = critic.on_batch(steps.obs)
        q = jax.vmap(take_action)(q_row, steps.actions)
        value = soft_value(q_row, self.rationality, self.value_form, steps.action_mask)
        slow = critic if self.target_rate == 1.0 else jax.lax.stop_gradient(target)
        recorded = jnp.where(steps.terminated, 0.0, self._value(slow, steps.next_obs, steps.next_action_mask))
        if self.next_value == "one_sample":
            return q_row, q, value, recorded, recorded, recorded

        def value_at(state, terminated):
            after = soft_value(slow(game.observe(state)), self.rationality, self.value_form, game.action_mask(state))
            return jnp.where(terminated, 0.0, after)

        policy = jax.nn.softmax(masked(self.rationality * jax.lax.stop_gradient(q_row), steps.action_mask))
        again = sampled_next if self.next_value == "two_sample" else enumerated_next
        keys = jax.random.split(key, q.shape[0])
        first, second = jax.vmap(lambda k, s, a, p: again(k, game, value_at, s, a, p))(
            keys, steps.state, steps.actions, policy
        )
        return q_row, q, value, recorded, first, second

    def _value(self, critic: PerAgent, obs, action_mask) -> Float[Array, "batch agent"]:
        return soft_value(critic.on_batch(obs), self.rationality, self.value_form, action_mask)

    def _new_reward(self, game: MarkovGame, key) -> PerAgent:
        assert isinstance(game.action_space, Discrete)
        actions, agents = game.action_space.n, game.num_agents
        if self.reward_fit == "enumerate":
            return per_agent_network(game, actions**agents, self.reward_network, key, out_scale=0.01)
        size, config = flat_size(game.observation_spec) + actions * agents, self.reward_network

        def make(k):
            return WithVector(
                MLP.new(size, 1, width=config.width, depth=config.depth, key=k, activation=config.activation)
            )

        return PerAgent.new(make, agents, key, config.shared)

    def _fitted_reward(self, reward: PerAgent, steps: Transition, q_row) -> Float[Array, "batch agent"]:
        """E over a_-i ~ π_-i of R_i(s, a_i, a_-i), or R_i(s, a) itself when regressing."""
        if self.reward_fit == "regress":
            return jax.vmap(VectorJointReward(reward, q_row.shape[-1], jnp.ones(q_row.shape[1])))(
                steps.obs, steps.actions, steps.next_obs, steps.terminated
            )
        policy = jax.nn.softmax(masked(self.rationality * q_row, steps.action_mask))
        table = jax.vmap(marginal_over_others)(reward.on_batch(steps.obs), policy)
        return jax.vmap(take_action)(table, steps.actions)

    def _optimiser(self) -> optax.GradientTransformation:
        """Adam for the critic, the reward and the scale, each clipped and paced on its own."""

        steps, norm = self.anneal * self.updates, self.max_grad_norm
        return optax.partition(
            {
                "critic": adam(self.learning_rate, norm, weight_decay=self.weight_decay, anneal_steps=steps),
                "reward": adam(self.reward_learning_rate, norm, anneal_steps=steps),
                "scale": optax.adam(1e-3),
            },
            labels,
        )


def labels(learnt: Learnt) -> Learnt:
    """Which optimiser each array belongs to: the same tree with names for arrays."""
    names: Any = (
        jax.tree.map(lambda _: "critic", learnt.critic),
        jax.tree.map(lambda _: "reward", learnt.reward),
        "scale",
    )
    return Learnt(*names)
