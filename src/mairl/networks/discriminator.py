"""Networks that score a step, for adversarial imitation, and the rewards that they give."""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from mairl.core.game import MarkovGame
from mairl.core.reward import Reward
from mairl.core.spaces import Discrete
from mairl.networks.build import NetworkConfig, PerAgent, WithVector, flat_size, make_network
from mairl.networks.mlp import MLP
from mairl.networks.rewards import joint_index
from mairl.ops.discriminator import Moments, reward_form, shaped

MOST_JOINT = 256
"""Joint actions are the columns of a table up to this many, and a vector of one-hots beyond."""

Inputs = Literal["state", "own", "joint"]


@dataclasses.dataclass(frozen=True)
class DiscriminatorConfig:
    """How a discriminator is built and trained.

    Attributes:
        network: sizes.
        learning_rate: of Adam.
        batch: expert steps, and as many of the latest rollout, per gradient update.
        updates: gradient updates per iteration.
        gradient_penalty: weight of the squared gradient at mixtures of expert and rollout steps; 0 leaves it out.
        spectral_limit: largest singular value of any weight matrix; 0 leaves them free.
        label_smoothing: probability of a wrong label, in [0, 0.5).
        max_grad_norm: each agent's gradient is clipped to this norm.
        normalise: observations by their running mean and deviation.
    """

    network: NetworkConfig = NetworkConfig(width=64, activation="tanh")
    learning_rate: float = 3e-4
    batch: int = 256
    updates: int = 4
    gradient_penalty: float = 0.1
    spectral_limit: float = 0.0
    label_smoothing: float = 0.0
    max_grad_norm: float = 10.0
    normalise: bool = True


class Score(eqx.Module):
    """One number per agent for what it saw and what was done.

    Actions come in as vectors (see `encode`), so that gradients and mixtures of actions make sense. Small discrete
    action sets are the columns of a table, `net(obs) @ vector`: any network, a CNN too, can give it.

    Attributes:
        inputs: the observation alone ("state"), with one's "own" action, or with everybody's ("joint").
        central: one score for all, of everybody's observations.
        num_actions: A, or 0 for vector actions.
    """

    net: PerAgent
    inputs: Inputs = eqx.field(static=True)
    central: bool = eqx.field(static=True)
    num_actions: int = eqx.field(static=True)
    table: bool = eqx.field(static=True)

    @classmethod
    def new(
        cls, game: MarkovGame, inputs: Inputs, config: NetworkConfig, key: Key[Array, ""], central: bool = False
    ) -> Score:
        """A fresh score, near 0 everywhere."""
        agents, space = game.num_agents, game.action_space
        actions = space.n if isinstance(space, Discrete) else 0
        each = space.n if isinstance(space, Discrete) else space.size
        table = not central and (
            inputs == "state" or (actions > 0 and (inputs == "own" or actions**agents <= MOST_JOINT))
        )
        columns = {"state": 1, "own": actions, "joint": actions**agents}[inputs]
        size = flat_size(game.observation_spec) * (agents if central else 1)
        size += {"state": 1, "own": each, "joint": each * agents}[inputs]

        def make(k) -> eqx.Module:
            if table:
                return make_network(game.observation_spec, columns, config, k, 0.01)
            width, depth = config.width, config.depth
            mlp = MLP.new(size, 1, width=width, depth=depth, key=k, activation=config.activation, out_scale=0.01)
            return WithVector(mlp)

        shared = config.shared or central
        return cls(PerAgent.new(make, agents, key, shared), inputs, central, actions, table)

    def encode(self, actions: Array) -> Float[Array, "agent feature"]:
        """A joint action, `[agent]` or `[agent, size]`, as this score's vectors."""
        agents = actions.shape[0]
        if self.inputs == "state":
            return jnp.ones((agents, 1))
        if self.inputs == "joint" and self.table:
            return jax.nn.one_hot(joint_index(actions, self.num_actions), self.num_actions**agents)
        own = jax.nn.one_hot(actions, self.num_actions) if self.num_actions else actions
        if self.inputs == "own":
            return own
        if self.central:
            return jnp.broadcast_to(own.ravel(), (agents, own.size))
        own_first = [jnp.concatenate([own[i : i + 1], own[:i], own[i + 1 :]]).ravel() for i in range(agents)]
        return jnp.stack(own_first)

    def __call__(self, obs: PyTree[Array], vectors: Float[Array, "agent feature"]) -> Float[Array, " agent"]:
        """Scores one step; `obs` has leaves `[agent, ...]`."""
        if self.central:
            return jnp.broadcast_to(self.net.net(obs, vectors[0]), vectors.shape[:1])  # type: ignore[operator]
        if self.table:
            return jnp.sum(self.net(obs) * vectors, axis=-1)
        return self.net(obs, vectors)[:, 0]


