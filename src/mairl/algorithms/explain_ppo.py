"""Methods that explain updates of PPO learners: rewards, and the policies after updates that were not fitted.

Each is a frozen configuration with two functions, as those of tables have (`mairl.algorithms.explain`).

    explain(case)          the rewards, and the policies after the held-out updates that they predict
    next_with(case, true)  those policies if the agents wanted `true`: what the method leaves open (step sizes,
                           temperatures) is fitted, rewards are not

`i-lola` and `i-lola-cmaes` know all that a history holds: the policies, their play, PPO's settings, its minibatches'
keys, the critics and Adam's moments. `ByReplay.known` takes the last two from them, to see what they are worth.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mairl.algorithms.ma_lfl_approximate import improvement_reward, predict_improvement
from mairl.algorithms.ppo import PPO
from mairl.algorithms.ppo_gradients import Design, designs, fit_gradients, fit_step, moved
from mairl.algorithms.ppo_inverse import PPOReward, as_told, invert_ppo, supposed_basis
from mairl.algorithms.ppo_inverse_cmaes import invert_ppo_cmaes
from mairl.algorithms.ppo_observations import observation_bases
from mairl.algorithms.ppo_paid import FreePayment, FreeReward, LinearPayment, Payment, seen_and_done
from mairl.algorithms.ppo_record import PPORecord
from mairl.algorithms.ppo_replay import Known, as_weights, parameters, replay
from mairl.core.errors import Unsupported
from mairl.core.policy import DiscretePolicy, Policy
from mairl.networks.feature_values import Basis
from mairl.networks.policy_divergence import Distribution, distribution

FREE_UNITS = 8
"""Random hidden units of what a free reward sees."""


@dataclasses.dataclass(frozen=True)
class Case:
    """One history of learning.

    Attributes:
        record: all updates that were observed.
        fitted, predicted: numbers of those that are fitted, and of the rest.
        used: which of the game's features are in the record: those that vary in the fitted play.
        unused: which are not. Nothing can tell what they are worth; recovered rewards pay 0 for them.
    """

    ppo: PPO
    record: PPORecord
    fitted: tuple[int, ...]
    predicted: tuple[int, ...]
    seed: int
    used: tuple[int, ...]
    unused: tuple[int, ...]

    @property
    def seen(self) -> PPORecord:
        """The updates that are fitted."""
        return self.record.steps(self.fitted)

    @property
    def held_out(self) -> PPORecord:
        """Those that are not."""
        return self.record.steps(self.predicted)


def make_case(ppo: PPO, record: PPORecord, predicted: Sequence[int], seed: int) -> Case:
    """With the features that vary.

    Args:
        predicted: numbers of the updates that are only predicted.

    Raises:
        Unsupported: no feature varies.
    """
    fitted = tuple(t for t in range(record.num_steps) if t not in set(predicted))
    spread = np.asarray(record.features)[list(fitted)].reshape(-1, record.features.shape[-1]).std(axis=0)
    used, unused = (tuple(np.flatnonzero(x).tolist()) for x in (spread > 1e-6, spread <= 1e-6))
    if not used:
        raise Unsupported(
            f"none of the {len(unused)} features of rewards varies in the play of {len(fitted)} updates: record more "
            "play, or more updates"
        )
    record = eqx.tree_at(lambda r: r.features, record, record.features[..., np.asarray(used)])
    return Case(ppo, record, fitted, tuple(predicted), seed, used, unused)


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a method says of one case.

    Attributes:
        payment: the recovered reward.
        predicted: the policies after the held-out updates, at the observations of their play.
        extra: further figures.
        has_scale: the reward is in the learners' own units; else only its direction is told.
    """

    payment: Payment
    predicted: Distribution
    extra: dict[str, Any] = dataclasses.field(default_factory=dict)
    has_scale: bool = False


