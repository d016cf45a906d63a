"""GAIL: generative adversarial imitation learning (Ho & Ermon 2016, arXiv:1606.03476), each agent on its own.

A discriminator D_i(o_i, a_i) = σ(g_i(o_i, a_i)) tells the expert's steps from the policy's; the policy is paid for
looking like the expert:

    max_D  E_expert[log D_i] + E_π[log(1 - D_i)]        max_π_i  E_π[reward_form(g_i)] + entropy

    repeat: play π; step D on the latest rollout against the expert; replace the rollout's rewards; step π by PPO

Recovers policies. It recovers no reward: at the optimum expert and policy look alike and g is 0 everywhere, so `result`
gives the discriminator's pay as `shaped_reward` only. The functions below also serve AIRL and the multi-agent forms.
"""

from __future__ import annotations

from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from mairl.algorithms.base import Algorithm, Collection, Metrics
from mairl.algorithms.descent import adam, apply, descend, trainable
from mairl.algorithms.ppo import PPO
from mairl.core.errors import Unsupported
from mairl.core.game import MarkovGame
from mairl.core.learned import Learned
from mairl.core.policy import Policy
from mairl.core.transition import Transition, observe
from mairl.data.demonstrations import Demonstrations
from mairl.networks.discriminator import Discriminator, DiscriminatorConfig, Score, prepare, score_reward
from mairl.ops.discriminator import (
    Moments,
    absorbing_loss,
    cross_entropy,
    gradient_penalty,
    limit_spectral_norm,
    mixed,
    reward_form,
    with_absorbing,
)


class State(eqx.Module):
    """PPO's state, the discriminators, their optimiser, and running moments of observations and rewards."""

    ppo: Any
    discriminator: Discriminator
    opt_state: Any
    moments: Moments | None
    reward_moments: Moments


class GAIL(Algorithm):
    """Adversarial imitation, each agent by its own observation and action; discrete or vector actions.

    Attributes:
        ppo: the policies' learner; its discount is γ.
        discriminator: how discriminators are built and trained.
        reward: what a step pays: "softplus" (favours survival), "log" (favours a quick end) or "logit" (neither, at the
            optimum); see `mairl.ops.discriminator.reward_form`.
        absorbing: pay terminating steps what the state after the end would pay for ever, so that no form favours
            long or short episodes.
        normalise_reward: divide rewards by their running root mean square.
    """

    ppo: PPO = PPO()
    discriminator: DiscriminatorConfig = eqx.field(static=True, default=DiscriminatorConfig())
    reward: Literal["softplus", "log", "logit"] = eqx.field(static=True, default="logit")
    absorbing: bool = eqx.field(static=True, default=False)
    normalise_reward: bool = eqx.field(static=True, default=True)

    def check(self, game: MarkovGame, data: Demonstrations | None) -> None:
        """Refuses missing data and settings without meaning."""
        check_adversarial("GAIL", game, data, self.discriminator, self.ppo.discount)
        self.ppo.check(game, None)

    def collection(self, game: MarkovGame) -> Collection | None:
        """PPO's."""
        return self.ppo.collection(game)

    def init(self, key, game: MarkovGame, data: Demonstrations | None) -> State:
        """Fresh policies and discriminators."""
        key_ppo, key_score = jax.random.split(key)
        g = Score.new(game, "own", self.discriminator.network, key_score)
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
        logit = score_rollout(state, game, rollout)
        reward = reward_form(logit, self.reward)
        if self.absorbing:
            pay = reward_form(state.discriminator.absorbing, self.reward)
            reward = with_absorbing(reward, pay, rollout.terminated, self.ppo.discount)
        return train_policy(self.ppo, key_ppo, state, game, rollout, reward, self.normalise_reward, metrics)

    def result(self, state: State) -> Learned:
        """The policies; no reward is identified, the discriminator's pay is the shaped one."""
        pay = score_reward(state.discriminator.g, state.moments, self.reward)
        return Learned(self.ppo.result(state.ppo).policy, None, pay)


