"""What the methods say of PPO learners: rewards, and the policies after updates that were not fitted (T2 and T3).

    with_truth: the true reward, only what the method leaves open fitted (step sizes, temperatures): KL(1a)
    with_found: the recovered one: KL(1b)

`i-lola` and `i-lola-cmaes` know the policies, their play, PPO's settings and its minibatches' keys, but neither the
critics nor Adam's moments. What more would be worth is beside them, in `levels`.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mairl.algorithms.ma_lfl_approximate import improvement_reward, predict_improvement
from mairl.algorithms.ppo import PPO
from mairl.algorithms.ppo_gradients import Design, designs, fit_gradients, fit_step, moved
from mairl.algorithms.ppo_inverse import PPOReward, deviations, fit_scale, invert_ppo
from mairl.algorithms.ppo_inverse_cmaes import invert_ppo_cmaes
from mairl.algorithms.ppo_paid import FreePayment, LinearPayment, Payment, seen_and_done
from mairl.algorithms.ppo_record import PPORecord
from mairl.algorithms.ppo_replay import Known, as_weights, parameters, replay
from mairl.algorithms.ppo_values import flat_observations, observed_values
from mairl.core.policy import DiscretePolicy, Policy
from mairl.metrics.learning import play_divergence, skill
from mairl.metrics.reward_distance import pearson
from mairl.networks.feature_values import Basis, FeatureValues, make_basis
from mairl.networks.policy_divergence import Distribution, distribution, sampled_divergence

FREE_UNITS = 8
"""Random hidden units of what a free reward sees."""

SAMPLES = 16
"""Actions for each observation in the Monte Carlo estimate of a divergence."""


@dataclasses.dataclass(frozen=True)
class Case:
    """One history of learning.

    Attributes:
        record: all updates that were observed; the first `fitted` are fitted, the rest only predicted.
        truth: `[agent, feature]`, of the features in the record.
        values: of the features before each update, as an observer fits them.
        used: which of the game's features are in the record: those that vary in the fitted play.
        unused: which are not. Nothing can tell what they are worth; recovered rewards pay 0 for them.
    """

    ppo: PPO
    record: PPORecord
    fitted: int
    truth: Float[np.ndarray, "agent feature"]
    values: FeatureValues
    seed: int
    used: tuple[int, ...]
    unused: tuple[int, ...]

    @property
    def seen(self) -> PPORecord:
        """The updates that are fitted."""
        return self.record.steps(slice(0, self.fitted))

    @property
    def held_out(self) -> PPORecord:
        """Those that are not."""
        return self.record.steps(slice(self.fitted, None))


def make_case(ppo: PPO, record: PPORecord, fitted: int, truth, seed: int) -> Case:
    """With the features that vary, and their values."""
    spread = np.asarray(record.features[:fitted]).reshape(-1, record.features.shape[-1]).std(axis=0)
    used, unused = (tuple(np.flatnonzero(x).tolist()) for x in (spread > 1e-6, spread <= 1e-6))
    record = eqx.tree_at(lambda r: r.features, record, record.features[..., np.asarray(used)])
    values = observed_values(record, ppo.discount)
    return Case(ppo, record, fitted, np.asarray(truth, np.float64)[:, used], values, seed, used, unused)


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a method says of one case.

    Attributes:
        payment: the recovered reward.
        with_truth, with_found: the policies after the held-out updates, at the observations of their play.
        extra: further figures.
    """

    payment: Payment
    with_truth: Distribution
    with_found: Distribution
    extra: dict[str, Any] = dataclasses.field(default_factory=dict)


def by_gradients(case: Case, design: Design) -> Answer:
    """LOGEL (`alone`), I-LOGEL (`joint`), or PPO to first order (`effective`)."""
    table = designs(case.ppo, case.record, design, case.values, case.fitted)
    found = fit_gradients(table[: case.fitted], case.seen)
    truth = fit_step(table[: case.fitted], case.seen, case.truth)

    def predict(weights):
        change = jnp.asarray(np.einsum("tapk,ak->tap", table[case.fitted :], weights), jnp.float32)
        return spread_out(case.held_out, _moved(case.held_out.before.policy, change))

    extra = {"relative_residual": found.relative_residual.tolist()}
    return Answer(_linear(found.weights), predict(truth), predict(found.weights), extra)


