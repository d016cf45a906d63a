"""Methods that explain updates of PPO learners: rewards, and the policies after updates that were not fitted.

Each is a frozen configuration with two functions, as those of tables have (`mairl.algorithms.explain`).

    explain(case)          the rewards, and the policies after the held-out updates that they predict
    next_with(case, true)  those policies if the agents wanted `true`: what the method leaves open (step sizes,
                           temperatures) is fitted, rewards are not

`i-lola` and `i-lola-cmaes` know the policies, their play, PPO's settings and its minibatches' keys, but neither the
critics nor Adam's moments.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mairl.algorithms.ma_lfl_approximate import improvement_reward, predict_improvement
from mairl.algorithms.ppo import PPO
from mairl.algorithms.ppo_gradients import Design, designs, fit_gradients, fit_step, moved
from mairl.algorithms.ppo_inverse import fit_scale, invert_ppo
from mairl.algorithms.ppo_inverse_cmaes import invert_ppo_cmaes
from mairl.algorithms.ppo_paid import FreePayment, FreeReward, LinearPayment, Payment, seen_and_done
from mairl.algorithms.ppo_record import PPORecord
from mairl.algorithms.ppo_replay import Known, as_weights, parameters, replay
from mairl.algorithms.ppo_values import flat_observations, observed_values
from mairl.core.errors import Unsupported
from mairl.core.policy import DiscretePolicy, Policy
from mairl.networks.feature_values import Basis, FeatureValues, make_basis
from mairl.networks.policy_divergence import Distribution, distribution

FREE_UNITS = 8
"""Random hidden units of what a free reward sees."""


@dataclasses.dataclass(frozen=True)
class Case:
    """One history of learning.

    Attributes:
        record: all updates that were observed; the first `fitted` are fitted, the rest only predicted.
        values: of the features before each update, as an observer fits them.
        used: which of the game's features are in the record: those that vary in the fitted play.
        unused: which are not. Nothing can tell what they are worth; recovered rewards pay 0 for them.
    """

    ppo: PPO
    record: PPORecord
    fitted: int
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


def make_case(ppo: PPO, record: PPORecord, fitted: int, seed: int) -> Case:
    """With the features that vary, and their values.

    Raises:
        Unsupported: no feature varies.
    """
    spread = np.asarray(record.features[:fitted]).reshape(-1, record.features.shape[-1]).std(axis=0)
    used, unused = (tuple(np.flatnonzero(x).tolist()) for x in (spread > 1e-6, spread <= 1e-6))
    if not used:
        raise Unsupported(
            f"none of the {len(unused)} features of rewards varies in the play of {fitted} updates: record more play, "
            "or more updates"
        )
    record = eqx.tree_at(lambda r: r.features, record, record.features[..., np.asarray(used)])
    return Case(ppo, record, fitted, observed_values(record, ppo.discount), seed, used, unused)


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a method says of one case.

    Attributes:
        payment: the recovered reward.
        predicted: the policies after the held-out updates, at the observations of their play.
        extra: further figures.
    """

    payment: Payment
    predicted: Distribution
    extra: dict[str, Any] = dataclasses.field(default_factory=dict)


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
    """LOGEL (`alone`), I-LOGEL (`joint`), or PPO to first order (`effective`)."""

    design: Design

    def explain(self, case: Case) -> Answer:
        """See `ExplainsPPO`."""
        table = self._table(case)
        found = fit_gradients(table[: case.fitted], case.seen)
        extra = {"relative_residual": found.relative_residual.tolist()}
        return Answer(linear(found.weights), self._predict(case, table, found.weights), extra)

    def next_with(self, case: Case, true) -> Distribution:
        """See `ExplainsPPO`: step sizes are fitted."""
        table = self._table(case)
        return self._predict(case, table, fit_step(table[: case.fitted], case.seen, true))

    def _table(self, case: Case):
        return designs(case.ppo, case.record, self.design, case.values, case.fitted)

    def _predict(self, case: Case, table, weights) -> Distribution:
        change = jnp.asarray(np.einsum("tapk,ak->tap", table[case.fitted :], weights), jnp.float32)
        return spread_out(case.held_out, _moved(case.held_out.before.policy, change))


