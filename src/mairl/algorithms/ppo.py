"""PPO with a policy and a critic per agent (Schulman et al. 2017, arXiv:1707.06347; independent learners).

    repeat: play π for `num_steps` in `num_envs` games
            advantages A by GAE; targets A + V
            `epochs` times over shuffled minibatches of environments, for every agent i at once:
                min  -E[min(ρ A, clip(ρ, 1±ε) A)] + c_v E[(V - target)²] / 2 - c_e E[H(π)]

Rewards come from the rollout: the true ones for experts, a discriminator's for adversarial imitation, which holds a
PPO and replaces them.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key

from mairl.algorithms.base import Algorithm, Collection, Metrics
from mairl.algorithms.descent import adam, taking_part_first
from mairl.algorithms.together import split_games
from mairl.core.errors import Unsupported
from mairl.core.game import MarkovGame
from mairl.core.learned import Learned
from mairl.core.policy import Policy, masked
from mairl.core.spaces import Discrete
from mairl.core.transition import observe
from mairl.data.demonstrations import Demonstrations
from mairl.networks.build import NetworkConfig, PerAgent, per_agent_network
from mairl.networks.heads import CategoricalPolicy, GaussianPolicy
from mairl.ops.clipped_normal import clipped_normal_log_prob
from mairl.ops.policy_gradient import clipped_surrogate, normalise
from mairl.ops.returns import gae


class State(eqx.Module):
    """The policies, the critics and their optimiser."""

    policy: Policy
    critic: PerAgent
    opt_state: Any


class PPO(Algorithm):
    """Independent PPO.

    Attributes:
        discount: γ, per step.
        trace: λ of GAE.
        clip: ε, how far the ratio of probabilities may move.
        entropy: c_e, weight of the entropy bonus, in nats.
        value_weight: c_v.
        learning_rate: of Adam; it falls linearly to `final_rate` of itself over `anneal_updates` iterations.
        anneal_updates: 0 keeps the rate.
        epochs, minibatches: passes over a rollout, and parts of each; environments are shuffled, not steps.
        share: if above 0, steps of all agents are shuffled instead, and each epoch uses this share of them, steps in
            which an agent takes part before others: saves time where many agents sit out. Needs a shared network.
        max_grad_norm: each agent's gradient is clipped to this norm.
        reward_scale: rewards are multiplied by it, so that critics see numbers around 1.
        num_envs, num_steps: play per iteration; `minibatches` divides `num_envs`.
        network: sizes of policies and critics.
        initial_log_std: of Gaussian policies (Box actions).
    """

    discount: float = eqx.field(static=True, default=0.99)
    trace: float = eqx.field(static=True, default=0.95)
    clip: float = eqx.field(static=True, default=0.2)
    entropy: float = eqx.field(static=True, default=0.01)
    value_weight: float = eqx.field(static=True, default=0.5)
    learning_rate: float = eqx.field(static=True, default=1e-3)
    final_rate: float = eqx.field(static=True, default=0.05)
    anneal_updates: int = eqx.field(static=True, default=0)
    epochs: int = eqx.field(static=True, default=4)
    minibatches: int = eqx.field(static=True, default=4)
    share: float = eqx.field(static=True, default=0.0)
    max_grad_norm: float = eqx.field(static=True, default=0.5)
    reward_scale: float = eqx.field(static=True, default=1.0)
    num_envs: int = eqx.field(static=True, default=32)
    num_steps: int = eqx.field(static=True, default=32)
    network: NetworkConfig = eqx.field(static=True, default=NetworkConfig(kind="mlp", activation="tanh"))
    initial_log_std: float = eqx.field(static=True, default=-0.5)

    def check(self, game: MarkovGame, data: Demonstrations | None) -> None:
        """Refuses minibatches that do not divide the environments, and a share without a shared network."""
        if self.share and not (0 < self.share <= 1 and self.network.shared):
            raise Unsupported(f"share={self.share} needs to be in (0, 1], and a network with shared=True")
        if self.minibatches < 1 or (self.num_envs % self.minibatches and not self.share):
            raise Unsupported(f"{self.minibatches} minibatches do not divide {self.num_envs} environments")

    def collection(self, game: MarkovGame) -> Collection:
        """`num_envs` × `num_steps` per iteration."""
        return Collection(self.num_envs, self.num_steps)

    def init(self, key: Key[Array, ""], game: MarkovGame, data: Demonstrations | None) -> State:
        """Fresh policies, nearly uniform, and critics."""
        key_policy, key_critic = jax.random.split(key)
        space = game.action_space
        if isinstance(space, Discrete):
            policy = CategoricalPolicy(per_agent_network(game, space.n, self.network, key_policy, out_scale=0.01))
        else:
            net = per_agent_network(game, space.size, self.network, key_policy, out_scale=0.01)
            rows = 1 if self.network.shared else game.num_agents
            log_std = jnp.full((rows, space.size), self.initial_log_std)
            policy = GaussianPolicy(net, log_std, space.low, space.high)
        critic = per_agent_network(game, 1, self.network, key_critic)
        opt_state = self.optimiser().init(eqx.filter((policy, critic), eqx.is_inexact_array))
        return State(policy, critic, opt_state)

    def behaviour(self, state: State) -> Policy:
        """The policies."""
        return state.policy

    def update(self, key, state: State, game, data, rollout) -> tuple[State, Metrics]:
        """One rollout's worth of epochs."""
        assert rollout is not None
        assert rollout.reward is not None
        steps = observe(game, rollout)
        value = on_steps(state.critic, steps.obs)[..., 0]
        next_value = on_steps(state.critic, steps.next_obs)[..., 0]
        over = steps.terminated | steps.truncated[..., None]
        reward = jnp.where(steps.mask, self.reward_scale * rollout.reward, 0.0)
        advantage = gae(reward, value, next_value, steps.terminated, over, self.discount, self.trace, steps.mask)
        target = advantage + value
        weight = steps.mask.astype(jnp.float32)
        old, _ = log_prob_and_entropy(state.policy, steps.obs, steps.actions, steps.action_mask)
        # Log-probabilities of agents that took no part may be -inf; they weigh nothing, but must not be NaN.
        old = jnp.where(steps.mask, old, 0.0)
        batch = (steps.obs, steps.actions, steps.action_mask, steps.mask, old, normalise(advantage, weight), target)
        arrays, static = eqx.partition((state.policy, state.critic), eqx.is_inexact_array)

        def minibatch(carry, chosen):
            arrays, opt_state = carry
            part = jax.tree.map((lambda x: x[:, chosen]) if not self.share else (lambda x: x[chosen][None]), batch)
            part = split_games(part, axis=1)
            grads, metrics = jax.grad(lambda a: self.loss(*eqx.combine(a, static), *part), has_aux=True)(arrays)
            updates, opt_state = self.optimiser().update(grads, opt_state, arrays)
            return (optax.apply_updates(arrays, updates), opt_state), metrics

        def epoch(carry, key):
            if self.share:
                order = self._taking_part_first(key, steps.mask)
            else:
                order = jax.random.permutation(key, self.num_envs).reshape(self.minibatches, -1)
            return jax.lax.scan(minibatch, carry, order)

        if self.share:  # One axis of samples in place of time, environment and agent.
            batch = jax.tree.map(lambda x: x.reshape(-1, *x.shape[3:]), batch)

        (arrays, opt_state), metrics = jax.lax.scan(
            epoch, (arrays, state.opt_state), jax.random.split(key, self.epochs)
        )
        trained: Any = eqx.combine(arrays, static)
        policy, critic = trained
        return State(policy, critic, opt_state), {k: jnp.mean(v) for k, v in metrics.items()}

    def loss(
        self, policy, critic, obs, actions, action_mask, mask, old_log_prob, advantage, target
    ) -> tuple[Float[Array, ""], Metrics]:
        """The sum over agents of their losses; inputs `[time, env, ...]`.

        Each agent's is a mean over its own steps; where all share one network, every step weighs the same.
        """
        weight = mask.astype(jnp.float32)
        total = jnp.maximum(jnp.sum(weight, axis=(0, 1)), 1.0)
        if critic.shared:
            total = jnp.full_like(total, jnp.mean(total))

        def mean(x):
            return jnp.sum(jnp.where(mask, x, 0.0), axis=(0, 1)) / total

        log_prob, entropy = log_prob_and_entropy(policy, obs, actions, action_mask)
        log_prob = jnp.where(mask, log_prob, 0.0)
        policy_loss = mean(clipped_surrogate(log_prob, old_log_prob, advantage, self.clip))
        value_loss = 0.5 * mean((on_steps(critic, obs)[..., 0] - target) ** 2)
        bonus = mean(entropy)
        metrics = {
            "policy_loss": jnp.mean(policy_loss),
            "value_loss": jnp.mean(value_loss),
            "entropy": jnp.mean(bonus),
            "approx_kl": jnp.mean(mean(old_log_prob - log_prob)),
        }
        return jnp.sum(policy_loss + self.value_weight * value_loss - self.entropy * bonus), metrics

    def _taking_part_first(self, key: Key[Array, ""], mask: Array) -> Int[Array, "minibatch env agent"]:
        """The samples of an epoch, shuffled, in minibatches that have the shape of joint steps: with one network for
        all it does not matter whose they are."""
        agents = mask.shape[-1]
        envs = max(1, int(mask.size * self.share / (self.minibatches * agents)))
        chosen = taking_part_first(key, mask.reshape(-1), self.minibatches * envs * agents)
        mixed = jax.random.permutation(jax.random.fold_in(key, 1), chosen)
        return mixed.reshape(self.minibatches, envs, agents)

    def result(self, state: State) -> Learned:
        """The policies; no reward."""
        return Learned(state.policy)

    def optimiser(self) -> optax.GradientTransformation:
        """Adam on clipped gradients, for the float arrays of (policy, critic)."""
        steps = self.anneal_updates * self.epochs * self.minibatches
        return adam(
            self.learning_rate,
            self.max_grad_norm,
            anneal_steps=steps,
            final_rate=self.final_rate,
            eps=1e-5,
            eps_root=1e-30,  # Updates are differentiated where rewards are recovered from them.
        )


