"""DQN with a critic per agent (Mnih et al. 2015), double (van Hasselt et al. 2016): independent learners.

    repeat: play ε-greedily; add the steps to the buffer
            for sampled steps and every agent i at once:
                y_i = r_i + γ (1 - d_i) Q̂_i(s', argmax_a Q_i(s', a))
                min E[huber(Q_i(s, a_i) - y_i)];   Q̂ ← Q̂ + τ (Q - Q̂)

With a network of kind "attention" this is the expert of the MAMQL paper's Highway game: DQN with social attention
(Leurent and Mercat 2019, arXiv:1911.12250).
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key

from mairl.algorithms.base import Algorithm, Collection, Metrics
from mairl.algorithms.descent import adam, apply, descend, follow, trainable
from mairl.core.errors import Unsupported
from mairl.core.game import MarkovGame
from mairl.core.learned import Learned
from mairl.core.policy import DiscretePolicy, masked
from mairl.core.spaces import Discrete
from mairl.core.transition import Transition, observe
from mairl.data.collect import step_zeros
from mairl.data.demonstrations import Demonstrations
from mairl.data.replay import Replay
from mairl.networks.build import NetworkConfig, PerAgent, per_agent_network
from mairl.networks.heads import BoltzmannPolicy
from mairl.networks.rewards import take_action


class State(eqx.Module):
    """The critics, their slow copy, the optimiser, the play seen so far, and how many iterations it took."""

    critic: PerAgent
    target: PerAgent
    opt_state: Any
    replay: Replay
    iterations: Int[Array, ""]


class EpsilonGreedy(DiscretePolicy):
    """The best action, replaced with probability ε by one of all allowed actions, alike."""

    critic: PerAgent
    epsilon: Float[Array, ""]

    def logits(self, obs) -> Float[Array, "agent action"]:
        """Values, so that the mode is the best action."""
        return self.critic(obs)

    def log_probs(self, obs, action_mask=None) -> Float[Array, "agent action"]:
        """See `DiscretePolicy.log_probs`."""
        q = masked(self.logits(obs), action_mask)
        best = jax.nn.one_hot(jnp.argmax(q, axis=-1), q.shape[-1])
        allowed = (q > -jnp.inf).astype(q.dtype)
        any_of = allowed / jnp.maximum(jnp.sum(allowed, axis=-1, keepdims=True), 1.0)
        return jnp.log((1 - self.epsilon) * best + self.epsilon * any_of)

    def sample(self, key, obs, action_mask=None) -> Int[Array, " agent"]:
        """See `Policy.sample`."""
        return jax.random.categorical(key, self.log_probs(obs, action_mask), axis=-1).astype(jnp.int32)


class DQN(Algorithm):
    """Independent double DQN.

    Attributes:
        discount: γ, per step.
        horizon_ends: the time limit is an end, after which nothing is worth anything: right where returns count up to
            the horizon and the observation has a clock. Otherwise the value after it is that of what is seen there.
        epsilon, final_epsilon: share of random actions, at first and after `anneal_updates` iterations, linearly.
        learning_rate: of Adam; it falls linearly to `final_rate` of itself over `anneal_updates` iterations.
        anneal_updates: 0 keeps the rate, and ε at `final_epsilon`.
        target_rate: τ, per gradient step.
        max_grad_norm: each agent's gradient is clipped to this norm.
        batch: steps per gradient step; `updates`: gradient steps per iteration.
        num_envs, num_steps: play per iteration.
        buffer: steps of play kept; rounded down to whole rollouts.
        rationality: λ, in 1 / units of reward: the result plays softmax(λ Q), and greedily where asked to.
        network: sizes of the critics.
    """

    discount: float = eqx.field(static=True, default=0.99)
    horizon_ends: bool = eqx.field(static=True, default=False)
    epsilon: float = eqx.field(static=True, default=1.0)
    final_epsilon: float = eqx.field(static=True, default=0.05)
    learning_rate: float = eqx.field(static=True, default=5e-4)
    final_rate: float = eqx.field(static=True, default=0.05)
    anneal_updates: int = eqx.field(static=True, default=0)
    target_rate: float = eqx.field(static=True, default=0.01)
    max_grad_norm: float = eqx.field(static=True, default=10.0)
    batch: int = eqx.field(static=True, default=128)
    updates: int = eqx.field(static=True, default=8)
    num_envs: int = eqx.field(static=True, default=32)
    num_steps: int = eqx.field(static=True, default=8)
    buffer: int = eqx.field(static=True, default=65_536)
    rationality: float = eqx.field(static=True, default=20.0)
    network: NetworkConfig = eqx.field(static=True, default=NetworkConfig())

    def check(self, game: MarkovGame, data: Demonstrations | None) -> None:
        """Refuses vector actions."""
        if not isinstance(game.action_space, Discrete):
            raise Unsupported("DQN takes the best of all actions: it needs discrete ones (for vectors use ppo)")

    def collection(self, game: MarkovGame) -> Collection:
        """`num_envs` × `num_steps` per iteration."""
        return Collection(self.num_envs, self.num_steps)

    def init(self, key: Key[Array, ""], game: MarkovGame, data: Demonstrations | None) -> State:
        """Fresh critics, nearly 0, and an empty buffer."""
        assert isinstance(game.action_space, Discrete)
        critic = per_agent_network(game, game.action_space.n, self.network, key, out_scale=0.01)
        block = self.num_envs * self.num_steps
        replay = Replay.like(step_zeros(game, paid=True), max(1, self.buffer // block) * block)
        opt_state = self._optimiser().init(trainable(critic))
        return State(critic, critic, opt_state, replay, jnp.zeros((), jnp.int32))

    def behaviour(self, state: State) -> EpsilonGreedy:
        """ε-greedy, as far as ε has fallen."""
        share = jnp.minimum(state.iterations / self.anneal_updates, 1.0) if self.anneal_updates else jnp.ones(())
        return EpsilonGreedy(state.critic, self.epsilon + share * (self.final_epsilon - self.epsilon))

    def update(self, key, state: State, game, data, rollout) -> tuple[State, Metrics]:
        """Adds the rollout to the buffer and makes `updates` gradient steps."""
        assert rollout is not None
        replay = state.replay.add(rollout.flat())

        def step(learnt, key):
            critic, target, opt_state = learnt
            steps = observe(game, replay.sample(key, self.batch))
            grads, metrics = eqx.filter_grad(self.loss, has_aux=True)(critic, target, steps)
            critic, opt_state = apply(self._optimiser(), critic, opt_state, grads)
            return (critic, follow(target, critic, self.target_rate), opt_state), metrics

        learnt = (state.critic, state.target, state.opt_state)
        (critic, target, opt_state), metrics = descend(step, learnt, key, self.updates)
        return State(critic, target, opt_state, replay, state.iterations + 1), metrics

    def loss(self, critic: PerAgent, target: PerAgent, steps: Transition) -> tuple[Float[Array, ""], Metrics]:
        """The sum over agents of the mean Huber loss, of `[batch, ...]` steps with observations and rewards."""
        weight = steps.mask.astype(jnp.float32)
        q = jax.vmap(take_action)(critic.on_batch(steps.obs), steps.actions)
        chosen = jnp.argmax(masked(critic.on_batch(steps.next_obs), steps.next_action_mask), axis=-1)
        after = jax.vmap(take_action)(jax.vmap(target)(steps.next_obs), chosen)
        over = steps.terminated | steps.truncated[:, None] if self.horizon_ends else steps.terminated
        reward = jnp.where(steps.mask, jnp.asarray(steps.reward), 0.0)
        aim = jax.lax.stop_gradient(reward + self.discount * jnp.where(over, 0.0, after))
        total = jnp.maximum(jnp.sum(weight, axis=0), 1.0)
        each = jnp.sum(jnp.where(steps.mask, optax.huber_loss(q, aim), 0.0), axis=0) / total
        value = jnp.sum(jnp.where(steps.mask, q, 0.0), axis=0) / total
        return jnp.sum(each), {"td_loss": jnp.mean(each), "value": jnp.mean(value)}

    def result(self, state: State) -> Learned:
        """Boltzmann policies of the critics; no reward."""
        return Learned(BoltzmannPolicy(state.critic, self.rationality))

    def _optimiser(self) -> optax.GradientTransformation:
        steps = self.anneal_updates * self.updates
        return adam(self.learning_rate, self.max_grad_norm, anneal_steps=steps, final_rate=self.final_rate)
