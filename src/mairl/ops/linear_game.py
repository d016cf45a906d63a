"""Small games whose rewards are linear in known features: exact returns as differentiable functions of the policies.

    r_i(s, a) = φ_i(s, a) · ω_i,   π_i = softmax(θ_i),   J_i(θ; ω) = E[Σ_t γᵗ r_i(s_t, a_t)]

Everything here is JAX, so that it can be differentiated as often as learners that look ahead need. Call it under
`jax.enable_x64(True)`: inversions lose half of the digits.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mairl.core.errors import InvalidGame, Unsupported
from mairl.ops.tables import Tables

ROUNDING = 1e-17
"""What a geometric series may leave out, relative to its first term: below the rounding of float64."""


class LinearGame(eqx.Module):
    """A tabular Markov game, its rewards as features that wait for their weights.

    Attributes:
        flow: `[S, A_1 … A_n, S]` probabilities of going on to a next state, 0 into terminal ones and out of them.
        features: `[S, A_1 … A_n, n, K]`, φ_i(s, a). An action axis of length 1: that action does not matter.
        start: `[S]` probabilities of the first state.
        discount: γ, below 1.
    """

    flow: Float[Any, "state *joint next"]
    features: Float[Any, "state *paid agent feature"]
    start: Float[Any, " state"]
    discount: float = eqx.field(static=True)

    @classmethod
    def of(cls, tables: Tables, features) -> LinearGame:
        """From a game's tables and its features.

        Args:
            features: `[S, K]` of states, alike for all agents; `[n, S, K]`, each agent's own; or in full, as the
                attribute.

        Raises:
            InvalidGame: features of another shape, or not finite.
            Unsupported: γ = 1.
        """
        n, states, actions = tables.num_agents, tables.num_states, tables.num_actions
        features = np.asarray(features, np.float64)
        given = features.shape
        if features.ndim == 2:
            features = np.broadcast_to(features, (n, *features.shape))
        if features.ndim == 3 and n > 0 and features.shape[:2] == (n, states):
            features = np.moveaxis(features, 0, 1).reshape(states, *[1] * n, n, -1)
        want = (states, *[actions] * n, n)
        fits = features.ndim == n + 3 and all(have in (1, need) for have, need in zip(features.shape[1:], want[1:-1]))
        if not fits or (features.shape[0], features.shape[-2]) != (states, n):
            raise InvalidGame(
                f"features have shape {given}; give [state, feature], [agent, state, feature] or "
                f"[state, action of each agent (or 1), agent, feature] with {states} states, {actions} actions "
                f"and {n} agents"
            )
        if not np.all(np.isfinite(features)):
            raise InvalidGame(f"features have {np.sum(~np.isfinite(features))} values that are not finite")
        if not tables.discount < 1:
            raise Unsupported(f"exact discounted returns need a discount below 1, got {tables.discount}")
        alive = ~tables.terminal
        return cls(
            flow=tables.flow * alive.reshape(-1, *[1] * (n + 1)),
            features=features * alive.reshape(-1, *[1] * (n + 2)),
            start=np.array(tables.start, np.float64),
            discount=float(tables.discount),
        )

    @property
    def num_agents(self) -> int:
        """n."""
        return self.features.shape[-2]

    @property
    def num_states(self) -> int:
        """S."""
        return self.start.shape[0]

    @property
    def num_actions(self) -> int:
        """A."""
        return self.flow.shape[1]

    @property
    def num_features(self) -> int:
        """K."""
        return self.features.shape[-1]

    def reward(self, weights) -> Float[np.ndarray, "state *joint agent"]:
        """The reward table `[S, A_1 … A_n, n]` of weights `[agent, feature]`."""
        table = np.einsum("...nk,nk->...n", self.features, np.asarray(weights, np.float64))
        return np.array(np.broadcast_to(table, (*self.flow.shape[:-1], self.num_agents)))


def feature_scale(game: LinearGame) -> Float[np.ndarray, " feature"]:
    """The largest discounted sum that each feature can reach: by it the rounding of its derivatives is known."""
    features = np.asarray(game.features)
    return np.abs(features).max(axis=tuple(range(features.ndim - 1))) / (1 - game.discount)


def mean_over(
    table: Float[Any, "state *joint"], policies: Float[Any, "agent state action"], *keep: int
) -> Float[Array, "state *kept"]:
    """The mean of a table `[S, A_1 … A_n, ...]` over the actions of all agents but those in `keep`.

    An axis of length 1 stands for an action that does not matter; the axis of a kept agent stays as it is.
    """
    for agent in reversed(range(policies.shape[0])):
        if agent in keep:
            continue
        axis = agent + 1
        if table.shape[axis] == 1:
            table = jnp.squeeze(table, axis)
        else:
            after = table.ndim - axis - 1
            weights = policies[agent].reshape(policies.shape[1], *[1] * agent, policies.shape[2], *[1] * after)
            table = jnp.sum(table * weights, axis=axis)
    return table


def solve_values(
    flow: Float[Array, "state next"], paid: Float[Array, "state *b"], discount: float
) -> Float[Array, "state *b"]:
    """Values v = paid + γ flow v of a Markov chain, differentiable any number of times."""
    return _solve(flow, paid, discount)


def solve_visits(
    flow: Float[Array, "state next"], start: Float[Any, " state"], discount: float
) -> Float[Array, " state"]:
    """Discounted visits d = start + γ flowᵀ d, not normalised; differentiable any number of times."""
    return _solve(flow.T, start, discount)


def _solve(matrix, given, discount: float):
    """x = given + γ matrix x. The inverse is a Neumann series, doubled until what is left is rounding; derivatives
    are further solutions with the same inverse, so that a Jacobian costs products only. No LAPACK: batched calls of it
    can hang."""
    size = matrix.shape[0]
    doublings = 1
    while discount ** (2**doublings) > ROUNDING * (1 - discount):
        doublings += 1
    power = discount * jax.lax.stop_gradient(matrix)
    inverse = jnp.eye(size, dtype=power.dtype)

    def double(_, pair):
        inverse, power = pair
        return inverse + power @ inverse, power @ power

    inverse, _ = jax.lax.fori_loop(0, doublings, double, (inverse, power))
    return jax.lax.custom_linear_solve(
        lambda x: x - discount * (matrix @ x),
        given,
        solve=lambda _, b: inverse @ b,
        transpose_solve=lambda _, b: inverse.T @ b,
    )


def feature_expectations(game: LinearGame, logits: Float[Array, "agent state action"]) -> Float[Array, "agent feature"]:
    """ψ_i(θ) = E[Σ_t γᵗ φ_i(s_t, a_t)], so that J_i = ψ_i · ω_i."""
    policies = jax.nn.softmax(logits, axis=-1)
    visits = solve_visits(mean_over(game.flow, policies), game.start, game.discount)
    return jnp.einsum("s,snk->nk", visits, mean_over(game.features, policies))


def returns(
    game: LinearGame, logits: Float[Array, "agent state action"], weights: Float[Array, "agent feature"]
) -> Float[Array, " agent"]:
    """J_i(θ; ω), each agent's discounted return from the start."""
    policies = jax.nn.softmax(logits, axis=-1)
    # Weights first: what is differentiated is then [state, agent], whatever the number of features.
    paid = mean_over(jnp.einsum("...nk,nk->...n", game.features, weights), policies)
    return solve_visits(mean_over(game.flow, policies), game.start, game.discount) @ paid


def centred(logits: Float[Any, "*b action"]) -> Float[Any, "*b action"]:
    """Logits with mean 0 over the actions: of all that give one policy the one that gradient steps stay on."""
    return logits - logits.mean(axis=-1, keepdims=True)
