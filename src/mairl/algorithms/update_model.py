"""How the learners of a family move from each of several joint policies, as a function of what they want.

Two forms of the same function F(u, λ) and its derivatives: differentiated by JAX at each call (any family), or as the
polynomial that it is for the families that are bilinear in the rewards,

    F_i = G_i u_i + Σ_j λ_ij C_ij(u_j, u_i),

whose coefficients are computed once. λ is one number for all pairs of agents or `[agent, other]`, as in
`mairl.ops.learners`: agents with unlike step sizes have unlike λ.
"""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from mairl.algorithms.logel import gradient_jacobians, rounding, without_rounding
from mairl.ops.learners import LEARNERS
from mairl.ops.learners.step import compiled_step
from mairl.ops.linear_game import LinearGame, feature_scale

BILINEAR = ("naive", "lola-taylor", "first-order-complete")
"""Families whose step is linear in each agent's reward and in λ."""


LookAhead = float | Float[np.ndarray, "agent other"]
"""λ: one number for all pairs of agents, or one for each (the diagonal is not read)."""


def pairs_of(agents: int) -> list[tuple[int, int]]:
    """The pairs (agent, other) in the order in which their λ are unknowns."""
    return [(i, j) for i in range(agents) for j in range(agents) if i != j]


@runtime_checkable
class UpdateModel(Protocol):
    """F at given joint policies; rows are (policy, agent, state, action)."""

    def changes(self, weights: Float[np.ndarray, "agent feature"], look_ahead: LookAhead) -> Float[np.ndarray, " row"]:
        """F(u, λ)."""
        ...

    def jacobian(
        self, weights: Float[np.ndarray, "agent feature"], look_ahead: LookAhead
    ) -> Float[np.ndarray, "row unknown"]:
        """Its derivatives with respect to all of u, agent after agent, and last λ: one column, or one for each of
        `pairs_of` where λ is given for every pair."""
        ...


def update_model(game: LinearGame, logits: Float[np.ndarray, "step agent state action"], family: str) -> UpdateModel:
    """The cheaper form of a family's model. Coefficients of many features would not fit: those go through JAX."""
    if family in BILINEAR and logits.size * game.num_features**2 * game.num_agents < 3e7:
        return Bilinear.of(game, logits, family)
    return Differentiated(game, logits, family)


class Differentiated:
    """Any family, by forward differentiation of its step."""

    def __init__(self, game: LinearGame, logits: Float[np.ndarray, "step agent state action"], family: str):
        self.game, self.logits, self.family = game, np.asarray(logits, np.float64), family

    def changes(self, weights, look_ahead):
        """See `UpdateModel`."""
        with jax.enable_x64(True):
            run = compiled_step(self.family)
            return np.concatenate([np.asarray(run(self.game, t, weights, look_ahead)).ravel() for t in self.logits])

    def jacobian(self, weights, look_ahead):
        """See `UpdateModel`."""
        with jax.enable_x64(True):
            run = _jacobian(self.family)
            slopes = np.concatenate([np.asarray(run(self.game, t, weights, look_ahead)) for t in self.logits])
        least = np.zeros(slopes.shape[1])
        least[: weights.size] = np.tile(rounding(self.game), len(weights))
        return without_rounding(slopes, least)


