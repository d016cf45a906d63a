"""IQ-Learn for each agent on its own (Garg et al. 2021, arXiv:2106.12142).

Each agent i has a critic Q_i(o_i, a_i) of its own observation and action, plays π_i = softmax(λ Q_i), and treats the
others as part of its environment. Its critic maximises

    J_i = E_expert[φ(Q_i(o_i, a_i) - γ V_i(o_i'))] - E_ρ[V_i(o_i) - γ V_i(o_i')],
    V_i(o) = λ⁻¹ logsumexp(λ Q_i(o, ·)),   φ(x) = x - x²/(4α)

and the reward that it implies is r_i = Q_i(o_i, a_i) - γ V_i(o_i').

    repeat: add a rollout to the buffer; for each agent: sample expert and rollout steps, step Q_i on -J_i

How it differs from MAMQL: the marginal critic of MAMQL has the same form, and on the same rollouts, with the same φ
and one recorded next state, its critic update is this one exactly. What MAMQL adds is the mean over the others'
actions in the next value (its `next_value`) and a reward of joint actions. What "separately" can further mean is
`partners`, and the defaults here are IQ-Learn's own (α = 0.5), not MAMQL's.
"""

from __future__ import annotations

from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from mairl.algorithms.base import Algorithm, Collection, Metrics
from mairl.algorithms.bc import categorical_terms
from mairl.algorithms.descent import adam, apply, descend, trainable
from mairl.algorithms.inverse_q import check_inverse_q, draw, new_replay, with_play
from mairl.core.game import MarkovGame
from mairl.core.learned import Learned
from mairl.core.policy import DiscretePolicy
from mairl.core.spaces import Discrete
from mairl.core.transition import Transition, joined
from mairl.data.demonstrations import Demonstrations
from mairl.data.replay import Replay
from mairl.networks.build import NetworkConfig, PerAgent, per_agent_network
from mairl.networks.heads import BoltzmannPolicy
from mairl.networks.rewards import ImplicitReward, take_action
from mairl.ops.inverse_q import inverse_q_loss, value_term, weighted_mean
from mairl.ops.soft_bellman import soft_value


class State(eqx.Module):
    """Critics, the clones that stand in for partners (None where they are not needed), the optimiser, past play.

    Attributes:
        turn: number of iterations so far; with cloned partners, agent `turn % n` is the one that learns by playing.
    """

    critic: PerAgent
    clone: PerAgent | None
    opt_state: Any
    replay: Replay | None
    turn: Int[Array, ""]
    num_agents: int = eqx.field(static=True)


class TurnPolicy(DiscretePolicy):
    """One agent plays its critic, softmax(λ Q_i), the others their clones."""

    critic: PerAgent
    clone: PerAgent
    learner: Int[Array, ""]
    rationality: float = eqx.field(static=True)

    def logits(self, obs) -> Float[Array, "agent action"]:
        """See `DiscretePolicy.logits`."""
        own = self.rationality * self.critic(obs)
        return jnp.where((jnp.arange(own.shape[0]) == self.learner)[:, None], own, self.clone(obs))


