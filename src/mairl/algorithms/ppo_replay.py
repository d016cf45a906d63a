"""PPO's update as a function of what the agents want: the same minibatches, the same Adam, other weights.

    θ_i'(ω_i) = update(θ, moments, critic; rollout paid φ · ω_i, key)

Differentiable almost everywhere: not where a ratio enters or leaves the clip. An agent's update depends on its own
reward and critic only, so that one tangent for each unknown serves all agents at once.

What is known of the learner besides its policies and their play: `all`, its critic and Adam's moments; the `critic`
only; or nothing more than the `play`. Moments that are not known are those that the replayed updates leave behind,
after a first pass over the first rollout that fills them. A critic that is not known is one more unknown:

    V_i(o) = b_i(o) · c_i                                                   (b: `networks.feature_values`)

the same in all updates, with b = (1, o). Values fitted to the play are no substitute: the critics of agents that have
just begun are far from them.
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
from mairl.networks.feature_values import Basis

Known = Literal["all", "critic", "play"]


class _Held:
    """Arrays that no tree operation finds. All are equal: an optimiser's trees, which are built around one of them,
    must fit those around another."""

    def __init__(self, basis: Basis, coefficients: Float[Array, "agent basis"]):
        self.basis, self.coefficients = basis, coefficients

    def __eq__(self, other):
        return isinstance(other, _Held)

    def __hash__(self):
        return 0


class FixedCritic(eqx.Module):
    """b(o) · c of every agent as something that PPO can ask, and in which it finds nothing to train."""

    held: _Held = eqx.field(static=True)
    shared: bool = eqx.field(static=True, default=False)

    @classmethod
    def of(cls, basis: Basis, coefficients: Float[Array, "agent basis"]) -> FixedCritic:
        """Arrays of `basis` are `[agent, ...]`."""
        return cls(_Held(basis, coefficients))

    def __call__(self, obs: PyTree[Array]) -> Float[Array, "agent one"]:
        """The values of one joint observation."""
        return jax.vmap(lambda b, c, o: (b(o) @ c)[None])(self.held.basis, self.held.coefficients, obs)


def parameters(policy: Policy) -> Float[Array, "agent parameter"]:
    """All that is learned of each agent's policy, in one row."""
    leaves = jax.tree.leaves(eqx.filter(policy, eqx.is_inexact_array))
    return jnp.concatenate([x.reshape(x.shape[0], -1) for x in leaves], axis=1)


def replay(
    ppo: PPO,
    record: PPORecord,
    unknowns: Float[Array, "agent unknown"],
    known: Known,
    basis: Basis | None = None,
) -> Policy:
    """The policies after each recorded update, leaves `[step, ...]`, had the agents wanted other rewards.

    Args:
        unknowns: each agent's weights of the record's features; where only the play is known, followed by its critic's
            coefficients c.
        basis: b where only the play is known, arrays `[agent, ...]`.
    """
    arrays, static = eqx.partition(record, eqx.is_array)
    weights, rest = jnp.split(unknowns, [record.features.shape[-1]], axis=1)
    if known == "all":

        def one(step):
            step = eqx.combine(step, static)
            return eqx.filter(updated(ppo, step.before, step, weights).policy, eqx.is_array)

        after = jax.lax.map(one, arrays)
    else:

        def learnt(step: Any) -> tuple[Any, Any]:
            critic = step.before.critic if basis is None else FixedCritic.of(basis, ppo.reward_scale * rest)
            return step.before.policy, critic

        def carried(opt_state, step):
            step = eqx.combine(step, static)
            after = updated(ppo, State(*learnt(step), opt_state), step, weights)
            return after.opt_state, eqx.filter(after.policy, eqx.is_array)

        first = jax.tree.map(lambda x: x[0], arrays)
        empty = ppo.optimiser().init(eqx.filter(learnt(eqx.combine(first, static)), eqx.is_inexact_array))
        # The first update is made twice: once from no moments, only to fill them.
        _, after = jax.lax.scan(carried, empty, jax.tree.map(lambda x: jnp.concatenate([x[:1], x]), arrays))
        after = jax.tree.map(lambda x: x[1:], after)
    return eqx.combine(after, eqx.filter(record.after, eqx.is_array, inverse=True))


def updated(ppo: PPO, state: State, step: PPORecord, weights: Float[Array, "agent feature"]) -> State:
    """The learner after one recorded update, had it been in `state` and wanted `weights`."""
    reward = jnp.sum(step.features * weights, axis=-1)
    rollout: Transition = dataclasses.replace(step.rollout, reward=reward)
    return ppo.update(jax.random.wrap_key_data(step.key), state, None, None, rollout)[0]  # type: ignore[arg-type]


def moves(
    ppo: PPO, record: PPORecord, unknowns: Float[Array, "agent unknown"], known: Known, basis: Basis | None
) -> Float[Array, "step agent parameter"]:
    """How the replayed updates change each agent's parameters."""
    after = replay(ppo, record, unknowns, known, basis)
    return jax.vmap(parameters)(after) - jax.vmap(parameters)(record.before.policy)


def observed_moves(record: PPORecord) -> Float[Array, "step agent parameter"]:
    """How they were changed."""
    return jax.vmap(parameters)(record.after) - jax.vmap(parameters)(record.before.policy)


@eqx.filter_jit
def gram(
    ppo: PPO, record: PPORecord, unknowns: Float[Array, "agent unknown"], known: Known, basis: Basis | None
) -> Float[Array, "agent column column"]:
    """Inner products, over all steps and parameters, of ∂F/∂u (a column for each unknown), F and the observed move Δ.

    All that Gauss-Newton needs, without the Jacobian of any agent's thousands of parameters in memory for long.
    """

    def run(u):
        return moves(ppo, record, u, known, basis)

    count = unknowns.shape[-1]
    tangents = jnp.broadcast_to(jnp.eye(count)[:, None], (count, *unknowns.shape))
    move, slopes = jax.vmap(lambda v: jax.jvp(run, (unknowns,), (v,)), out_axes=(None, 0))(tangents)
    columns = jnp.concatenate([slopes, move[None], observed_moves(record)[None]])
    return jnp.einsum("ksap,lsap->akl", columns, columns)


@eqx.filter_jit
def products(
    ppo: PPO, record: PPORecord, unknowns: Float[Array, "agent unknown"], known: Known, basis: Basis | None
) -> Float[Array, "agent two two"]:
    """Inner products of F and Δ alone: what it costs to try some unknowns."""
    columns = jnp.stack([moves(ppo, record, unknowns, known, basis), observed_moves(record)])
    return jnp.einsum("ksap,lsap->akl", columns, columns)


def as_weights(weights: Float[np.ndarray, "agent unknown"]) -> Array:
    """For the device, in the precision that the learner had."""
    return jnp.asarray(weights, jnp.float32)
