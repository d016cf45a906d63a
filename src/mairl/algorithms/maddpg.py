"""MADDPG: a policy per agent that sees its own, a critic per agent that sees all (Lowe et al. 2017, arXiv:1706.02275).

With x everybody's observations and a everybody's actions (one-hot), each agent i has a critic Q_i(x, a_1 … a_n):

    repeat: play π; add the steps to the buffer
            for sampled steps and every agent i at once:
                y_i = r_i + γ (1 - d_i) Q̂_i(x', a'_1 … a'_n),   a'_j ~ π̂_j(o'_j)                       (Eq. 6)
                min E[(Q_i(x, a) - y_i)²] / 2
                max E[Q_i(x, a_1 … ã_i … a_n)] + c_e H(π_i) - c_l E[logits²],   ã_i ~ π_i(o_i)           (Eq. 5)
            the slow copies:  π̂ ← π̂ + τ (π - π̂),  Q̂ ← Q̂ + τ (Q - Q̂)

Actions are discrete: the gradient passes through ã_i by the Gumbel-softmax, straight through, or, with
`gradient="expected"`, the mean over agent i's own actions is summed exactly, which has no noise and no bias. The
others' actions are those that were played. Agents who take no part are seen as zeros.
"""

from __future__ import annotations

from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Key, PyTree

from mairl.algorithms.base import Algorithm, Collection, Metrics
from mairl.algorithms.descent import adam, apply, descend, follow, trainable
from mairl.core.errors import Unsupported
from mairl.core.game import MarkovGame
from mairl.core.learned import Learned
from mairl.core.policy import NoisyPolicy, masked
from mairl.core.spaces import Discrete
from mairl.core.transition import Transition, observe
from mairl.data.collect import step_zeros
from mairl.data.demonstrations import Demonstrations
from mairl.data.replay import Replay
from mairl.networks.build import NetworkConfig, PerAgent, flat_size, flatten, per_agent_network
from mairl.networks.heads import CategoricalPolicy
from mairl.networks.mlp import MLP
from mairl.ops.gumbel import straight_through


class Learnt(eqx.Module):
    """What is trained: the policies' networks, from an agent's own observation, and the critics."""

    policy: PerAgent
    critic: PerAgent


class State(eqx.Module):
    """The networks, their slow copies, the optimisers' states and the play seen so far."""

    learnt: Learnt
    target: Learnt
    opt_state: Any
    replay: Replay


