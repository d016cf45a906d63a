"""Exact values and equilibria of small Markov games, in float64 on the host (NumPy; nothing global is switched)."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float

from mairl.core.errors import Unsupported
from mairl.ops.tables import Tables, check_policies, expect_others, joint_policy

WINDOW = 200
"""Iterations after which something else is tried if the residual has not fallen by a tenth."""

MOST_DAMPING = 1 - 1 / 256
"""The residual still falls by half in a window at this damping, so that slow progress is not taken for circling."""


@dataclasses.dataclass(frozen=True)
class LogitEquilibrium:
    """A joint policy in which everybody is softly optimal against the others.

    Attributes:
        policies: `[agent, state, action]`, π_i = softmax(λ Q̄_i).
        q: `[agent, state, action]`, Q̄_i in units of reward.
        values: `[agent, state]`, V_i = λ⁻¹ logsumexp(λ Q̄_i); 0 at terminal states.
        residual: the largest change that one more undamped iteration makes: in probabilities, and in values relative
            to the largest value (or to 1).
        iterations: how many it took.
        converged: `residual` is within the tolerance.
    """

    policies: Float[np.ndarray, "agent state action"]
    q: Float[np.ndarray, "agent state action"]
    values: Float[np.ndarray, "agent state"]
    residual: float
    iterations: int
    converged: bool


def logit_equilibrium(
    tables: Tables,
    rationality: float = 1.0,
    *,
    tolerance: float = 1e-12,
    max_iterations: int = 50_000,
    damping: float = 0.0,
    initial: Float[np.ndarray, "agent state action"] | None = None,
    strict: bool = True,
) -> LogitEquilibrium:
    """The entropy-regularised logit equilibrium of a discounted game: a fixed point of

        Q̄_i(s, a_i) = E_{a_-i ~ π_-i, s'}[r_i + γ V_i(s')],  V_i = λ⁻¹ logsumexp(λ Q̄_i),  π_i = softmax(λ Q̄_i)

    (the MAMQL paper's Eqs. 2-4 with entropy weight 1/λ). Large λ may have several: the one returned is where damped
    iteration leads from `initial`. Where it circles, Newton's method takes over from the point reached; if that does
    not settle either, the damping grows.

    Args:
        rationality: λ > 0, in 1 / units of reward.
        tolerance: of the residual.
        damping: first share of the old policy kept at each iteration, in [0, 1).
        initial: where to start; uniform by default.
        strict: raise if it has not converged; otherwise look at `converged`.

    Raises:
        Unsupported: no convergence within `max_iterations` (and `strict`).
    """
    if rationality <= 0:
        raise Unsupported(f"rationality must be positive, got {rationality}")
    n, states, actions = tables.num_agents, tables.num_states, tables.num_actions
    uniform = np.full((n, states, actions), 1 / actions)
    policies = uniform if initial is None else check_policies(tables, initial)
    values = np.zeros((n, states))
    keep, lowest, lowest_before = damping, np.inf, np.inf
    q, residual, iterations = np.zeros((n, states, actions)), np.inf, 0
    while iterations < max_iterations:
        iterations += 1
        q = action_values(tables, policies, values)
        new_policies, new_values = soft_response(q, rationality)
        new_values[:, tables.terminal] = 0
        change = np.abs(new_values - values).max() / max(1.0, np.abs(new_values).max())
        residual = max(float(np.abs(new_policies - policies).max()), float(change))
        if residual <= tolerance:
            policies, values = new_policies, new_values
            break
        # Values are not damped: they follow the policies by a contraction.
        policies, values = keep * policies + (1 - keep) * new_policies, new_values
        lowest = min(lowest, residual)
        if iterations % WINDOW == 0:
            if lowest > 0.9 * lowest_before:
                found = _newton(tables, q, rationality, tolerance)
                if found is not None:
                    policies, values = soft_response(found, rationality)
                    values[:, tables.terminal] = 0
                    continue
                keep = min(1 - (1 - keep) / 2, MOST_DAMPING)
            lowest, lowest_before = np.inf, lowest
    found = LogitEquilibrium(policies, q, values, residual, iterations, residual <= tolerance)
    if strict and not found.converged:
        raise Unsupported(
            f"no logit equilibrium found in {iterations} iterations at rationality {rationality}: residual "
            f"{residual:.2g} > {tolerance:.2g}; lower the rationality or the discount, or start from another policy"
        )
    return found


def soft_response(
    q: Float[np.ndarray, "*b action"], rationality: float
) -> tuple[Float[np.ndarray, "*b action"], Float[np.ndarray, "*b"]]:
    """π = softmax(λ q) and V = λ⁻¹ logsumexp(λ q)."""
    top = q.max(axis=-1, keepdims=True)
    weights = np.exp(rationality * (q - top))
    total = weights.sum(axis=-1, keepdims=True)
    return weights / total, (top + np.log(total) / rationality)[..., 0]


def joint_values(tables: Tables, values: Float[np.ndarray, "agent state"]) -> Float[np.ndarray, "state *joint agent"]:
    """Q_i(s, a) = r_i(s, a) + γ E[V_i(s')] with V_i = 0 at terminal states."""
    return tables.reward + tables.discount * (tables.flow @ values.T)


def action_values(
    tables: Tables, policies: Float[np.ndarray, "agent state action"], values: Float[np.ndarray, "agent state"]
) -> Float[np.ndarray, "agent state action"]:
    """Q̄_i(s, a_i): `joint_values` in the mean over the others' actions."""
    joint = joint_values(tables, values)
    return np.stack([expect_others(joint[..., i], policies, i) for i in range(tables.num_agents)])


def evaluate(
    tables: Tables,
    policies: Float[np.ndarray, "agent state action"],
    *,
    horizon: int | None = None,
    rationality: float | None = None,
) -> Float[np.ndarray, "agent state"]:
    """Exact value of every state to every agent under a joint policy; 0 at terminal states.

    Args:
        horizon: count so many steps only (None: for ever).
        rationality: λ adds the entropy bonus -λ⁻¹ log π_i to each agent's reward.
    """
    policies = check_policies(tables, policies)
    joint = joint_policy(policies)
    n = tables.num_agents
    paid = np.einsum("sj,sjn->ns", joint.reshape(len(joint), -1), tables.reward.reshape(len(joint), -1, n))
    if rationality is not None:
        logs = np.log(np.where(policies > 0, policies, 1.0))
        paid = paid - np.sum(policies * logs, axis=-1) / rationality
    flow = _flow(tables, joint)
    alive = ~tables.terminal
    if horizon is None:
        return _solve(tables, flow, (paid * alive).T).T * alive
    values = np.zeros((n, tables.num_states))
    for _ in range(horizon):
        values = (paid + tables.discount * values @ flow.T) * alive
    return values


def best_response(
    tables: Tables, policies: Float[np.ndarray, "agent state action"], agent: int, *, horizon: int | None = None
) -> tuple[Float[np.ndarray, "state action"], Float[np.ndarray, " state"]]:
    """The best that one agent can do while the others keep to their policies.

    Returns:
        A deterministic policy `[state, action]` (with a horizon: that of the first step, the best response itself
        depends on the time) and its value `[state]`. Found by policy iteration, or backwards from the horizon.
    """
    policies = check_policies(tables, policies)
    paid = expect_others(tables.reward[..., agent], policies, agent)
    flow = expect_others(tables.flow, policies, agent)
    alive = ~tables.terminal
    paid = paid * alive[:, None]
    flow = flow * alive[:, None, None]
    states = np.arange(tables.num_states)
    choice = np.zeros(tables.num_states, int)
    values = np.zeros(tables.num_states)
    for _ in range(10_000 if horizon is None else horizon):
        if horizon is None:
            values = _solve(tables, flow[states, choice], paid[states, choice])
        q = paid + tables.discount * flow @ values
        better = np.argmax(q, axis=-1)
        if horizon is not None:
            choice, values = better, q.max(axis=-1)
            continue
        # A new action must gain something: equal ones would let policy iteration alternate for ever.
        gains = q.max(axis=-1) > q[states, choice] + 1e-12 * max(1.0, np.abs(q).max())
        if not gains.any():
            break
        choice = np.where(gains, better, choice)
    return np.eye(tables.num_actions)[choice], values


def exploitability(
    tables: Tables, policies: Float[np.ndarray, "agent state action"], *, horizon: int | None = None
) -> Float[np.ndarray, " agent"]:
    """What each agent could gain (discounted return from the start, at least 0) by its best response alone.

    All 0 exactly at a Nash equilibrium; the largest is the Nash gap.
    """
    have = evaluate(tables, policies, horizon=horizon)
    best = [best_response(tables, policies, i, horizon=horizon)[1] for i in range(tables.num_agents)]
    return np.maximum((np.stack(best) - have) @ tables.start, 0.0)


def _newton(
    tables: Tables, q: Float[np.ndarray, "agent state action"], rationality: float, tolerance: float
) -> Float[np.ndarray, "agent state action"] | None:
    """Solves Q̄ = G(Q̄) with step halving; None if it does not settle, or for more than 4,000 unknowns."""
    n, states, actions = q.shape
    if q.size > 4000:
        return None

    def gap(q):
        policies, values = soft_response(q, rationality)
        return policies, values, q - action_values(tables, policies, values)

    policies, values, wrong = gap(q)
    for _ in range(50):
        if np.abs(wrong).max() <= tolerance * max(1.0, np.abs(q).max()):
            return q
        slope = np.eye(q.size).reshape(n, states, actions, n, states, actions)
        joint = joint_values(tables, values)
        for i in range(n):
            ahead = tables.discount * expect_others(tables.flow, policies, i)
            slope[i, :, :, i] -= np.einsum("sat,tb->satb", ahead, policies[i])
            for j in set(range(n)) - {i}:
                pair = expect_others(joint[..., i], policies, i, j)
                pair = pair if i < j else pair.swapaxes(1, 2)
                centred = pair - np.sum(pair * policies[j][:, None], axis=-1, keepdims=True)
                here = np.arange(states)
                slope[i, here, :, j, here] -= rationality * centred * policies[j][:, None]
        try:
            move = np.linalg.solve(slope.reshape(q.size, q.size), wrong.reshape(-1)).reshape(q.shape)
        except np.linalg.LinAlgError:
            return None
        for halvings in range(30):
            tried = gap(q - 0.5**halvings * move)
            if np.abs(tried[2]).max() < np.abs(wrong).max():
                break
        else:
            return q if np.abs(wrong).max() <= 100 * tolerance * max(1.0, np.abs(q).max()) else None
        q = q - 0.5**halvings * move
        policies, values, wrong = tried
    return None


def _flow(tables: Tables, joint) -> Float[np.ndarray, "state next"]:
    """Probabilities of going on to a next state under a joint policy."""
    states = tables.num_states
    return np.einsum("sj,sjt->st", joint.reshape(states, -1), tables.flow.reshape(states, -1, states))


def _solve(tables: Tables, flow, paid):
    """Values of a Markov chain that pays `paid` (`[state]` or `[state, agent]`) and goes on by `flow`."""
    matrix = np.eye(tables.num_states) - tables.discount * flow
    try:
        values = np.linalg.solve(matrix, paid)
    except np.linalg.LinAlgError:
        values = np.full_like(paid, np.inf)
    if not np.all(np.isfinite(values)) or np.abs(matrix @ values - paid).max() > 1e-6 * max(1.0, np.abs(values).max()):
        raise Unsupported(
            f"at discount {tables.discount} some play never ends and its value is unbounded: lower the discount, "
            "or give a horizon"
        )
    return values
