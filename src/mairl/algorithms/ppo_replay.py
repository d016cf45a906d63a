"""PPO's update as a function of what the agents want: the same minibatches, the same Adam, other weights.

    θ_i'(ω_i) = update(θ, moments, critic; rollout paid φ · ω_i, key)

Differentiable almost everywhere: not where a ratio enters or leaves the clip. An agent's update depends on its own
reward and critic only, so that one tangent for each unknown serves all agents at once.

What is known of the learner besides its policies and their play: `all`, its critic and Adam's moments; the `critic`
only; or nothing more than the `play`. Moments that are not known are those that the replayed update before leaves
behind; where that is not in the record they begin empty, as Adam's own correction allows (filling them by a first pass
over the update's own rollout serves no better). How many updates were made before each, and with it the learning rate's
place in its schedule, is always known. A critic that is not known is one more unknown:

    V_i(o) = b_i(o) · c_i                                                   (b: `networks.feature_values`)

with b = (1, o), the same in updates that follow one another (`stretches`). Values fitted to the play are no substitute:
the critics of agents that have just begun are far from them.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PyTree

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

    def on_batch(self, obs: PyTree[Array], key=None) -> Float[Array, "batch agent one"]:
        """The values of a batch of joint observations."""
        value = jax.vmap(lambda b, c, o: (b(o) @ c)[None])
        return jax.vmap(lambda o: value(self.held.basis, self.held.coefficients, o))(obs)


def parameters(policy: Policy) -> Float[Array, "agent parameter"]:
    """All that is learned of each agent's policy, in one row."""
    leaves = jax.tree.leaves(eqx.filter(policy, eqx.is_inexact_array))
    return jnp.concatenate([x.reshape(x.shape[0], -1) for x in leaves], axis=1)


def replay(
    ppo: PPO,
    record: PPORecord,
    unknowns: Float[Array, "step agent unknown"],
    known: Known,
    basis: Basis | None = None,
) -> Policy:
    """The policies after each recorded update, leaves `[step, ...]`, had the agents wanted other rewards.

    Args:
        unknowns: for each update each agent's weights of the record's features; where only the play is known, followed
            by its critic's coefficients c.
        basis: b where only the play is known, arrays `[agent, ...]`.
    """
    arrays, static = eqx.partition(record, eqx.is_array)
    features = record.features.shape[-1]
    if known == "all":

        def one(given):
            step, weights = eqx.combine(given[0], static), given[1]
            return eqx.filter(updated(ppo, step.before, step, weights).policy, eqx.is_array)

        after = jax.lax.map(one, (arrays, unknowns))
    else:

        def learnt(step: Any, unknowns) -> tuple[Any, Any]:
            rest = ppo.reward_scale * unknowns[:, features:]
            critic = step.before.critic if basis is None else FixedCritic.of(basis, rest)
            return step.before.policy, critic

        def carried(carry, given):
            opt_state, expected = carry
            step, unknowns = eqx.combine(given[0], static), given[1]
            weights = unknowns[:, :features]
            made = steps_made(step.before.opt_state)
            opt_state = jax.tree.map(lambda kept, fresh: jnp.where(made == expected, kept, fresh), opt_state, empty)
            after = updated(ppo, State(*learnt(step, unknowns), at_step(opt_state, made)), step, weights)
            carry = after.opt_state, made + ppo.epochs * ppo.minibatches
            return carry, eqx.filter(after.policy, eqx.is_array)

        first = jax.tree.map(lambda x: x[0], arrays)
        empty = ppo.optimiser().init(eqx.filter(learnt(eqx.combine(first, static), unknowns[0]), eqx.is_inexact_array))
        _, after = jax.lax.scan(carried, (empty, jnp.asarray(-1, jnp.int32)), (arrays, unknowns))
    return eqx.combine(after, eqx.filter(record.after, eqx.is_array, inverse=True))


def steps_made(opt_state: PyTree) -> Int[Array, ""]:
    """How many gradient steps an optimiser has made."""
    leaves = jax.tree.leaves(opt_state, is_leaf=lambda x: isinstance(x, optax.ScaleByAdamState))
    return next(jnp.asarray(x.count) for x in leaves if isinstance(x, optax.ScaleByAdamState))