def on_steps(net: PerAgent, obs) -> Float[Array, "time env agent out"]:
    """Every agent's network on observations `[time, env, agent, ...]`."""
    time, envs = jax.tree.leaves(obs)[0].shape[:2]
    # Environments first: they may be spread over devices, and stay so as one axis with time.
    flat = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1).reshape(envs * time, *x.shape[2:]), obs)
    out = net.on_batch(flat)
    return jnp.swapaxes(out.reshape(envs, time, *out.shape[1:]), 0, 1)


def log_prob_and_entropy(
    policy: Policy, obs, actions, action_mask
) -> tuple[Float[Array, "time env agent"], Float[Array, "time env agent"]]:
    """Of joint actions `[time, env, agent, ...]`: log-likelihood and entropy, in nats.

    A Gaussian's entropy is that of the unclipped normal.
    """
    assert isinstance(policy, CategoricalPolicy | GaussianPolicy)
    out = on_steps(policy.net, obs)
    if isinstance(policy, CategoricalPolicy):
        log_probs = jax.nn.log_softmax(masked(out, action_mask), axis=-1)
        chosen = jnp.take_along_axis(log_probs, actions[..., None], axis=-1)[..., 0]
        finite = jnp.where(jnp.isfinite(log_probs), log_probs, 0.0)
        return chosen, -jnp.sum(jnp.exp(log_probs) * finite, axis=-1)
    log_prob = clipped_normal_log_prob(actions, out, policy.log_std, policy.low, policy.high)
    entropy = jnp.sum(policy.log_std + 0.5 * jnp.log(2 * jnp.pi * jnp.e), axis=-1)
    return log_prob, jnp.broadcast_to(entropy, log_prob.shape)
