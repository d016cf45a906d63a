"""How the learners of a family move from each of several joint policies, as a function of what they want.

Two forms of the same function F(u, λ) and its derivatives: differentiated by JAX at each call (any family), or as the
polynomial that it is for the families that are bilinear in the rewards,

    F_i = G_i u_i + λ Σ_j C_ij(u_j, u_i),

whose coefficients are computed once.
"""

from __future__ import annotations

from functools import cache
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from mairl.algorithms.logel import gradient_jacobians
from mairl.ops.learners import LEARNERS
from mairl.ops.learners.step import compiled_step
from mairl.ops.linear_game import LinearGame

BILINEAR = ("naive", "lola-taylor", "first-order-complete")
"""Families whose step is linear in each agent's reward and in λ."""


@runtime_checkable
class UpdateModel(Protocol):
    """F at given joint policies; rows are (policy, agent, state, action)."""

    def changes(self, weights: Float[np.ndarray, "agent feature"], look_ahead: float) -> Float[np.ndarray, " row"]:
        """F(u, λ)."""
        ...

    def jacobian(
        self, weights: Float[np.ndarray, "agent feature"], look_ahead: float
    ) -> Float[np.ndarray, "row unknown"]:
        """Its derivatives with respect to all of u, agent after agent, and last λ."""
        ...


def update_model(game: LinearGame, logits: Float[np.ndarray, "step agent state action"], family: str) -> UpdateModel:
    """The cheaper form of a family's model. Coefficients of many features would not fit: those go through JAX."""
    if family in BILINEAR and logits.size * game.num_features**2 * game.num_agents < 3e7:
        return Bilinear(game, logits, family)
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
            return np.concatenate([np.asarray(run(self.game, t, weights, look_ahead)) for t in self.logits])


class Bilinear:
    """The coefficients of a family that is linear in each agent's reward and in λ.

    Attributes:
        gains: `[step, agent, row, feature]`, G.
        couplings: `[agent, other]` to `[step, row, feature of the other, own feature]`, C.
    """

    def __init__(self, game: LinearGame, logits: Float[np.ndarray, "step agent state action"], family: str):
        agents, features = game.num_agents, game.num_features
        self.gains = gradient_jacobians(game, logits)
        self.couplings: dict[tuple[int, int], np.ndarray] = {}
        with jax.enable_x64(True):
            values = _on_basis(family)
            for i in range(agents if family != "naive" else 0):
                for j in set(range(agents)) - {i}:
                    pairs = [np.asarray(values(game, t, _basis_pairs(agents, features, i, j), 1.0)) for t in logits]
                    both = np.stack(
                        [np.moveaxis(x.reshape(features, features, agents, -1)[:, :, i], -1, 0) for x in pairs]
                    )
                    self.couplings[i, j] = both - self.gains[:, i][:, :, None, :]

    def changes(self, weights, look_ahead):
        """See `UpdateModel`."""
        found = np.einsum("tirk,ik->tir", self.gains, weights)
        for (i, j), table in self.couplings.items():
            found[:, i] += look_ahead * np.einsum("trlk,l,k->tr", table, weights[j], weights[i])
        return found.ravel()

    def jacobian(self, weights, look_ahead):
        """See `UpdateModel`."""
        steps, agents, rows, features = self.gains.shape
        slopes = np.zeros((steps, agents, rows, agents * features + 1))
        for i in range(agents):
            slopes[:, i, :, i * features : (i + 1) * features] = self.gains[:, i]
        for (i, j), table in self.couplings.items():
            own, other = slice(i * features, (i + 1) * features), slice(j * features, (j + 1) * features)
            by_own = np.einsum("trlk,l->trk", table, weights[j])
            slopes[:, i, :, own] += look_ahead * by_own
            slopes[:, i, :, other] += look_ahead * np.einsum("trlk,k->trl", table, weights[i])
            slopes[:, i, :, -1] += by_own @ weights[i]
        return slopes.reshape(-1, agents * features + 1)


@cache
def _jacobian(family: str):
    learner = LEARNERS[family]

    def one(game, theta, weights, look_ahead):
        def flat(unknowns):
            return learner(game, theta, unknowns[:-1].reshape(weights.shape), unknowns[-1]).ravel()

        return jax.jacfwd(flat)(jnp.append(jnp.ravel(weights), look_ahead))

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