class IQLearn(Algorithm):
    """Inverse soft Q-learning, one agent at a time, online or offline.

    Attributes:
        discount: γ, per step.
        rationality: λ, in 1 / units of reward. It fixes the unit of the recovered reward.
        phi: "chi2" is φ(x) = x - x²/(4α), "identity" is φ(x) = x.
        alpha: α of φ, in units of reward.
        chi2_on: where the square is averaged: "expert" steps (diverges easily), or "both", expert and rollout steps.
        value_term: E_ρ over "mixture" (expert and rollouts), "policy", "expert", or "initial", (1 - γ) E[V(o_0)].
        partners: who plays the others in agent i's rollouts. "learned": everybody's present policy, in one rollout
            for all (independent learners: the stronger baseline, hence the default). "cloned": agents take turns
            to learn among clones of the recorded partners, which stand for n runs apart; each sees 1/n of the play.
        learning_rate: of Adam.
        max_grad_norm: each agent's gradient is clipped to this norm.
        weight_decay: AdamW's.
        batch: steps drawn from the expert, and as many from the buffer, per update.
        updates: gradient updates per iteration.
        num_envs, num_steps: play per iteration.
        buffer: steps of play kept; rounded down to whole rollouts.
        offline: learn from the recording alone, without playing.
        network: sizes of the critics (and clones).
    """

    discount: float = eqx.field(static=True, default=0.97)
    rationality: float = eqx.field(static=True, default=1.0)
    phi: Literal["chi2", "identity"] = eqx.field(static=True, default="chi2")
    alpha: float = eqx.field(static=True, default=0.5)
    chi2_on: Literal["expert", "both"] = eqx.field(static=True, default="both")
    value_term: Literal["mixture", "policy", "expert", "initial"] = eqx.field(static=True, default="mixture")
    partners: Literal["learned", "cloned"] = eqx.field(static=True, default="learned")
    learning_rate: float = eqx.field(static=True, default=3e-4)
    max_grad_norm: float = eqx.field(static=True, default=10.0)
    weight_decay: float = eqx.field(static=True, default=0.0)
    batch: int = eqx.field(static=True, default=128)
    updates: int = eqx.field(static=True, default=8)
    num_envs: int = eqx.field(static=True, default=8)
    num_steps: int = eqx.field(static=True, default=8)
    buffer: int = eqx.field(static=True, default=16_384)
    offline: bool = eqx.field(static=True, default=False)
    network: NetworkConfig = eqx.field(static=True, default=NetworkConfig())

    def check(self, game: MarkovGame, data: Demonstrations | None) -> None:
        """Refuses vector actions, missing data, and averages over play that there is not."""
        check_inverse_q("IQ-Learn", game, data, self.offline, self.value_term)

    def collection(self, game: MarkovGame) -> Collection | None:
        """`num_envs` × `num_steps` per iteration; none offline."""
        return None if self.offline else Collection(self.num_envs, self.num_steps)

    def init(self, key, game: MarkovGame, data: Demonstrations | None) -> State:
        """Fresh networks and an empty buffer."""
        assert isinstance(game.action_space, Discrete)
        key_critic, key_clone = jax.random.split(key)
        critic = per_agent_network(game, game.action_space.n, self.network, key_critic, out_scale=0.01)
        cloned = self.partners == "cloned" and not self.offline
        clone = per_agent_network(game, game.action_space.n, self.network, key_clone, 0.01) if cloned else None
        opt_state = self._optimiser().init(trainable((critic, clone)))
        replay = None if self.offline else new_replay(game, self.num_envs * self.num_steps, self.buffer)
        return State(critic, clone, opt_state, replay, jnp.zeros((), jnp.int32), game.num_agents)

    def behaviour(self, state: State) -> DiscretePolicy | None:
        """π_i = softmax(λ Q_i), or with cloned partners one of them among clones."""
        if self.offline:
            return None
        if state.clone is None:
            return BoltzmannPolicy(state.critic, self.rationality)
        return TurnPolicy(state.critic, state.clone, state.turn % state.num_agents, self.rationality)

    def update(self, key, state: State, game, data, rollout) -> tuple[State, Metrics]:
        """Adds the rollout to the buffer and makes `updates` steps on every agent's -J_i."""
        assert data is not None
        if rollout is not None and state.clone is not None:
            # Only the agent whose turn it is plays as it would in a run of its own.
            own_turn = rollout.mask & (jnp.arange(state.num_agents) == state.turn % state.num_agents)
            rollout = eqx.tree_at(lambda t: t.mask, rollout, own_turn)
        replay = with_play(state.replay, rollout)

        def step(learnt, key):
            nets, opt_state = learnt
            steps = draw(key, game, data, replay, self.batch, self.value_term)
            grads, metrics = eqx.filter_grad(self.loss, has_aux=True)(nets, steps.expert, steps.played, steps.starts)
            return apply(self._optimiser(), nets, opt_state, grads), metrics

        learnt = ((state.critic, state.clone), state.opt_state)
        ((critic, clone), opt_state), metrics = descend(step, learnt, key, self.updates)
        return State(critic, clone, opt_state, replay, state.turn + 1, state.num_agents), metrics

    def result(self, state: State) -> Learned:
        """The Boltzmann policies, and the rewards that the critics imply at a recorded next step."""
        reward = ImplicitReward(state.critic, jnp.ones(state.num_agents), self.rationality, self.discount)
        return Learned(BoltzmannPolicy(state.critic, self.rationality), reward, reward)

    def loss(
        self,
        params: tuple[PerAgent, PerAgent | None],
        expert: Transition,
        played: Transition | None,
        starts: Transition | None = None,
    ) -> tuple[Float[Array, ""], Metrics]:
        """The sum over agents of -J_i, and of the clones' negative log-likelihood where there are clones.

        Args:
            expert, played: `[batch, ...]` steps with observations; `played` is None offline.
            starts: first steps of episodes, where `value_term` is "initial".
        """
        critic, clone = params
        both = expert if played is None else joined(expert, played)

        def value(obs, action_mask):
            return soft_value(critic.on_batch(obs), self.rationality, action_mask=action_mask)

        row = critic.on_batch(both.obs)
        after = jnp.where(both.terminated, 0.0, value(both.next_obs, both.next_action_mask))
        weight = both.mask.astype(row.dtype)
        from_expert = jnp.arange(weight.shape[0]) < expert.truncated.shape[0]
        flow = value_term(
            soft_value(row, self.rationality, action_mask=both.action_mask),
            after,
            weight=weight,
            from_expert=from_expert,
            discount=self.discount,
            form=self.value_term,
            initial_value=None if starts is None else value(starts.obs, starts.action_mask),
        )
        losses, parts = inverse_q_loss(
            jax.vmap(take_action)(row, both.actions),
            after,
            after,
            flow,
            weight=weight,
            from_expert=from_expert,
            discount=self.discount,
            phi=self.phi,
            alpha=self.alpha,
            chi2_on=self.chi2_on,
        )
        total = jnp.sum(losses)
        if clone is not None:
            log_prob, _ = categorical_terms(clone.on_batch(expert.obs), expert.actions, expert.action_mask, 0.0)
            total = total - jnp.sum(weighted_mean(log_prob, expert.mask.astype(row.dtype)))
        return total, {"critic_loss": jnp.mean(losses), **{k: jnp.mean(v) for k, v in parts.items()}}

    def _optimiser(self) -> optax.GradientTransformation:
        return adam(self.learning_rate, self.max_grad_norm, weight_decay=self.weight_decay)