def check_adversarial(
    name: str, game: MarkovGame, data: Demonstrations | None, config: DiscriminatorConfig, discount: float
) -> None:
    """What every adversarial learner refuses, with the reason."""
    if data is None:
        raise Unsupported(f"{name} learns from demonstrations: give it some")
    if not 0 <= config.label_smoothing < 0.5:
        raise Unsupported(f"label_smoothing must be in [0, 0.5), got {config.label_smoothing}")
    if not 0 <= discount < 1:
        raise Unsupported(f"the discount must be in [0, 1), got {discount}")


def new_state(
    ppo_state: Any, config: DiscriminatorConfig, game: MarkovGame, g: Score, h: Score | None, discount: float
) -> State:
    """Discriminators with a fresh optimiser and empty moments."""
    discriminator = Discriminator(g, h, jnp.zeros(game.num_agents), discount)
    opt_state = _optimiser(config).init(trainable(discriminator))
    moments = Moments.zeros(game.observation_spec) if config.normalise else None
    return State(ppo_state, discriminator, opt_state, moments, Moments.zeros(jnp.zeros(())))


def train_discriminator(
    config: DiscriminatorConfig,
    key,
    state: State,
    game: MarkovGame,
    data: Demonstrations,
    rollout: Transition,
    policy: Policy | None = None,
) -> tuple[State, Metrics]:
    """`config.updates` gradient steps: expert steps against steps of this rollout.

    Args:
        policy: where the logit is f - log π (AIRL), who played; None where it is the score alone.
    """
    played = observe(game, rollout).flat()
    moments = state.moments
    if moments is not None:
        expert = observe(game, data.sample(jax.random.fold_in(key, 0), config.batch))
        moments = moments.seen(played.obs, played.mask.astype(jnp.float32))
        moments = moments.seen(expert.obs, expert.mask.astype(jnp.float32))

    def step(learnt, key):
        discriminator, opt_state = learnt
        key_expert, key_played, key_mix = jax.random.split(key, 3)
        expert = observe(game, data.sample(key_expert, config.batch))
        index = jax.random.randint(key_played, (config.batch,), 0, played.truncated.shape[0])
        past = jax.tree.map(lambda x: x[index], played)
        loss = eqx.filter_grad(discriminator_loss, has_aux=True)
        grads, metrics = loss(discriminator, moments, expert, past, policy, key_mix, config)
        discriminator, opt_state = apply(_optimiser(config), discriminator, opt_state, grads)
        if config.spectral_limit > 0:
            discriminator = limit_spectral_norm(discriminator, config.spectral_limit)
        return (discriminator, opt_state), metrics

    learnt = (state.discriminator, state.opt_state)
    (discriminator, opt_state), metrics = descend(step, learnt, jax.random.fold_in(key, 1), config.updates)
    return State(state.ppo, discriminator, opt_state, moments, state.reward_moments), metrics


