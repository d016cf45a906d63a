"""Rewards that a network gives."""

from __future__ import annotations

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mairl.core.policy import DiscretePolicy
from mairl.core.reward import Reward
from mairl.core.transition import Transition
from mairl.networks.build import PerAgent
from mairl.ops.soft_bellman import soft_value


def take_action(values: Float[Array, "agent action"], actions: Array) -> Float[Array, " agent"]:
    """Picks each agent's own action's value."""
    return jnp.take_along_axis(values, actions[:, None], axis=-1)[:, 0]


def joint_index(actions: Array, num_actions: int) -> Array:
    """The place of a joint action `[agent]` in the row-major table of all `num_actions ** agent`, for every agent.

    Agent i's own action comes first, then the others in order: `[agent]` indices.
    """
    n = actions.shape[0]
    own_first = jnp.stack([jnp.concatenate([actions[i : i + 1], actions[:i], actions[i + 1 :]]) for i in range(n)])
    powers = num_actions ** jnp.arange(n - 1, -1, -1)
    return own_first @ powers


class ActionReward(Reward):
    """r_i(s, a_i) = scale_i · net_i(obs_i)[a_i]: an induced (marginal) reward, discrete actions."""

    uses_next: ClassVar[bool] = False
    uses_others: ClassVar[bool] = False
    net: PerAgent
    scale: Float[Array, " agent"]

    def __call__(
        self, obs, actions, next_obs, terminated, action_mask=None, next_action_mask=None
    ) -> Float[Array, " agent"]:
        """See `Reward`."""
        return self.scale * take_action(self.net(obs), actions)


class JointReward(Reward):
    """r_i(s, a) = scale_i · net_i(obs_i)[a_i, a_-i]: a table over all joint actions, own action first."""

    uses_next: ClassVar[bool] = False
    uses_others: ClassVar[bool] = True
    net: PerAgent
    num_actions: int = eqx.field(static=True)
    scale: Float[Array, " agent"]

    def __call__(
        self, obs, actions, next_obs, terminated, action_mask=None, next_action_mask=None
    ) -> Float[Array, " agent"]:
        """See `Reward`."""
        table = self.net(obs)
        return self.scale * take_action(table, joint_index(actions, self.num_actions))


class VectorJointReward(Reward):
    """r_i(s, a) = scale_i · net_i(obs_i, one-hot of everybody's actions), for games with too many joint actions."""

    uses_next: ClassVar[bool] = False
    uses_others: ClassVar[bool] = True
    net: PerAgent
    num_actions: int = eqx.field(static=True)
    scale: Float[Array, " agent"]

    def __call__(
        self, obs, actions, next_obs, terminated, action_mask=None, next_action_mask=None
    ) -> Float[Array, " agent"]:
        """See `Reward`."""
        vector = one_hot_actions(actions, self.num_actions)
        return self.scale * self.net(obs, jnp.broadcast_to(vector, (actions.shape[0], vector.shape[0])))[:, 0]


class ImplicitReward(Reward):
    """r_i(s, a_i, s') = scale_i · (Q_i(s, a_i) - γ V_i(s')), the reward that a soft critic implies (Eq. 6 of the MAMQL
    paper, one sample of s'). V is 0 after termination. Units as the critic's."""

    uses_next: ClassVar[bool] = True
    uses_others: ClassVar[bool] = False
    critic: PerAgent
    scale: Float[Array, " agent"]
    rationality: float = eqx.field(static=True)
    discount: float = eqx.field(static=True)
    value_form: str = eqx.field(static=True, default="soft")

    def __call__(
        self, obs, actions, next_obs, terminated, action_mask=None, next_action_mask=None
    ) -> Float[Array, " agent"]:
        """See `Reward`."""
        value = soft_value(self.critic(next_obs), self.rationality, self.value_form, next_action_mask)
        q = take_action(self.critic(obs), actions)
        return self.scale * (q - self.discount * jnp.where(terminated, 0.0, value))


class InducedReward(Reward):
    """R̄_i(s, a_i) = E over the others' policies of R_i(s, a_i, a_-i): Eq. 7 of the MAMQL paper, by enumeration."""

    uses_next: ClassVar[bool] = False
    uses_others: ClassVar[bool] = False
    joint: JointReward
    policy: DiscretePolicy

    def __call__(
        self, obs, actions, next_obs, terminated, action_mask=None, next_action_mask=None
    ) -> Float[Array, " agent"]:
        """See `Reward`."""
        table = marginal_over_others(self.joint.net(obs), jnp.exp(self.policy.log_probs(obs, action_mask)))
        return self.joint.scale * take_action(table, actions)


class ScaledReward(Reward):
    """A reward in other units."""

    uses_next: ClassVar[bool] = True
    uses_others: ClassVar[bool] = True
    reward: Reward
    scale: Float[Array, ""]

    def __call__(
        self, obs, actions, next_obs, terminated, action_mask=None, next_action_mask=None
    ) -> Float[Array, " agent"]:
        """See `Reward`."""
        return self.scale * self.reward(obs, actions, next_obs, terminated, action_mask, next_action_mask)


class CautiousReward(Reward):
    """Mean of several recovered rewards less `caution` times their standard deviation: where they disagree, nothing
    that was recorded decides, and pay is low.

    Attributes:
        members: rewards stacked on the first axis.
        scales: `[member]`, of each: recovered rewards have units of their own.
        caution: how many standard deviations are taken off; 0 is the mean.
    """

    uses_next: ClassVar[bool] = True
    uses_others: ClassVar[bool] = True
    members: Reward
    scales: Float[Array, " member"]
    caution: Float[Array, ""]

    def __call__(
        self, obs, actions, next_obs, terminated, action_mask=None, next_action_mask=None
    ) -> Float[Array, " agent"]:
        """See `Reward`."""

        def one(member, scale):
            return scale * member(obs, actions, next_obs, terminated, action_mask, next_action_mask)

        each = eqx.filter_vmap(one)(self.members, self.scales)
        return jnp.mean(each, axis=0) - self.caution * jnp.std(each, axis=0)


def marginal_over_others(
    table: Float[Array, "agent joint"], policy: Float[Array, "agent action"]
) -> Float[Array, "agent action"]:
    """Averages each agent's table over joint actions (own first, as in `joint_index`) over the others' policies."""
    num_agents, num_actions = policy.shape
    means = []
    for i in range(num_agents):
        weights = jnp.ones(1)
        for j in range(num_agents):
            if j != i:
                weights = (weights[:, None] * policy[j]).reshape(-1)
        means.append(table[i].reshape(num_actions, -1) @ weights)
    return jnp.stack(means)


def one_hot_actions(actions: Array, num_actions: int) -> Float[Array, " features"]:
    """A joint action `[agent]` as one flat one-hot vector."""
    return jax.nn.one_hot(actions, num_actions).ravel()


def reward_of(reward: Reward, steps: Transition) -> Float[Array, "*b agent"]:
    """A reward at a batch of steps `[*b, ...]` with observations."""
    call = reward.__call__
    for _ in steps.batch_shape:
        call = jax.vmap(call)
    return call(steps.obs, steps.actions, steps.next_obs, steps.terminated, steps.action_mask, steps.next_action_mask)