class ExplainsPPO(Protocol):
    """A method; see the module's docstring. Rewards are weights of the case's features."""

    def explain(self, case: Case) -> Answer:
        """The rewards."""
        ...

    def next_with(self, case: Case, true: Float[np.ndarray, "agent feature"]) -> Distribution:
        """The policies after the held-out updates if the agents wanted `true`."""
        ...


@dataclasses.dataclass(frozen=True)
class ByGradients:
    """LOGEL (`alone`), or I-LOGEL (`joint`)."""

    design: Design

    def explain(self, case: Case) -> Answer:
        """See `ExplainsPPO`."""
        table = self._table(case)
        found = fit_gradients(table[list(case.fitted)], case.seen)
        extra = {"relative_residual": found.relative_residual.tolist()}
        weights = as_told(case.seen, found.weights)
        return Answer(linear(weights), self._predict(case, table, weights), extra)

    def next_with(self, case: Case, true) -> Distribution:
        """See `ExplainsPPO`: step sizes are fitted."""
        table = self._table(case)
        return self._predict(case, table, fit_step(table[list(case.fitted)], case.seen, true))

    def _table(self, case: Case):
        return designs(case.ppo, case.record, self.design, case.fitted)

    def _predict(self, case: Case, table, weights) -> Distribution:
        change = jnp.asarray(np.einsum("tapk,ak->tap", table[list(case.predicted)], weights), jnp.float32)
        return spread_out(case.held_out, _moved(case.held_out.before.policy, change))


@dataclasses.dataclass(frozen=True)
class BySoftImprovement:
    """MA-LfL: the reward tied to the game's features, or free in what an agent sees and does."""

    free: bool

    def explain(self, case: Case) -> Answer:
        """See `ExplainsPPO`."""
        felt = np.asarray(case.record.features, np.float64)
        if self.free:
            basis = observation_bases(case.seen, FREE_UNITS)
            actions = _actions(case.record) if isinstance(case.record.after, DiscretePolicy) else 0
            felt = np.asarray(_seen_and_done(basis, actions, case.record), np.float64)
        found = improvement_reward(case.seen, felt[list(case.fitted)], case.ppo.discount)
        weights = found.weights if self.free else as_told(case.seen, found.weights)
        payment = linear(weights)
        if self.free:
            payment = FreePayment(FreeReward(basis, as_weights(weights), actions))
        extra = {"relative_residual": found.relative_residual.tolist()}
        return Answer(payment, self._predict(case, np.einsum("stnak,ak->stna", felt, weights)), extra)

    def next_with(self, case: Case, true) -> Distribution:
        """See `ExplainsPPO`: temperatures are fitted."""
        reward = np.einsum("stnak,ak->stna", np.asarray(case.record.features, np.float64), true)
        temper = improvement_reward(case.seen, reward[list(case.fitted), ..., None], case.ppo.discount).weights[:, 0]
        return self._predict(case, reward * temper)

    def _predict(self, case: Case, rewards) -> Distribution:
        return predict_improvement(case.held_out, rewards[list(case.predicted)], case.ppo.discount)