def by_soft_improvement(case: Case, free: bool) -> Answer:
    """MA-LfL: the reward tied to the game's features, or free in what an agent sees and does."""
    felt = np.asarray(case.record.features, np.float64)
    true_reward = np.einsum("stnak,ak->stna", felt, case.truth)
    payment: Any = None
    if free:
        obs = flat_observations(case.seen)[0]
        bases = [make_basis(obs[..., i, :].reshape(-1, obs.shape[-1]), FREE_UNITS, i) for i in range(obs.shape[3])]
        basis: Basis = jax.tree.map(lambda *x: jnp.stack(x), *bases)
        policy = case.record.after
        actions = _actions(case.record) if isinstance(policy, DiscretePolicy) else 0
        felt = np.asarray(_seen_and_done(basis, actions, case.record), np.float64)
    found = improvement_reward(case.seen, felt[: case.fitted], case.ppo.discount)
    temper = improvement_reward(case.seen, true_reward[: case.fitted, ..., None], case.ppo.discount).weights[:, 0]
    payment = FreePayment(basis, as_weights(found.weights), actions) if free else _linear(found.weights)

    def predict(rewards):
        return predict_improvement(case.held_out, rewards[case.fitted :], case.ppo.discount)

    return Answer(
        payment,
        predict(true_reward * temper),
        predict(np.einsum("stnak,ak->stna", felt, found.weights)),
        {"relative_residual": found.relative_residual.tolist(), "inverse_temperature": temper.tolist()},
    )


def by_i_lola(case: Case) -> Answer:
    """Gauss-Newton through the replayed updates, from PPO to first order; and what knowing more would be worth."""
    first = by_gradients(case, "effective")
    start = np.asarray(first.payment.weights)  # type: ignore[attr-defined]
    answers = {known: _by_replay(case, known, start) for known in ("play", "critic", "all")}
    levels = {"effective": _figures(case, first), **{known: _figures(case, a) for known, a in answers.items()}}
    main = answers["play"]
    return dataclasses.replace(main, extra={**main.extra, "levels": levels})


def by_i_lola_cmaes(case: Case) -> Answer:
    """The same objective by CMA-ES."""
    found = invert_ppo_cmaes(case.ppo, case.seen, "play", _first(case.values, case.fitted), seed=case.seed)
    return _replayed(case, "play", found)


def by_true_reward(case: Case) -> Answer:
    """The upper bound: nothing is recovered, updates are predicted as `i-lola` does."""
    ones = np.ones(len(case.truth))
    found = PPOReward(case.truth, ones, ones, 0, 0)
    answer = _replayed(case, "play", found)
    return dataclasses.replace(answer, with_found=answer.with_truth)


METHODS: dict[str, Callable[[Case], Answer]] = {
    "ma-lfl": lambda case: by_soft_improvement(case, True),
    "ma-lfl-state": lambda case: by_soft_improvement(case, False),
    "logel": lambda case: by_gradients(case, "alone"),
    "i-logel": lambda case: by_gradients(case, "joint"),
    "i-lola": by_i_lola,
    "i-lola-cmaes": by_i_lola_cmaes,
    "true-reward": by_true_reward,
}


def measure(case: Case, method: str) -> tuple[dict[str, Any], Payment]:
    """One method's figures on one case, and its reward on the game's features, each agent's with deviation 1 in the
    fitted play."""
    start = time.perf_counter()
    answer = METHODS[method](case)
    seconds = time.perf_counter() - start
    same = spread_out(case.held_out, case.held_out.before.policy)
    result: dict[str, Any] = {"seed": case.seed, "seconds": seconds}
    guesses = {"kl_1a": answer.with_truth, "kl_1b": answer.with_found, "kl_0": same}
    for name, guess in guesses.items():
        result[name] = _apart(case, guess).tolist()
    paid = _paid(case.seen, answer.payment)
    unseen, wanted = (_paid(case.held_out, p) for p in (answer.payment, _linear(case.truth)))
    agents = range(len(case.truth))
    if answer.with_found.mean is not None:
        real = spread_out(case.held_out, case.held_out.after)
        sampled = sampled_divergence(jax.random.key(case.seed), real, answer.with_found, SAMPLES)
        result["kl_1b_monte_carlo"] = float(np.mean(np.asarray(sampled)[np.asarray(case.held_out.rollout.mask)]))
    result["pearson"] = [pearson(unseen[..., i].ravel(), wanted[..., i].ravel()) for i in agents]
    weights = np.asarray(answer.payment.weights, np.float64)  # type: ignore[attr-defined]
    if isinstance(answer.payment, LinearPayment):
        scale = deviations(case.seen)
        result["cosine"] = [_cosine(weights[i] * scale, case.truth[i] * scale) for i in agents]
        result |= {"weights": weights.tolist(), "features": list(case.used)}
    size = paid.reshape(-1, paid.shape[-1]).std(axis=0)
    scaled = weights / np.where(size > 0, size, 1.0)[:, None]
    if isinstance(answer.payment, LinearPayment):
        whole = np.zeros((len(scaled), len(case.used) + len(case.unused)))
        whole[:, case.used] = scaled
        scaled = whole
    payment = eqx.tree_at(lambda p: p.weights, answer.payment, as_weights(scaled))
    return {**result, **answer.extra}, payment


