"""IQ-Learn with critics over joint actions: the baseline "IQ-Learn MA" of Haynam et al. 2025 (arXiv:2503.04679).

Each agent i has a critic Q_i(o_i, a) of everybody's actions a ∈ Aⁿ and maximises IQ-Learn's objective with it:

    J_i = E_expert[φ(Q_i(o_i, a) - γ V_i')] - E_ρ[V_i - γ V_i'],    φ(x) = x - x²/(4α)

The paper "otherwise follows the IQ-Learn implementation exactly", and leaves open what V_i is and how to act:

    reading="joint"   V_i(o) = λ⁻¹ logsumexp over all joint actions of λ Q_i(o, ·): as if i chose for everybody.
    reading="slice"   V_i(o, a_-i) = λ⁻¹ logsumexp over a_i of λ Q_i(o, a_i, a_-i): i knows what the others do, a_-i in
                      the data; a_-i' of the next step are recorded ones or a sample of the policies.

Acting needs no knowledge of the others' actions: with a belief b_i about them,

    π_i(a_i | o_i) = Σ_a_-i b_i(a_-i | o_i) softmax_a_i(λ Q_i(o_i, ·, a_-i))

For the "boltzmann" belief, b_i(a_-i) ∝ Σ_a_i exp(λ Q_i), this is the marginal of the joint Boltzmann distribution;
"uniform" weighs all a_-i alike. The first is optimistic: it expects the others to do what i values, since no term of
the objective tells value from likelihood across a_-i. That is what MAMQL repairs.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float

from mairl.algorithms.base import Algorithm, Collection, Metrics
from mairl.algorithms.descent import adam, apply, descend, trainable
from mairl.algorithms.inverse_q import check_inverse_q, draw, new_replay, with_play
from mairl.core.errors import Unsupported
from mairl.core.game import MarkovGame
from mairl.core.learned import Learned
from mairl.core.reward import Reward
from mairl.core.spaces import Discrete
from mairl.core.transition import Transition, joined
from mairl.data.demonstrations import Demonstrations
from mairl.data.replay import Replay
from mairl.networks.build import NetworkConfig, PerAgent, per_agent_network
from mairl.networks.heads import MarginalPolicy, by_own_action
from mairl.networks.rewards import joint_index, take_action
from mairl.ops.inverse_q import inverse_q_loss, value_term


class State(eqx.Module):
    """Joint critics, the optimiser, and the play seen so far (None offline)."""

    critic: PerAgent
    opt_state: Any
    replay: Replay | None
    num_actions: int = eqx.field(static=True)


class JointImplicitReward(Reward):
    """r_i(s, a, s') = Q_i(o_i, a) - γ V_i(o_i'), V_i being 0 after termination. Units as the critic's.

    With slices V_i(o', a_-i') is averaged over i's belief about a_-i', since a step does not say what follows.
    """

    uses_next: ClassVar[bool] = True
    uses_others: ClassVar[bool] = True
    critic: PerAgent
    num_actions: int = eqx.field(static=True)
    rationality: float = eqx.field(static=True)
    discount: float = eqx.field(static=True)
    reading: str = eqx.field(static=True)
    belief: str = eqx.field(static=True)

    def __call__(
        self, obs, actions, next_obs, terminated, action_mask=None, next_action_mask=None
    ) -> Float[Array, " agent"]:
        """See `Reward`."""
        scaled = self.rationality * by_own_action(self.critic(next_obs), self.num_actions)
        if next_action_mask is not None:
            scaled = jnp.where(next_action_mask[..., None], scaled, -jnp.inf)
        slices = jax.nn.logsumexp(scaled, axis=1)
        if self.reading == "joint":
            value = jax.nn.logsumexp(slices, axis=1)
        elif self.belief == "uniform":
            value = jnp.mean(slices, axis=1)
        else:
            value = jnp.sum(jax.nn.softmax(slices, axis=1) * slices, axis=1)
        value = jnp.where(terminated, 0.0, value / self.rationality)
        q = take_action(self.critic(obs), joint_index(actions, self.num_actions))
        return q - self.discount * value


class MAIQLearn(Algorithm):
    """Inverse soft Q-learning with critics over joint actions, online or offline.

    Attributes:
        reading: what V_i ranges over: "joint" actions, or own actions in the "slice" of the others' actions.
        belief: about the others' actions when acting: "boltzmann" or "uniform". "joint" has only the first.
        next_slice: a_-i' in V_i(o', a_-i'): a sample of the present "policy", or, for expert steps, the actions
            recorded next ("data"; at the end of an episode, and in rollouts, the policy's). Only "slice" reads it.
        discount: γ, per step.
        rationality: λ, in 1 / units of reward.
        phi: "chi2" is φ(x) = x - x²/(4α), "identity" is φ(x) = x.
        alpha: α of φ, in units of reward (IQ-Learn's own default).
        chi2_on: where the square is averaged: "expert" steps (diverges easily), or "both", expert and rollout steps.
        value_term: E_ρ over "mixture" (expert and rollouts), "policy", "expert", or "initial", (1 - γ) E[V(o_0)].
        learning_rate: of Adam.
        max_grad_norm: each agent's gradient is clipped to this norm.
        weight_decay: AdamW's.
        batch: steps drawn from the expert, and as many from the buffer, per update.
        updates: gradient updates per iteration.
        num_envs, num_steps: play per iteration.
        buffer: steps of play kept; rounded down to whole rollouts.
        offline: learn from the recording alone, without playing.
        network: sizes of the critics, whose output is one value per joint action (at most 4,096).
    """

    reading: Literal["joint", "slice"] = eqx.field(static=True, default="joint")
    belief: Literal["boltzmann", "uniform"] = eqx.field(static=True, default="boltzmann")
    next_slice: Literal["policy", "data"] = eqx.field(static=True, default="policy")
    discount: float = eqx.field(static=True, default=0.97)
    rationality: float = eqx.field(static=True, default=1.0)
    phi: Literal["chi2", "identity"] = eqx.field(static=True, default="chi2")
    alpha: float = eqx.field(static=True, default=0.5)
    chi2_on: Literal["expert", "both"] = eqx.field(static=True, default="both")
    value_term: Literal["mixture", "policy", "expert", "initial"] = eqx.field(static=True, default="mixture")
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
        """Refuses vector actions, too many joint ones, missing data, and options that contradict the reading."""
        check_inverse_q("IQ-Learn MA", game, data, self.offline, self.value_term)
        assert isinstance(game.action_space, Discrete)
        joint = game.action_space.n**game.num_agents
        if joint > 4096:
            raise Unsupported(f"{joint} joint actions are too many for a critic over Aⁿ (at most 4096): use mamql")
        if self.reading == "joint" and self.belief != "boltzmann":
            raise Unsupported("reading='joint' acts by the marginal of its joint Boltzmann: use belief='boltzmann'")

    def collection(self, game: MarkovGame) -> Collection | None:
        """`num_envs` × `num_steps` per iteration; none offline."""
        return None if self.offline else Collection(self.num_envs, self.num_steps)

    def init(self, key, game: MarkovGame, data: Demonstrations | None) -> State:
        """Fresh networks and an empty buffer."""
        assert isinstance(game.action_space, Discrete)
        actions = game.action_space.n
        critic = per_agent_network(game, actions**game.num_agents, self.network, key, out_scale=0.01)
        opt_state = self._optimiser().init(trainable(critic))
        replay = None if self.offline else new_replay(game, self.num_envs * self.num_steps, self.buffer)
        return State(critic, opt_state, replay, actions)

    def behaviour(self, state: State) -> MarginalPolicy | None:
        """The marginal policies of the joint critics."""
        return None if self.offline else self._policy(state.critic, state.num_actions)

    def update(self, key, state: State, game, data, rollout) -> tuple[State, Metrics]:
        """Adds the rollout to the buffer and makes `updates` steps on every agent's -J_i."""
        assert data is not None
        replay = with_play(state.replay, rollout)

        def step(learnt, key):
            critic, opt_state = learnt
            key_draw, key_next = jax.random.split(key)
            steps = draw(key_draw, game, data, replay, self.batch, self.value_term)
            recorded = recorded_next(data, steps.index) if self.next_slice == "data" else None
            given = (steps.expert, steps.played, steps.starts, recorded)
            loss = eqx.filter_grad(self.loss, has_aux=True)
            grads, metrics = loss(critic, key_next, *given, num_actions=state.num_actions)
            return apply(self._optimiser(), critic, opt_state, grads), metrics

        (critic, opt_state), metrics = descend(step, (state.critic, state.opt_state), key, self.updates)
        return State(critic, opt_state, replay, state.num_actions), metrics

    def result(self, state: State) -> Learned:
        """The marginal policies, and the rewards of joint actions that the critics imply."""
        reward = JointImplicitReward(
            state.critic, state.num_actions, self.rationality, self.discount, self.reading, self.belief
        )
        return Learned(self._policy(state.critic, state.num_actions), reward, reward)

    def loss(
        self,
        critic: PerAgent,
        key,
        expert: Transition,
        played: Transition | None,
        starts: Transition | None = None,
        recorded: tuple[Array, Array] | None = None,
        *,
        num_actions: int,
    ) -> tuple[Float[Array, ""], Metrics]:
        """The sum over agents of -J_i.

        Args:
            key: for sampled next actions ("slice" only).
            expert, played: `[batch, ...]` steps with observations; `played` is None offline.
            starts: first steps of episodes, where `value_term` is "initial".
            recorded: the expert's next actions `[batch, agent]`, and where they are known `[batch]`.
        """
        both = expert if played is None else joined(expert, played)
        count = expert.truncated.shape[0]
        row, next_row = critic.on_batch(both.obs), critic.on_batch(both.next_obs)
        next_actions = both.actions
        if self.reading == "slice":
            policy = self._policy(critic, num_actions)
            keys = jax.random.split(key, both.truncated.shape[0])
            next_actions = jax.vmap(policy.sample)(keys, both.next_obs, both.next_action_mask)
            if recorded is not None:
                known = jnp.where(recorded[1][:, None], recorded[0], next_actions[:count])
                next_actions = next_actions.at[:count].set(known)
        value = self._value(row, both.actions, both.action_mask, num_actions)
        after = self._value(next_row, next_actions, both.next_action_mask, num_actions)
        after = jnp.where(both.terminated, 0.0, after)
        first = None
        if starts is not None:
            first = self._value(critic.on_batch(starts.obs), starts.actions, starts.action_mask, num_actions)
        weight = both.mask.astype(row.dtype)
        from_expert = jnp.arange(weight.shape[0]) < count
        flow = value_term(
            value,
            after,
            weight=weight,
            from_expert=from_expert,
            discount=self.discount,
            form=self.value_term,
            initial_value=first,
        )
        place = jax.vmap(lambda a: joint_index(a, num_actions))(both.actions)
        losses, parts = inverse_q_loss(
            jax.vmap(take_action)(row, place),
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
        return jnp.sum(losses), {"critic_loss": jnp.mean(losses), **{k: jnp.mean(v) for k, v in parts.items()}}

    def _value(
        self, row: Float[Array, "batch agent joint"], actions, action_mask, num_actions: int
    ) -> Float[Array, "batch agent"]:
        """V_i over own allowed actions and either all the others' (allowed or not, so that critics learn to expect
        none that never happen) or theirs in `actions`."""
        table = jax.vmap(lambda r: by_own_action(r, num_actions))(row)
        if self.reading == "slice":
            others = jax.vmap(lambda a: joint_index(a, num_actions))(actions) % table.shape[-1]
            table = jnp.take_along_axis(table, others[..., None, None], axis=-1)
        if action_mask is not None:
            table = jnp.where(action_mask[..., None], table, -jnp.inf)
        return jax.nn.logsumexp(self.rationality * table, axis=(-2, -1)) / self.rationality

    def _policy(self, critic: PerAgent, num_actions: int) -> MarginalPolicy:
        return MarginalPolicy(critic, num_actions, self.rationality, self.belief)

    def _optimiser(self) -> optax.GradientTransformation:
        return adam(self.learning_rate, self.max_grad_norm, weight_decay=self.weight_decay)


def recorded_next(data: Demonstrations, index: Array) -> tuple[Array, Bool[Array, " batch"]]:
    """The joint actions `[batch, agent]` recorded one step after `index`, and whether the episode went on till then."""
    after = jnp.minimum(index + 1, data.num_steps - 1)
    follows = (data.steps[after, 0] == data.steps[index, 0]) & (after > index)
    return data.actions[data.steps[after, 0], data.steps[after, 1]], follows
