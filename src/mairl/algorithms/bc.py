"""Behavioural cloning (Pomerleau 1991): each policy is fitted to its agent's recorded actions by likelihood.

    min_π  -E_expert[log π_i(a_i | o_i)]      for each agent i on its own

    repeat: sample recorded steps; step every π_i on the negative log-likelihood of its actions

Recovers policies where the recording goes, and no reward. Errors compound off the recording: over T steps the loss in
return can grow with T² (Ross & Bagnell 2010). Offline.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from mairl.algorithms.base import Algorithm, Metrics
from mairl.algorithms.descent import adam, apply, descend, trainable
from mairl.core.errors import Unsupported
from mairl.core.game import MarkovGame
from mairl.core.learned import Learned
from mairl.core.policy import Policy, masked
from mairl.core.spaces import ActionSpace, Box, Discrete
from mairl.core.transition import Transition, observe
from mairl.data.demonstrations import Demonstrations
from mairl.networks.build import NetworkConfig, PerAgent, per_agent_network
from mairl.networks.heads import CategoricalPolicy, GaussianPolicy
from mairl.ops.clipped_normal import clipped_normal_log_prob
from mairl.ops.inverse_q import weighted_mean


class State(eqx.Module):
    """The policies' parameters, and the optimiser's.

    Attributes:
        net: to logits `[agent, action]`, or to means `[agent, size]`.
        log_std: `[agent, size]` of vector actions, in log units of the action; None for discrete ones.
    """

    net: PerAgent
    log_std: Float[Array, "agent size"] | None
    opt_state: Any
    action_space: ActionSpace = eqx.field(static=True)


class BC(Algorithm):
    """Behavioural cloning, discrete or vector actions.

    Attributes:
        learning_rate: of AdamW.
        weight_decay: of AdamW.
        anneal_steps: gradient steps over which the rate falls to a twentieth; 0 keeps it.
        max_grad_norm: each agent's gradient is clipped to this norm.
        label_smoothing: share of the target that is spread over all allowed actions (discrete only), in [0, 1).
        entropy: weight of the policy's entropy, which is added (nats).
        min_log_std: lower bound of log σ for vector actions, so that exact repetition cannot make likelihoods infinite.
        batch: recorded steps per gradient update.
        updates: gradient updates per iteration.
        network: sizes; its `dropout` acts while training.
    """

    learning_rate: float = eqx.field(static=True, default=1e-3)
    weight_decay: float = eqx.field(static=True, default=1e-4)
    anneal_steps: int = eqx.field(static=True, default=0)
    max_grad_norm: float = eqx.field(static=True, default=10.0)
    label_smoothing: float = eqx.field(static=True, default=0.0)
    entropy: float = eqx.field(static=True, default=0.0)
    min_log_std: float = eqx.field(static=True, default=-3.0)
    batch: int = eqx.field(static=True, default=256)
    updates: int = eqx.field(static=True, default=16)
    network: NetworkConfig = eqx.field(static=True, default=NetworkConfig())

    def check(self, game: MarkovGame, data: Demonstrations | None) -> None:
        """Refuses missing data, and smoothing of what has no labels."""
        if data is None:
            raise Unsupported("BC learns from demonstrations: give it some")
        if not 0 <= self.label_smoothing < 1:
            raise Unsupported(f"label_smoothing must be in [0, 1), got {self.label_smoothing}")
        if self.label_smoothing and not isinstance(game.action_space, Discrete):
            raise Unsupported(f"label_smoothing={self.label_smoothing} needs discrete actions: set it to 0")

    def init(self, key, game: MarkovGame, data: Demonstrations | None) -> State:
        """Fresh networks."""
        space = game.action_space
        out = space.n if isinstance(space, Discrete) else space.size
        net = per_agent_network(game, out, self.network, key, out_scale=0.01)
        log_std = None if isinstance(space, Discrete) else jnp.zeros((game.num_agents, out))
        opt_state = self._optimiser().init(trainable((net, log_std)))
        return State(net, log_std, opt_state, space)

    def update(self, key, state: State, game, data, rollout) -> tuple[State, Metrics]:
        """Makes `updates` steps on the likelihood of `batch` recorded steps each."""
        assert data is not None

        def step(state, key):
            key_data, key_dropout = jax.random.split(key)
            return self.step(state, observe(game, data.sample(key_data, self.batch)), key_dropout)

        return descend(step, state, key, self.updates)

    def step(self, state: State, steps: Transition, key) -> tuple[State, Metrics]:
        """One gradient step on the likelihood of `steps`' actions, `[batch, ...]` with observations."""
        params = state.net, state.log_std
        grads, metrics = eqx.filter_grad(self.loss, has_aux=True)(params, state.action_space, steps, key)
        (net, log_std), opt_state = apply(self._optimiser(), params, state.opt_state, grads)
        return State(net, log_std, opt_state, state.action_space), metrics

    def result(self, state: State) -> Learned:
        """The clones; no reward."""
        return Learned(self.policy(state))

    def loss(
        self, params: tuple[PerAgent, Array | None], space: ActionSpace, steps: Transition, key=None
    ) -> tuple[Float[Array, ""], Metrics]:
        """Sum over agents of the mean negative log-likelihood, less the entropy bonus.

        Args:
            params: network and log σ (None for discrete actions).
            space: of the actions.
            steps: `[batch, ...]` with observations. Agents that took no part count nothing.
            key: for dropout; None: without.
        """
        net, log_std = params
        weight = steps.mask.astype(jnp.float32)
        out = net.on_batch(steps.obs, key)
        if isinstance(space, Discrete):
            log_prob, entropy = categorical_terms(out, steps.actions, steps.action_mask, self.label_smoothing)
        else:
            assert log_std is not None
            log_prob, entropy = gaussian_terms(out, jnp.maximum(log_std, self.min_log_std), steps.actions, space)
        likelihood = weighted_mean(log_prob, weight)
        entropy = weighted_mean(entropy, weight)
        metrics = {"log_likelihood": jnp.mean(likelihood), "entropy": jnp.mean(entropy)}
        return -jnp.sum(likelihood + self.entropy * entropy), metrics

    def policy(self, state: State) -> Policy:
        """The clones."""
        space = state.action_space
        if isinstance(space, Discrete):
            return CategoricalPolicy(state.net)
        assert state.log_std is not None
        return GaussianPolicy(state.net, jnp.maximum(state.log_std, self.min_log_std), space.low, space.high)

    def _optimiser(self) -> optax.GradientTransformation:
        paced = {"weight_decay": self.weight_decay, "anneal_steps": self.anneal_steps}
        return adam(self.learning_rate, self.max_grad_norm, **paced)