@dataclasses.dataclass(frozen=True)
class Bilinear:
    """The coefficients of a family that is linear in each agent's reward and in λ.

    Attributes:
        gains: `[step, agent, row, feature]`, G.
        couplings: `(agent, other)` to `[step, row, feature of the other, own feature]`, C; none of naive learners.
    """

    gains: Float[np.ndarray, "step agent row feature"]
    couplings: dict[tuple[int, int], Float[np.ndarray, "step row other own"]]

    @classmethod
    def of(cls, game: LinearGame, logits: Float[np.ndarray, "step agent state action"], family: str) -> Bilinear:
        """From the family's steps for every pair of features."""
        agents, features = game.num_agents, game.num_features
        gains = gradient_jacobians(game, logits)
        couplings = {}
        least = np.outer(rounding(game), feature_scale(game))
        with jax.enable_x64(True):
            values = _on_basis(family)
            for i, j in pairs_of(agents) if family != "naive" else ():
                pairs = [np.asarray(values(game, t, _basis_pairs(agents, features, i, j), 1.0)) for t in logits]
                both = np.stack([np.moveaxis(x.reshape(features, features, agents, -1)[:, :, i], -1, 0) for x in pairs])
                couplings[i, j] = without_rounding(both - gains[:, i][:, :, None, :], least)
        return cls(gains, couplings)

    def changes(self, weights, look_ahead):
        """See `UpdateModel`."""
        found = np.einsum("tirk,ik->tir", self.gains, weights)
        pairs = np.broadcast_to(look_ahead, (len(weights), len(weights)))
        for (i, j), table in self.couplings.items():
            found[:, i] += pairs[i, j] * np.einsum("trlk,l,k->tr", table, weights[j], weights[i])
        return found.ravel()

    def jacobian(self, weights, look_ahead):
        """See `UpdateModel`."""
        steps, agents, rows, features = self.gains.shape
        pairs = np.broadcast_to(look_ahead, (agents, agents))
        # Columns of λ: all pairs share one, or each has its own.
        column = {pair: k if np.ndim(look_ahead) else 0 for k, pair in enumerate(pairs_of(agents))}
        unknowns = agents * features + 1 + max(column.values(), default=0)
        slopes = np.zeros((steps, agents, rows, unknowns))
        for i in range(agents):
            slopes[:, i, :, i * features : (i + 1) * features] = self.gains[:, i]
        for (i, j), table in self.couplings.items():
            own, other = slice(i * features, (i + 1) * features), slice(j * features, (j + 1) * features)
            by_own = np.einsum("trlk,l->trk", table, weights[j])
            slopes[:, i, :, own] += pairs[i, j] * by_own
            slopes[:, i, :, other] += pairs[i, j] * np.einsum("trlk,k->trl", table, weights[i])
            slopes[:, i, :, agents * features + column[i, j]] += by_own @ weights[i]
        return slopes.reshape(-1, unknowns)

    def compressed(self, target: Float[np.ndarray, " row"]) -> tuple[Bilinear, Float[np.ndarray, " combined"]]:
        """The same least squares in as few rows as there are products of unknowns: what is orthogonal to all
        coefficients and to the target is 0 whatever the rewards. Residuals keep their length."""
        steps, agents, rows, features = self.gains.shape
        changes = target.reshape(steps, agents, rows)
        gains, wanted, couplings = [], [], {}
        for i in range(agents):
            others = [j for own, j in self.couplings if own == i]
            tables = [self.couplings[i, j].reshape(steps * rows, -1) for j in others]
            columns = [self.gains[:, i].reshape(steps * rows, -1), *tables, changes[:, i].reshape(-1, 1)]
            triangle = np.linalg.qr(np.concatenate(columns, axis=1), mode="r")
            first, *rest = np.split(triangle, np.cumsum([c.shape[1] for c in columns])[:-1], axis=1)
            gains.append(first)
            wanted.append(rest.pop())
            couplings |= {(i, j): table.reshape(1, -1, features, features) for j, table in zip(others, rest)}
        return Bilinear(np.stack(gains)[None], couplings), np.stack(wanted).ravel()


@cache
def _jacobian(family: str):
    learner = LEARNERS[family]

    def one(game, theta, weights, look_ahead):
        agents, size = len(weights), jnp.size(weights)
        rows, columns = (np.array(index) for index in zip(*pairs_of(agents))) if agents > 1 else ((), ())

        def flat(unknowns):
            ahead = unknowns[size]
            if jnp.ndim(look_ahead):
                ahead = jnp.zeros((agents, agents)).at[rows, columns].set(unknowns[size:])
            return learner(game, theta, unknowns[:size].reshape(weights.shape), ahead).ravel()

        ahead = jnp.asarray(look_ahead, weights.dtype)
        ahead = ahead[rows, columns] if jnp.ndim(look_ahead) else ahead[None]
        return jax.jacfwd(flat)(jnp.concatenate([jnp.ravel(weights), ahead]))

    return jax.jit(one)


@cache
def _on_basis(family: str):
    """The family's step for a stack of rewards: `[stack, agent, state, action]`."""
    return jax.jit(jax.vmap(LEARNERS[family], in_axes=(None, None, 0, None)))


def _basis_pairs(agents: int, features: int, i: int, j: int):
    """[feature of j, feature of i, agent, feature]: only two agents want anything."""
    stack = np.zeros((features, features, agents, features))
    own, other = np.meshgrid(range(features), range(features))
    stack[other, own, i, own] = 1
    stack[other, own, j, other] = 1
    return stack.reshape(features**2, agents, features)