@dataclasses.dataclass(frozen=True)
class ByReplay:
    """I-LOLA: through replayed updates, by Gauss-Newton from I-LOGEL's rewards, or by CMA-ES.

    Attributes:
        known: of what the history holds, all is used, or less, to see what it is worth (`ppo_replay`).
        cma_es: without slopes.
    """

    known: Known = "all"
    cma_es: bool = False

    def explain(self, case: Case) -> Answer:
        """See `ExplainsPPO`."""
        if self.cma_es:
            found = invert_ppo_cmaes(case.ppo, case.seen, self.known, seed=case.seed)
        else:
            start = ByGradients("joint").explain(case).payment.weights  # type: ignore[attr-defined]
            found = invert_ppo(case.ppo, case.seen, np.asarray(start), self.known)
        found = dataclasses.replace(found, weights=as_told(case.seen, found.weights))
        extra = {
            "relative_residual": found.relative_residual.tolist(),
            "step_scale": found.step_scale.tolist(),
            "evaluations": found.evaluations,
        }
        return Answer(linear(found.weights), self._predict(case, found), extra, has_scale=self.known != "play")

    def next_with(self, case: Case, true) -> Distribution:
        """See `ExplainsPPO`: how far the agents go is fitted, and their critics where they are not known."""
        return self._predict(case, invert_ppo(case.ppo, case.seen, true, self.known, only_learner=True))

    def _predict(self, case: Case, found: PPOReward) -> Distribution:
        """Through all updates, for moments that are carried; critics are those of the fitted update before."""
        basis = supposed_basis(case.seen, self.known)
        before = np.searchsorted(case.fitted, np.arange(case.record.num_steps), side="right") - 1
        unknowns = as_weights(found.unknowns(np.maximum(before, 0)))
        after = _replay(case.ppo, case.record, unknowns, self.known, basis)
        change = jax.vmap(parameters)(after) - jax.vmap(parameters)(case.record.before.policy)
        change = (change * jnp.asarray(found.step_scale, jnp.float32)[:, None])[jnp.asarray(case.predicted)]
        return spread_out(case.held_out, _moved(case.held_out.before.policy, change))


METHODS: dict[str, ExplainsPPO] = {
    "ma-lfl": BySoftImprovement(free=True),
    "ma-lfl-state": BySoftImprovement(free=False),
    "logel": ByGradients("alone"),
    "i-logel": ByGradients("joint"),
    "i-lola": ByReplay(),
    "i-lola-cmaes": ByReplay(cma_es=True),
}
"""Id to method."""


def spread_out(record: PPORecord, policy: Policy) -> Distribution:
    """Policies with leaves `[step, ...]` at the observations of each step's play."""
    return _spread_out(record, policy)


def paid(record: PPORecord, payment: Payment) -> Float[np.ndarray, "step time env agent"]:
    """What a payment pays for the recorded play."""
    return np.asarray(_pay(record, payment), np.float64)


def linear(weights) -> LinearPayment:
    """The payment with these weights, `[agent, feature]`."""
    return LinearPayment(as_weights(weights))


def to_learn_from(case: Case, payment: Payment, *, has_scale: bool = False) -> Payment:
    """A payment of the record's features as one of all the game's: with a scale as it is, else each agent's with
    deviation 1 in the fitted play."""
    size = np.ones(1) if has_scale else deviation(case, payment)
    weights = np.asarray(payment.weights, np.float64)  # type: ignore[attr-defined]
    unit = weights / np.where(size > 0, size, 1.0)[:, None]
    if isinstance(payment, FreePayment):
        return eqx.tree_at(lambda p: p.reward.weights, payment, as_weights(unit))
    whole = np.zeros((len(unit), len(case.used) + len(case.unused)))
    whole[:, case.used] = unit
    return linear(whole)


def deviation(case: Case, payment: Payment) -> Float[np.ndarray, " agent"]:
    """Of what a payment of the record's features pays for the fitted play."""
    amount = paid(case.seen, payment)
    return amount.reshape(-1, amount.shape[-1]).std(axis=0)


def scaled(payment: Payment, factor: Float[np.ndarray, " agent"]) -> Payment:
    """So many times as much, to each agent."""
    times = jnp.asarray(factor, jnp.float32)[:, None]
    if isinstance(payment, FreePayment):
        return eqx.tree_at(lambda p: p.reward.weights, payment, times * payment.reward.weights)
    assert isinstance(payment, LinearPayment)
    return LinearPayment(times * payment.weights)


def _actions(record: PPORecord) -> int:
    arrays, static = eqx.partition(record.after, eqx.is_array)
    policy = eqx.combine(jax.tree.map(lambda x: x[0], arrays), static)
    obs = jax.tree.map(lambda x: x[0, 0, 0], record.rollout.obs)
    return policy.logits(obs).shape[-1]


@eqx.filter_jit
def _replay(ppo, record, unknowns, known: Known, basis) -> Policy:
    return replay(ppo, record, unknowns, known, basis)


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