def spread_out(record: PPORecord, policy: Policy) -> Distribution:
    """Policies with leaves `[step, ...]` at the observations of each step's play."""
    return _spread_out(record, policy)


def _by_replay(case: Case, known: Known, start) -> Answer:
    values = _first(case.values, case.fitted) if known == "play" else None
    return _replayed(case, known, invert_ppo(case.ppo, case.seen, start, known, values))


def _replayed(case: Case, known: Known, found: PPOReward) -> Answer:
    """Predictions of replayed updates; moments that are carried are carried from the first update on."""
    values = case.values if known == "play" else None
    seen_values = _first(case.values, case.fitted) if known == "play" else None

    def predict(weights, scale):
        after = _replay(case.ppo, case.record, as_weights(weights), known, values)
        change = jax.vmap(parameters)(after) - jax.vmap(parameters)(case.record.before.policy)
        change = (change * jnp.asarray(scale, jnp.float32)[:, None])[case.fitted :]
        return spread_out(case.held_out, _moved(case.held_out.before.policy, change))

    extra = {
        "relative_residual": found.relative_residual.tolist(),
        "step_scale": found.step_scale.tolist(),
        "evaluations": found.evaluations,
    }
    truth_scale = fit_scale(case.ppo, case.seen, case.truth, known, seen_values)
    return Answer(
        _linear(found.weights), predict(case.truth, truth_scale), predict(found.weights, found.step_scale), extra
    )


def _figures(case: Case, answer: Answer) -> dict[str, Any]:
    """One level of knowledge, in short."""
    kl_0 = _apart(case, spread_out(case.held_out, case.held_out.before.policy))
    weights = np.asarray(answer.payment.weights, np.float64)  # type: ignore[attr-defined]
    scale = deviations(case.seen)
    return {
        "skill_1a": skill(_apart(case, answer.with_truth), kl_0),
        "skill_1b": skill(_apart(case, answer.with_found), kl_0),
        "cosine": [_cosine(w * scale, t * scale) for w, t in zip(weights, case.truth)],
        "relative_residual": answer.extra["relative_residual"],
    }


def _apart(case: Case, guess: Distribution) -> Float[np.ndarray, " step"]:
    return play_divergence(spread_out(case.held_out, case.held_out.after), guess, case.held_out.rollout.mask)


def _paid(record: PPORecord, payment: Payment) -> Float[np.ndarray, "step time env agent"]:
    return np.asarray(_pay(record, payment), np.float64)


def _linear(weights) -> LinearPayment:
    return LinearPayment(as_weights(weights))


def _first(values: FeatureValues, count: int) -> FeatureValues:
    return jax.tree.map(lambda x: x[:count], values)


def _actions(record: PPORecord) -> int:
    arrays, static = eqx.partition(record.after, eqx.is_array)
    policy = eqx.combine(jax.tree.map(lambda x: x[0], arrays), static)
    obs = jax.tree.map(lambda x: x[0, 0, 0], record.rollout.obs)
    return policy.logits(obs).shape[-1]


def _cosine(a, b) -> float | None:
    size = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / size if size > 0 else None


@eqx.filter_jit
def _replay(ppo, record, weights, known: Known, values) -> Policy:
    return replay(ppo, record, weights, known, values)


@eqx.filter_jit
def _pay(record: PPORecord, payment: Payment) -> Array:
    return jax.vmap(payment)(record.rollout, record.features)


@eqx.filter_jit
def _seen_and_done(basis: Basis, actions: int, record: PPORecord) -> Array:
    return jax.vmap(lambda steps: seen_and_done(basis, actions, steps))(record.rollout)


@eqx.filter_jit
def _moved(policy: Policy, change: Float[Array, "step agent parameter"]) -> Policy:
    arrays, static = eqx.partition(policy, eqx.is_array)
    after = jax.vmap(lambda p, c: eqx.filter(moved(eqx.combine(p, static), c), eqx.is_array))(arrays, change)
    return eqx.combine(after, static)


@eqx.filter_jit
def _spread_out(record: PPORecord, policy: Policy) -> Distribution:
    arrays, static = eqx.partition(policy, eqx.is_array)
    steps = record.rollout

    def one(policy, obs, allowed):
        return distribution(eqx.combine(policy, static), obs, allowed, 2)

    return jax.vmap(one)(arrays, steps.obs, steps.action_mask)