def categorical_terms(
    logits: Float[Array, "batch agent action"], actions, action_mask, smoothing: float
) -> tuple[Float[Array, "batch agent"], Float[Array, "batch agent"]]:
    """Log-likelihood of actions (smoothed over the allowed ones) and entropy, in nats."""
    log_probs = jax.nn.log_softmax(masked(logits, action_mask), axis=-1)
    allowed = jnp.ones(logits.shape, bool) if action_mask is None else action_mask
    finite = jnp.where(allowed, log_probs, 0.0)
    target = jax.nn.one_hot(actions, logits.shape[-1])
    if smoothing:
        spread = allowed / jnp.maximum(jnp.sum(allowed, axis=-1, keepdims=True), 1)
        target = (1 - smoothing) * target + smoothing * spread
    entropy = -jnp.sum(jnp.where(allowed, jnp.exp(finite) * finite, 0.0), axis=-1)
    return jnp.sum(target * finite, axis=-1), entropy


def gaussian_terms(
    mean: Float[Array, "batch agent size"], log_std: Float[Array, "agent size"], actions, space: Box
) -> tuple[Float[Array, "batch agent"], Float[Array, "batch agent"]]:
    """Log-likelihood of actions under independent normals clipped to the box, and the normals' entropy, in nats."""
    log_prob = clipped_normal_log_prob(actions, mean, log_std, space.low, space.high)
    entropy = jnp.sum(log_std + 0.5 * jnp.log(2 * jnp.pi * jnp.e), axis=-1)
    return log_prob, jnp.broadcast_to(entropy, log_prob.shape)