def stretches(ppo: PPO, record: PPORecord) -> Int[np.ndarray, " step"]:
    """Which updates follow one another without a gap in the record: numbers from 0 on."""
    made = np.asarray(jax.vmap(steps_made)(record.before.opt_state))
    return np.concatenate([[0], np.cumsum(np.diff(made) != ppo.epochs * ppo.minibatches)])


def at_step(opt_state: PyTree, made: Int[Array, ""]) -> PyTree:
    """The optimiser with its learning rate where it is after so many gradient steps."""

    def paced(part: Any) -> Any:
        return part._replace(count=made) if isinstance(part, optax.ScaleByScheduleState) else part

    return jax.tree.map(paced, opt_state, is_leaf=lambda x: isinstance(x, optax.ScaleByScheduleState))


def updated(ppo: PPO, state: State, step: PPORecord, weights: Float[Array, "agent feature"]) -> State:
    """The learner after one recorded update, had it been in `state` and wanted `weights`."""
    reward = jnp.sum(step.features * weights, axis=-1)
    rollout: Transition = dataclasses.replace(step.rollout, reward=reward)
    return ppo.update(jax.random.wrap_key_data(step.key), state, None, None, rollout)[0]  # type: ignore[arg-type]


def moves(
    ppo: PPO, record: PPORecord, unknowns: Float[Array, "step agent unknown"], known: Known, basis: Basis | None
) -> Float[Array, "step agent parameter"]:
    """How the replayed updates change each agent's parameters."""
    after = replay(ppo, record, unknowns, known, basis)
    return jax.vmap(parameters)(after) - jax.vmap(parameters)(record.before.policy)


def observed_moves(record: PPORecord) -> Float[Array, "step agent parameter"]:
    """How they were changed."""
    return jax.vmap(parameters)(record.after) - jax.vmap(parameters)(record.before.policy)


@eqx.filter_jit
def gram(
    ppo: PPO,
    record: PPORecord,
    unknowns: Float[Array, "step agent unknown"],
    known: Known,
    basis: Basis | None,
    widths: Float[Array, "step agent unknown"] | None,
) -> Float[Array, "step agent column column"]:
    """Inner products, over all parameters, of the slopes ∂F/∂u (a column for each unknown), F and the observed move Δ.
    Unknowns of one stretch move together; those of another do not reach it.

    All that Gauss-Newton needs, without the Jacobian of any agent's thousands of parameters in memory for long.

    Args:
        widths: slopes are those of the line through F so far to either side; None: derivatives.
    """

    def run(u):
        return moves(ppo, record, u, known, basis)

    each = jnp.eye(unknowns.shape[-1])
    if widths is None:
        tangents = jnp.broadcast_to(each[:, None, None], (len(each), *unknowns.shape))
        move, slopes = jax.vmap(lambda v: jax.jvp(run, (unknowns,), (v,)), out_axes=(None, 0))(tangents)
    else:

        def secant(one):
            width = one * widths
            return (run(unknowns + width) - run(unknowns - width)) / (2 * jnp.sum(width, axis=-1, keepdims=True))

        move, slopes = run(unknowns), jax.lax.map(secant, each)
    columns = jnp.concatenate([slopes, move[None], observed_moves(record)[None]])
    return jnp.einsum("ksap,lsap->sakl", columns, columns)


@eqx.filter_jit
def products(
    ppo: PPO, record: PPORecord, unknowns: Float[Array, "step agent unknown"], known: Known, basis: Basis | None
) -> Float[Array, "agent two two"]:
    """Inner products of F and Δ alone: what it costs to try some unknowns."""
    columns = jnp.stack([moves(ppo, record, unknowns, known, basis), observed_moves(record)])
    return jnp.einsum("ksap,lsap->akl", columns, columns)


def as_weights(weights: Float[np.ndarray, "*step agent unknown"]) -> Array:
    """For the device, in the precision that the learner had."""
    return jnp.asarray(weights, jnp.float32)