def discriminator_loss(
    discriminator: Discriminator,
    moments: Moments | None,
    expert: Transition,
    played: Transition,
    policy: Policy | None,
    key,
    config: DiscriminatorConfig,
) -> tuple[Float[Array, ""], Metrics]:
    """The sum over agents of the cross-entropy, the gradient penalty, and the absorbing state's cross-entropy.

    Args:
        expert, played: `[batch, ...]` steps with observations, equally many. Agents that took no part count nothing.
    """
    d = discriminator
    inputs_e, inputs_p = (step_inputs(d, moments, steps) for steps in (expert, played))
    logit_e = jax.vmap(d)(*inputs_e, expert.terminated) - _log_prob(policy, expert)
    logit_p = jax.vmap(d)(*inputs_p, played.terminated) - _log_prob(policy, played)
    weight_e, weight_p = expert.mask.astype(logit_e.dtype), played.mask.astype(logit_p.dtype)
    loss, facts = cross_entropy(logit_e, logit_p, weight_e, weight_p, config.label_smoothing)
    penalty = jnp.zeros(())
    if config.gradient_penalty > 0:
        shares = jax.random.uniform(key, weight_e.shape[:1])
        between = jax.vmap(mixed)(inputs_e, inputs_p, shares)
        # A central score is every agent's output: its gradient must not count once for each.
        times = weight_e.shape[1] if d.g.central else 1
        squares = jax.vmap(lambda x, over: gradient_penalty(lambda y: d(y[0], y[1], y[2], over) / times, x))(
            between, expert.terminated
        )
        both = weight_e * weight_p
        penalty = jnp.sum(squares * both) / jnp.maximum(jnp.sum(both, axis=0).mean(), 1.0)
    after = absorbing_loss(
        d.absorbing,
        expert.terminated.astype(logit_e.dtype),
        played.terminated.astype(logit_p.dtype),
        weight_e,
        weight_p,
    )
    metrics = {
        "discriminator_loss": jnp.mean(loss),
        "gradient_penalty": penalty,
        **{k: jnp.mean(v) for k, v in facts.items()},
    }
    return jnp.sum(loss) + config.gradient_penalty * penalty + jnp.sum(after), metrics


def step_inputs(d: Discriminator, moments: Moments | None, steps: Transition) -> tuple[Any, Array, Any]:
    """Prepared observations, encoded actions, and prepared next observations of `[batch, ...]` steps."""
    vectors = jax.vmap(d.g.encode)(steps.actions)
    return prepare(steps.obs, moments), vectors, prepare(steps.next_obs, moments)


def score_rollout(state: State, game: MarkovGame, rollout: Transition) -> Float[Array, "time env agent"]:
    """The discriminator's g (GAIL) or f (AIRL) of every step of a rollout."""
    played = observe(game, rollout).flat()
    score = jax.vmap(state.discriminator)(*step_inputs(state.discriminator, state.moments, played), played.terminated)
    return score.reshape(rollout.mask.shape)


def train_policy(
    ppo: PPO,
    key,
    state: State,
    game: MarkovGame,
    rollout: Transition,
    reward: Float[Array, "time env agent"],
    normalise: bool,
    metrics: Metrics,
) -> tuple[State, Metrics]:
    """One PPO update on the rollout, paid `reward` instead of the true one."""
    weight = rollout.mask.astype(jnp.float32)
    moments = state.reward_moments.seen(reward, weight, horizon=1e5)
    metrics = {**metrics, "learned_reward": jnp.sum(reward * weight) / jnp.maximum(jnp.sum(weight), 1.0)}
    if normalise:
        # Scaled but not centred: a constant added to every step would favour long or short episodes.
        reward = jnp.clip(reward / jnp.sqrt(jnp.maximum(moments.square, 1e-4)), -10.0, 10.0)
    reward = jnp.where(rollout.mask, reward, 0.0)
    paid = eqx.tree_at(lambda t: t.reward, rollout, reward, is_leaf=lambda x: x is None)
    ppo_state, ppo_metrics = ppo.update(key, state.ppo, game, None, paid)
    state = State(ppo_state, state.discriminator, state.opt_state, state.moments, moments)
    return state, {**metrics, **ppo_metrics}


def _log_prob(policy: Policy | None, steps: Transition) -> Float[Array, "batch agent"]:
    """log π(a|o), bounded below so that one surprising step cannot saturate everything; 0 without a policy."""
    if policy is None:
        return jnp.zeros(steps.mask.shape)
    log_prob = jax.vmap(policy.log_prob)(steps.obs, steps.actions, steps.action_mask)
    return jax.lax.stop_gradient(jnp.where(steps.mask, jnp.maximum(log_prob, -20.0), 0.0))


def _optimiser(config: DiscriminatorConfig) -> optax.GradientTransformation:
    return adam(config.learning_rate, config.max_grad_norm)