class Discriminator(eqx.Module):
    """What is trained: g, AIRL's shaping h (None for GAIL), and the logit of the state after termination."""

    g: Score
    h: Score | None
    absorbing: Float[Array, " agent"]
    discount: float = eqx.field(static=True)

    def __call__(self, obs, vectors, next_obs, terminated) -> Float[Array, " agent"]:
        """g, or f = g + γ h(s') - h(s) where there is shaping. Observations prepared by `prepare`."""
        g = self.g(obs, vectors)
        if self.h is None:
            return g
        ones = jnp.ones((*g.shape, 1))
        return shaped(g, self.h(obs, ones), self.h(next_obs, ones), terminated, self.discount)


def prepare(obs: PyTree[Array], moments: Moments | None) -> PyTree[Array]:
    """Observations as floats (entity sets keep their boolean "mask"), normalised if there are moments."""

    def cast(path, x):
        keep = jnp.issubdtype(x.dtype, jnp.floating) or "'mask'" in jax.tree_util.keystr(path)
        return x if keep else x.astype(jnp.float32)

    cast_obs = jax.tree_util.tree_map_with_path(cast, obs)
    if moments is None:
        return cast_obs
    scaled = moments.normalise(cast_obs)
    return jax.tree.map(lambda x, y: y if jnp.issubdtype(x.dtype, jnp.floating) else x, cast_obs, scaled)


class OwnScoreReward(Reward):
    """form(g_i(o_i, a_i)): the score without shaping. Forms as in `mairl.ops.discriminator.reward_form`."""

    uses_next: ClassVar[bool] = False
    uses_others: ClassVar[bool] = False
    g: Score
    moments: Moments | None
    form: str = eqx.field(static=True, default="logit")

    def __call__(
        self, obs, actions, next_obs, terminated, action_mask=None, next_action_mask=None
    ) -> Float[Array, " agent"]:
        """See `Reward`."""
        return reward_form(self.g(prepare(obs, self.moments), self.g.encode(actions)), self.form)


class JointScoreReward(Reward):
    """form(g_i(o_i, a)), or form(g(o, a)) of a central score: as `OwnScoreReward`, with everybody's actions."""

    uses_next: ClassVar[bool] = False
    uses_others: ClassVar[bool] = True
    g: Score
    moments: Moments | None
    form: str = eqx.field(static=True, default="logit")

    def __call__(
        self, obs, actions, next_obs, terminated, action_mask=None, next_action_mask=None
    ) -> Float[Array, " agent"]:
        """See `Reward`."""
        return reward_form(self.g(prepare(obs, self.moments), self.g.encode(actions)), self.form)


class ShapedOwnReward(Reward):
    """f_i = g_i(o_i, a_i) + γ h_i(o_i') - h_i(o_i): AIRL's."""

    uses_next: ClassVar[bool] = True
    uses_others: ClassVar[bool] = False
    discriminator: Discriminator
    moments: Moments | None

    def __call__(
        self, obs, actions, next_obs, terminated, action_mask=None, next_action_mask=None
    ) -> Float[Array, " agent"]:
        """See `Reward`."""
        d, vectors = self.discriminator, self.discriminator.g.encode(actions)
        return d(prepare(obs, self.moments), vectors, prepare(next_obs, self.moments), terminated)


class ShapedJointReward(Reward):
    """f_i = g_i(o_i, a) + γ h_i(o_i') - h_i(o_i): MA-AIRL's, with everybody's actions."""

    uses_next: ClassVar[bool] = True
    uses_others: ClassVar[bool] = True
    discriminator: Discriminator
    moments: Moments | None

    def __call__(
        self, obs, actions, next_obs, terminated, action_mask=None, next_action_mask=None
    ) -> Float[Array, " agent"]:
        """See `Reward`."""
        d, vectors = self.discriminator, self.discriminator.g.encode(actions)
        return d(prepare(obs, self.moments), vectors, prepare(next_obs, self.moments), terminated)


def score_reward(g: Score, moments: Moments | None, form: str = "logit") -> Reward:
    """The score as a reward of own or of joint actions, whichever it reads."""
    joint = g.central or g.inputs == "joint"
    return JointScoreReward(g, moments, form) if joint else OwnScoreReward(g, moments, form)


def shaped_reward(discriminator: Discriminator, moments: Moments | None) -> Reward:
    """f as a reward of own or of joint actions, whichever it reads."""
    joint = discriminator.g.inputs == "joint"
    return ShapedJointReward(discriminator, moments) if joint else ShapedOwnReward(discriminator, moments)
