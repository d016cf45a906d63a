"""PPO's update as a function of what the agents want: the same minibatches, the same Adam, other weights.

    θ_i'(ω_i) = update(θ, moments, critic; rollout paid φ · ω_i, key)

Differentiable almost everywhere: not where a ratio enters or leaves the clip. An agent's update depends on its own
reward only, so that one tangent a feature serves all agents at once.

What is known of the learner besides its policies and their play: `all`, its critic and Adam's moments; the `critic`
only; or nothing more than the `play`. Moments that are not known are those that the replayed updates leave behind,
after a first pass over the first rollout that fills them. A critic that is not known is linear in ω
(`networks.feature_values`).
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from mairl.algorithms.ppo import PPO, State
from mairl.algorithms.ppo_record import PPORecord
from mairl.core.policy import Policy
from mairl.core.transition import Transition
from mairl.networks.feature_values import FeatureValues

Known = Literal["all", "critic", "play"]


class _Held:
    """Arrays that no tree operation finds. All are equal: an optimiser's trees, which are built around one of them,
    must fit those around another."""

    def __init__(self, values: FeatureValues, weights: Float[Array, "agent feature"]):
        self.values, self.weights = values, weights

    def __eq__(self, other):
        return isinstance(other, _Held)

    def __hash__(self):
        return 0


class FixedCritic(eqx.Module):
    """V^k(o) ω_k of every agent as something that PPO can ask, and in which it finds nothing to train."""

    held: _Held = eqx.field(static=True)
    shared: bool = eqx.field(static=True, default=False)

    @classmethod
    def of(cls, values: FeatureValues, weights: Float[Array, "agent feature"]) -> FixedCritic:
        """Arrays of `values` are `[agent, ...]`."""
        return cls(_Held(values, weights))

    def __call__(self, obs: PyTree[Array]) -> Float[Array, "agent one"]:
        """The values of one joint observation."""
        return jax.vmap(lambda v, w, o: (v(o) @ w)[None])(self.held.values, self.held.weights, obs)


def parameters(policy: Policy) -> Float[Array, "agent parameter"]:
    """All that is learned of each agent's policy, in one row."""
    leaves = jax.tree.leaves(eqx.filter(policy, eqx.is_inexact_array))
    return jnp.concatenate([x.reshape(x.shape[0], -1) for x in leaves], axis=1)


def replay(
    ppo: PPO,
    record: PPORecord,
    weights: Float[Array, "agent feature"],
    known: Known,
    values: FeatureValues | None = None,
) -> Policy:
    """The policies after each recorded update, leaves `[step, ...]`, had the agents wanted `weights`.

    Args:
        values: where only the play is known, each agent's values of each feature, arrays `[step, agent, ...]`.
    """
    arrays, static = eqx.partition(record, eqx.is_array)
    if known == "all":

        def one(step):
            step = eqx.combine(step, static)
            return eqx.filter(updated(ppo, step.before, step, weights).policy, eqx.is_array)

        after = jax.lax.map(one, arrays)
    else:

        def learner(both) -> tuple[Any, Any]:
            """A recorded step, and what was learnt before it."""
            step: Any = eqx.combine(both[0], static)
            critic = step.before.critic if known == "critic" else FixedCritic.of(both[1], ppo.reward_scale * weights)
            return step, (step.before.policy, critic)

        def carried(opt_state, both):
            step, learnt = learner(both)
            policy, critic = learnt
            after = updated(ppo, State(policy, critic, opt_state), step, weights)
            return after.opt_state, eqx.filter(after.policy, eqx.is_array)

        steps = (arrays, values if known == "play" else None)
        first = jax.tree.map(lambda x: x[0], steps)
        empty = ppo.optimiser().init(eqx.filter(learner(first)[1], eqx.is_inexact_array))
        filled, _ = carried(empty, first)
        _, after = jax.lax.scan(carried, filled, steps)
    return eqx.combine(after, eqx.filter(record.after, eqx.is_array, inverse=True))


def updated(ppo: PPO, state: State, step: PPORecord, weights: Float[Array, "agent feature"]) -> State:
    """The learner after one recorded update, had it been in `state` and wanted `weights`."""
    reward = jnp.sum(step.features * weights, axis=-1)
    rollout: Transition = dataclasses.replace(step.rollout, reward=reward)
    return ppo.update(jax.random.wrap_key_data(step.key), state, None, None, rollout)[0]  # type: ignore[arg-type]


def moves(
    ppo: PPO, record: PPORecord, weights: Float[Array, "agent feature"], known: Known, values: FeatureValues | None
) -> Float[Array, "step agent parameter"]:
    """How the replayed updates change each agent's parameters."""
    after = replay(ppo, record, weights, known, values)
    return jax.vmap(parameters)(after) - jax.vmap(parameters)(record.before.policy)


def observed_moves(record: PPORecord) -> Float[Array, "step agent parameter"]:
    """How they were changed."""
    return jax.vmap(parameters)(record.after) - jax.vmap(parameters)(record.before.policy)


@eqx.filter_jit
def gram(
    ppo: PPO, record: PPORecord, weights: Float[Array, "agent feature"], known: Known, values: FeatureValues | None
) -> Float[Array, "agent column column"]:
    """Inner products, over all steps and parameters, of ∂F/∂ω (a column a feature), F and the observed move Δ.

    All that Gauss-Newton needs, without the Jacobian of any agent's thousands of parameters in memory for long.
    """
    features = weights.shape[-1]

    def run(w):
        return moves(ppo, record, w, known, values)

    tangents = jnp.broadcast_to(jnp.eye(features)[:, None], (features, *weights.shape))
    move, slopes = jax.vmap(lambda v: jax.jvp(run, (weights,), (v,)), out_axes=(None, 0))(tangents)
    columns = jnp.concatenate([slopes, move[None], observed_moves(record)[None]])
    return jnp.einsum("ksap,lsap->akl", columns, columns)


@eqx.filter_jit
def products(
    ppo: PPO, record: PPORecord, weights: Float[Array, "agent feature"], known: Known, values: FeatureValues | None
) -> Float[Array, "agent two two"]:
    """Inner products of F and Δ alone: what it costs to try some weights."""
    columns = jnp.stack([moves(ppo, record, weights, known, values), observed_moves(record)])
    return jnp.einsum("ksap,lsap->akl", columns, columns)


def as_weights(weights: Float[np.ndarray, "agent feature"]) -> Array:
    """Weights for the device, in the precision that the learner had."""
    return jnp.asarray(weights, jnp.float32)