@dataclasses.dataclass(frozen=True)
class BySoftImprovement:
    """MA-LfL: the reward tied to the game's features, or free in what an agent sees and does."""

    free: bool

    def explain(self, case: Case) -> Answer:
        """See `ExplainsPPO`."""
        felt = np.asarray(case.record.features, np.float64)
        if self.free:
            obs = flat_observations(case.seen)[0]
            bases = [make_basis(obs[..., i, :].reshape(-1, obs.shape[-1]), FREE_UNITS, i) for i in range(obs.shape[3])]
            basis: Basis = jax.tree.map(lambda *x: jnp.stack(x), *bases)
            actions = _actions(case.record) if isinstance(case.record.after, DiscretePolicy) else 0
            felt = np.asarray(_seen_and_done(basis, actions, case.record), np.float64)
        found = improvement_reward(case.seen, felt[: case.fitted], case.ppo.discount)
        payment = linear(found.weights)
        if self.free:
            payment = FreePayment(FreeReward(basis, as_weights(found.weights), actions))
        extra = {"relative_residual": found.relative_residual.tolist()}
        return Answer(payment, self._predict(case, np.einsum("stnak,ak->stna", felt, found.weights)), extra)

    def next_with(self, case: Case, true) -> Distribution:
        """See `ExplainsPPO`: temperatures are fitted."""
        reward = np.einsum("stnak,ak->stna", np.asarray(case.record.features, np.float64), true)
        temper = improvement_reward(case.seen, reward[: case.fitted, ..., None], case.ppo.discount).weights[:, 0]
        return self._predict(case, reward * temper)

    def _predict(self, case: Case, rewards) -> Distribution:
        return predict_improvement(case.held_out, rewards[case.fitted :], case.ppo.discount)


@dataclasses.dataclass(frozen=True)
class ByReplay:
    """I-LOLA: through replayed updates, by Gauss-Newton from PPO to first order, or by CMA-ES.

    Attributes:
        known: more than "play" is more than an observer has; to see what it would be worth.
        derivatives: False: by CMA-ES.
    """

    known: Known = "play"
    derivatives: bool = True

    def explain(self, case: Case) -> Answer:
        """See `ExplainsPPO`."""
        values = self._values(case)
        if self.derivatives:
            start = np.asarray(ByGradients("effective").explain(case).payment.weights)  # type: ignore[attr-defined]
            found = invert_ppo(case.ppo, case.seen, start, self.known, values)
        else:
            found = invert_ppo_cmaes(case.ppo, case.seen, self.known, values, seed=case.seed)
        extra = {
            "relative_residual": found.relative_residual.tolist(),
            "step_scale": found.step_scale.tolist(),
            "evaluations": found.evaluations,
        }
        return Answer(linear(found.weights), self._predict(case, found.weights, found.step_scale), extra)

    def next_with(self, case: Case, true) -> Distribution:
        """See `ExplainsPPO`: how far the agents go is fitted."""
        return self._predict(case, true, fit_scale(case.ppo, case.seen, true, self.known, self._values(case)))

    def _values(self, case: Case) -> FeatureValues | None:
        return jax.tree.map(lambda x: x[: case.fitted], case.values) if self.known == "play" else None

    def _predict(self, case: Case, weights, scale) -> Distribution:
        """Moments that are carried are carried from the first update on."""
        values = case.values if self.known == "play" else None
        after = _replay(case.ppo, case.record, as_weights(weights), self.known, values)
        change = jax.vmap(parameters)(after) - jax.vmap(parameters)(case.record.before.policy)
        change = (change * jnp.asarray(scale, jnp.float32)[:, None])[case.fitted :]
        return spread_out(case.held_out, _moved(case.held_out.before.policy, change))


METHODS: dict[str, ExplainsPPO] = {
    "ma-lfl": BySoftImprovement(free=True),
    "ma-lfl-state": BySoftImprovement(free=False),
    "logel": ByGradients("alone"),
    "i-logel": ByGradients("joint"),
    "i-lola": ByReplay(),
    "i-lola-cmaes": ByReplay(derivatives=False),
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


def to_learn_from(case: Case, payment: Payment) -> Payment:
    """A payment of the record's features as one of all the game's, each agent's with deviation 1 in the fitted play."""
    amount = paid(case.seen, payment)
    size = amount.reshape(-1, amount.shape[-1]).std(axis=0)
    weights = np.asarray(payment.weights, np.float64)  # type: ignore[attr-defined]
    scaled = weights / np.where(size > 0, size, 1.0)[:, None]
    if isinstance(payment, FreePayment):
        return eqx.tree_at(lambda p: p.reward.weights, payment, as_weights(scaled))
    whole = np.zeros((len(scaled), len(case.used) + len(case.unused)))
    whole[:, case.used] = scaled
    return linear(whole)


def _actions(record: PPORecord) -> int:
    arrays, static = eqx.partition(record.after, eqx.is_array)
    policy = eqx.combine(jax.tree.map(lambda x: x[0], arrays), static)
    obs = jax.tree.map(lambda x: x[0, 0, 0], record.rollout.obs)
    return policy.logits(obs).shape[-1]


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