class MADDPG(Algorithm):
    """Actors with centralised critics.

    Attributes:
        discount: γ, per step.
        horizon_ends: the time limit is an end, after which nothing is worth anything (see `DQN`).
        gradient: of the policies: "gumbel" (the paper's) or "expected".
        temperature: of the Gumbel-softmax.
        noise: share of uniformly random actions while playing.
        entropy: c_e, in units of scaled reward per nat.
        logit_penalty: c_l.
        policy_rate, critic_rate: of Adam; they fall linearly to `final_rate` of themselves over `anneal_updates`
            iterations.
        anneal_updates: 0 keeps the rates.
        target_rate: τ, per gradient step.
        max_grad_norm: each agent's gradient is clipped to this norm, of policies and critics apart.
        reward_scale: rewards are multiplied by it, so that critics see numbers around 1.
        batch: steps per gradient step; `updates`: gradient steps per iteration.
        num_envs, num_steps: play per iteration.
        buffer: steps of play kept; rounded down to whole rollouts.
        network: of the policies. Critics are MLPs of the same sizes, whatever its kind.
    """

    discount: float = eqx.field(static=True, default=0.97)
    horizon_ends: bool = eqx.field(static=True, default=False)
    gradient: Literal["gumbel", "expected"] = eqx.field(static=True, default="gumbel")
    temperature: float = eqx.field(static=True, default=1.0)
    noise: float = eqx.field(static=True, default=0.05)
    entropy: float = eqx.field(static=True, default=0.0)
    logit_penalty: float = eqx.field(static=True, default=1e-3)
    policy_rate: float = eqx.field(static=True, default=3e-4)
    critic_rate: float = eqx.field(static=True, default=1e-3)
    final_rate: float = eqx.field(static=True, default=0.05)
    anneal_updates: int = eqx.field(static=True, default=0)
    target_rate: float = eqx.field(static=True, default=0.01)
    max_grad_norm: float = eqx.field(static=True, default=1.0)
    reward_scale: float = eqx.field(static=True, default=1.0)
    batch: int = eqx.field(static=True, default=256)
    updates: int = eqx.field(static=True, default=8)
    num_envs: int = eqx.field(static=True, default=32)
    num_steps: int = eqx.field(static=True, default=8)
    buffer: int = eqx.field(static=True, default=65_536)
    network: NetworkConfig = eqx.field(static=True, default=NetworkConfig(kind="mlp", activation="tanh"))

    def check(self, game: MarkovGame, data: Demonstrations | None) -> None:
        """Refuses vector actions, and gradients that there are not."""
        if not isinstance(game.action_space, Discrete):
            raise Unsupported("this MADDPG has discrete actions (for vectors use ppo)")
        if self.gradient not in ("gumbel", "expected"):
            raise Unsupported(f"unknown gradient {self.gradient!r}: use 'gumbel' or 'expected'")

    def collection(self, game: MarkovGame) -> Collection:
        """`num_envs` × `num_steps` per iteration."""
        return Collection(self.num_envs, self.num_steps)

    def init(self, key: Key[Array, ""], game: MarkovGame, data: Demonstrations | None) -> State:
        """Fresh policies, nearly uniform, critics, nearly 0, and an empty buffer."""
        assert isinstance(game.action_space, Discrete)
        key_policy, key_critic = jax.random.split(key)
        policy = per_agent_network(game, game.action_space.n, self.network, key_policy, out_scale=0.01)
        size_in = game.num_agents * (flat_size(game.observation_spec) + game.action_space.n)
        net = self.network

        def make(k):
            sizes = {"width": net.width, "depth": net.depth, "activation": net.activation}
            return MLP.new(size_in, 1, **sizes, key=k, out_scale=0.01)

        learnt = Learnt(policy, PerAgent.new(make, game.num_agents, key_critic, net.shared))
        block = self.num_envs * self.num_steps
        replay = Replay.like(step_zeros(game, paid=True), max(1, self.buffer // block) * block)
        opt_state = (
            self._optimiser(self.policy_rate).init(trainable(policy)),
            self._optimiser(self.critic_rate).init(trainable(learnt.critic)),
        )
        return State(learnt, learnt, opt_state, replay)

    def behaviour(self, state: State) -> NoisyPolicy:
        """The policies, with some random actions."""
        return NoisyPolicy(CategoricalPolicy(state.learnt.policy), self.noise)

    def update(self, key, state: State, game, data, rollout) -> tuple[State, Metrics]:
        """Adds the rollout to the buffer and makes `updates` gradient steps."""
        assert rollout is not None
        replay = state.replay.add(rollout.flat())

        def step(carry, key):
            learnt, target, opt_state = carry
            key_sample, key_loss = jax.random.split(key)
            steps = observe(game, replay.sample(key_sample, self.batch))
            grads, metrics = eqx.filter_grad(self.loss, has_aux=True)(learnt, target, steps, key_loss)
            optimisers = self._optimiser(self.policy_rate), self._optimiser(self.critic_rate)
            policy, of_policy = apply(optimisers[0], learnt.policy, opt_state[0], grads.policy)
            critic, of_critic = apply(optimisers[1], learnt.critic, opt_state[1], grads.critic)
            learnt = Learnt(policy, critic)
            return (learnt, follow(target, learnt, self.target_rate), (of_policy, of_critic)), metrics

        carry = (state.learnt, state.target, state.opt_state)
        (learnt, target, opt_state), metrics = descend(step, carry, key, self.updates)
        return State(learnt, target, opt_state, replay), metrics

    def loss(
        self, learnt: Learnt, target: Learnt, steps: Transition, key: Key[Array, ""]
    ) -> tuple[Float[Array, ""], Metrics]:
        """Critics' and policies' losses together, of `[batch, ...]` steps with observations and rewards.

        Neither has a gradient in the other's parameters, nor any in the slow copies'.
        """
        key_next, key_own = jax.random.split(key)
        critics, metrics = self.critic_loss(learnt.critic, target, steps, key_next)
        policies, more = self.policy_loss(learnt.policy, fixed(learnt.critic), steps, key_own)
        return critics + policies, {**metrics, **more}

    def critic_loss(
        self, critic: PerAgent, target: Learnt, steps: Transition, key: Key[Array, ""]
    ) -> tuple[Float[Array, ""], Metrics]:
        """The sum over agents of half the mean squared error."""
        still = steps.mask & ~steps.terminated
        seen, seen_next = hide_absent(steps.obs, steps.mask), hide_absent(steps.next_obs, still)
        logits = masked(jax.vmap(target.policy)(seen_next), open_mask(steps.next_action_mask))
        drawn = jax.nn.one_hot(jax.random.categorical(key, logits, axis=-1), logits.shape[-1])
        after = jax.vmap(target.critic)(everything(seen_next, drawn, still))[..., 0]
        over = steps.terminated | steps.truncated[:, None] if self.horizon_ends else steps.terminated
        reward = jnp.where(steps.mask, self.reward_scale * jnp.asarray(steps.reward), 0.0)
        aim = jax.lax.stop_gradient(reward + self.discount * jnp.where(over, 0.0, after))
        played = jax.nn.one_hot(steps.actions, logits.shape[-1])
        q = jax.vmap(critic)(everything(seen, played, steps.mask))[..., 0]
        each = mean_present(0.5 * (q - aim) ** 2, steps.mask)
        return jnp.sum(each), {"td_loss": jnp.mean(each), "value": jnp.mean(mean_present(q, steps.mask))}

    def policy_loss(
        self, policy: PerAgent, critic: PerAgent, steps: Transition, key: Key[Array, ""]
    ) -> tuple[Float[Array, ""], Metrics]:
        """The sum over agents of minus what they expect, bonus and penalty included."""
        seen = hide_absent(steps.obs, steps.mask)
        raw = jax.vmap(policy)(seen)
        logits = masked(raw, open_mask(steps.action_mask))
        probs = jax.nn.softmax(logits, axis=-1)
        played = jax.nn.one_hot(steps.actions, raw.shape[-1])

        def value(own):
            return jax.vmap(critic)(everything(seen, played, steps.mask, own))[..., 0]

        if self.gradient == "gumbel":
            expected = value(straight_through(key, logits, self.temperature))
        else:
            choices = jnp.broadcast_to(jnp.eye(raw.shape[-1])[:, None, None], (raw.shape[-1], *raw.shape))
            expected = jnp.sum(probs * jnp.moveaxis(jax.lax.map(value, choices), 0, -1), axis=-1)
        # Forbidden actions have probability 0, whose logarithm must not reach the gradient.
        entropy = -jnp.sum(probs * jnp.log(jnp.where(probs > 0, probs, 1.0)), axis=-1)
        gain = expected + self.entropy * entropy - self.logit_penalty * jnp.mean(raw**2, axis=-1)
        metrics = {"entropy": jnp.mean(mean_present(entropy, steps.mask))}
        return -jnp.sum(mean_present(gain, steps.mask)), metrics

    def result(self, state: State) -> Learned:
        """The policies; no reward."""
        return Learned(CategoricalPolicy(state.learnt.policy))

    def _optimiser(self, rate: float) -> optax.GradientTransformation:
        steps = self.anneal_updates * self.updates
        return adam(rate, self.max_grad_norm, anneal_steps=steps, final_rate=self.final_rate)


def everything(
    obs: PyTree[Array],
    actions: Float[Array, "batch agent action"],
    present: Bool[Array, "batch agent"],
    own: Float[Array, "batch agent action"] | None = None,
) -> Float[Array, "batch agent feature"]:
    """What each agent's critic reads: all observations and actions as one vector, its own agent first.

    Args:
        obs: leaves `[batch, agent, ...]`, absent agents hidden.
        own: what each agent does in its own critic's eyes, if not `actions`.
    """
    n = actions.shape[1]
    order = np.array([[i, *(j for j in range(n) if j != i)] for i in range(n)])
    seen = jax.vmap(jax.vmap(flatten))(obs)[:, order]
    done = jnp.where(present[..., None], actions, 0.0)[:, order]
    if own is not None:
        done = done.at[:, :, 0].set(jnp.where(present[..., None], own, 0.0))
    return jnp.concatenate([seen, done], axis=-1).reshape(*present.shape, -1)


def hide_absent(obs: PyTree[Array], present: Bool[Array, "batch agent"]) -> PyTree[Array]:
    """Zeros for whoever is not there: what is written there means nothing, and may be NaN."""

    def hide(x):
        return jnp.where(present.reshape(*present.shape, *[1] * (x.ndim - 2)), x, jnp.zeros((), x.dtype))

    return jax.tree.map(hide, obs)


def open_mask(action_mask: Bool[Array, "batch agent action"] | None) -> Bool[Array, "batch agent action"] | None:
    """The mask, but all open to agents that have no choice left, who take no part: a softmax of nothing is NaN."""
    return None if action_mask is None else action_mask | ~jnp.any(action_mask, axis=-1, keepdims=True)


def mean_present(x: Float[Array, "batch agent"], present: Bool[Array, "batch agent"]) -> Float[Array, " agent"]:
    """Each agent's mean over the steps in which it took part."""
    total = jnp.maximum(jnp.sum(present, axis=0), 1)
    return jnp.sum(jnp.where(present, x, 0.0), axis=0) / total


def fixed(net: PerAgent) -> PerAgent:
    """The same network without a gradient."""
    arrays, static = eqx.partition(net, eqx.is_inexact_array)
    return eqx.combine(jax.lax.stop_gradient(arrays), static)
