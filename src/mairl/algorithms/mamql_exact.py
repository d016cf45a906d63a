"""MAMQL without sampling: Eq. 8 of Haynam et al. 2025 solved exactly on a small tabular game, in float64.

Expectations over states, actions, partners and successors are sums over tables, so that what is left of an error is
the objective's own (the bias of φ), not a network's or a sample's. The losses are those of `MAMQL`.

    repeat until nothing moves:
        π_i = softmax(λ Q̄_i); ρ_π, E over a_-i ~ π_-i from it
        Q̄_i ← a damped Newton step on Eq. 8, the others' policies and the flow held fixed
    R̄_i(s, a_i) = Q̄_i(s, a_i) - γ E[V_i(s')]                                                       (Eq. 6)

For one agent, and the square averaged over the expert, the solution has R̄ = 2α (1 - ρ_π / ρ_expert): a reward other
than 0 needs a ρ_π that differs from ρ_expert by a share of R̄ / 2α. That is the bias. To first order the true reward is
1 + 1 / (2αλ) times the recovered one, and the policy's error falls as 1 / α².
"""

from __future__ import annotations

import dataclasses
from functools import cache, partial
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mairl.core.errors import Unsupported
from mairl.ops.equilibrium import soft_response
from mairl.ops.inverse_q import inverse_q_loss, value_term
from mairl.ops.occupancy import state_occupancy
from mairl.ops.soft_bellman import soft_value
from mairl.ops.tables import Tables, check_policies, expect_others


@dataclasses.dataclass(frozen=True)
class ExactMAMQL:
    """The exact solution. Rows of terminal states are 0 in `q`, `values` and `reward`.

    Attributes:
        policies: `[agent, state, action]`, π_i = softmax(λ Q̄_i).
        q: `[agent, state, action]`, Q̄_i in units of reward.
        values: `[agent, state]`, V_i(s).
        reward: `[agent, state, action]`, the induced reward R̄_i(s, a_i) of Eq. 6, before any correction of its scale.
        scale: `[agent]`, the factor on Q̄_i that makes the expert's actions most likely: `scale * reward` undoes most
            of what φ shrinks.
        visits: `[state]`, the expert's discounted state occupancy, by which averages are weighted.
        residual: the largest slope of the losses at the solution.
        iterations: Newton steps taken.
    """

    policies: Float[np.ndarray, "agent state action"]
    q: Float[np.ndarray, "agent state action"]
    values: Float[np.ndarray, "agent state"]
    reward: Float[np.ndarray, "agent state action"]
    scale: Float[np.ndarray, " agent"]
    visits: Float[np.ndarray, " state"]
    residual: float
    iterations: int


def exact_mamql(
    tables: Tables,
    expert: Float[np.ndarray, "agent state action"],
    *,
    rationality: float = 1.0,
    alpha: float = 10.0,
    phi: Literal["chi2", "identity"] = "chi2",
    chi2_on: Literal["expert", "both"] = "both",
    value_term: Literal["mixture", "policy", "expert", "initial"] = "mixture",
    tolerance: float = 1e-10,
    max_iterations: int = 500,
) -> ExactMAMQL:
    """Solves MAMQL's objective for the demonstrations' limit: expert play in endless amount.

    Args:
        tables: the game; its reward is not read. Flows are discounted by its γ, which must be below 1.
        expert: the policies that are imitated.
        rationality, alpha, phi, chi2_on, value_term: as in `MAMQL`; but "initial" is E[V(s_0)] over the expert's mean
            discounted length, which is (1 - γ) E[V(s_0)] only where episodes never terminate.
        tolerance: of the losses' slopes.

    Raises:
        Unsupported: γ = 1, a rationality or α that is not positive, or no convergence.
    """
    if not tables.discount < 1 or rationality <= 0 or alpha <= 0:
        raise Unsupported(
            "exact MAMQL needs a discount below 1 and positive rationality and alpha; got "
            f"{tables.discount}, {rationality} and {alpha}"
        )
    expert = check_policies(tables, expert)
    agents, states, actions = expert.shape
    alive = ~tables.terminal
    expert_flow = marginal_flow(tables, expert)
    expert_visits = state_occupancy(tables, expert)
    q = np.zeros((agents, states, actions))
    steps, slope = 0, np.inf
    with jax.enable_x64(True):
        slopes, curves = _derivatives(phi, chi2_on, value_term)
        length = state_occupancy(tables, expert, normalise=False).sum()
        numbers = np.tile([tables.discount, rationality, alpha, 1 / length], (agents, 1))
        while True:
            policies, _ = soft_response(q, rationality)
            given = {
                "numbers": numbers,
                "start": np.broadcast_to(tables.start, (agents, states)),
                "expert": expert_visits[:, None] * expert,
                "played": state_occupancy(tables, policies)[:, None] * policies,
                "expert_flow": expert_flow,
                "flow": marginal_flow(tables, policies),
            }
            before, gradient = (np.asarray(x) for x in slopes(q, given))
            slope = float(np.abs(gradient).max())
            if slope <= tolerance or steps == max_iterations:
                break
            move = _newton_step(gradient, np.asarray(curves(q, given)))
            q, steps = _shorten(slopes, given, q, move, before, gradient), steps + 1
    if slope > tolerance:
        raise Unsupported(
            f"exact MAMQL has not settled in {steps} steps: slope {slope:.2g} > {tolerance:.2g}; raise max_iterations "
            "or alpha, or lower the rationality"
        )
    policies, values = soft_response(q, rationality)
    values = values * alive
    ahead = np.einsum("isat,it->isa", marginal_flow(tables, policies), values)
    return ExactMAMQL(
        policies=policies,
        q=q * alive[:, None],
        values=values,
        reward=(q - tables.discount * ahead) * alive[:, None],
        scale=np.array([likely_scale(q[i], expert[i] * expert_visits[:, None], rationality) for i in range(agents)]),
        visits=expert_visits,
        residual=slope,
        iterations=steps,
    )


def critic_loss(
    q: Float[Array, "state action"],
    given: dict[str, Array],
    *,
    phi: str,
    chi2_on: str,
    form: str,
) -> Float[Array, ""]:
    """Eq. 8 of one agent as a function of its critic: every (state, action) once for the expert, once for play.

    Args:
        given: "numbers", γ, λ, α and 1 / the expert's mean discounted length; "start" `[S]`; "expert" and "played"
            `[S, A]`, the flows; "expert_flow" and "flow" `[S, A, S]`, next states under the expert's and the learned
            partners (0 into terminal ones).
    """
    discount, rationality, alpha, per_step = given["numbers"]
    value = soft_value(q, rationality)
    here = jnp.broadcast_to(value[:, None], q.shape)

    def twice(first, second):
        return jnp.concatenate([first.ravel(), second.ravel()])[:, None]

    ahead, ahead_expert = given["flow"] @ value, given["expert_flow"] @ value
    weight = twice(given["expert"], given["played"])
    from_expert = jnp.arange(weight.shape[0]) < q.size
    options = {"weight": weight, "from_expert": from_expert, "discount": discount}
    # The flow of V goes where play went; the reward of Eq. 6 is in the mean over the learned partners.
    flow = value_term(
        twice(here, here),
        twice(ahead_expert, ahead),
        form="policy" if form == "initial" else form,
        **options,
    )
    if form == "initial":
        flow = (per_step * given["start"] @ value)[None]
    after = twice(ahead, ahead)
    loss, _ = inverse_q_loss(twice(q, q), after, after, flow, phi=phi, alpha=alpha, chi2_on=chi2_on, **options)
    return loss[0]


@cache
def _derivatives(phi: str, chi2_on: str, form: str):
    """The losses of all agents with their slopes, and their curvatures, compiled once for each objective."""
    loss = partial(critic_loss, phi=phi, chi2_on=chi2_on, form=form)
    return jax.jit(jax.vmap(jax.value_and_grad(loss))), jax.jit(jax.vmap(jax.hessian(loss)))


def marginal_flow(
    tables: Tables, policies: Float[np.ndarray, "agent state action"]
) -> Float[np.ndarray, "agent state action next"]:
    """Probabilities of going on to each next state, for each agent's own action, the others acting by `policies`."""
    alive = ~tables.terminal
    return np.stack([expect_others(tables.flow, policies, i) * alive[:, None, None] for i in range(tables.num_agents)])


def likely_scale(
    q: Float[np.ndarray, "state action"], weight: Float[np.ndarray, "state action"], rationality: float
) -> float:
    """The c ≥ 0 that maximises the likelihood of actions weighted by `weight` under softmax(c λ q). By bisection on
    the slope, which falls in c; at most 1e6."""
    policy_weight = weight.sum(axis=-1)

    def slope(c):
        policies, _ = soft_response(q, c * rationality)
        return float(np.sum(weight * q) - np.sum(policy_weight * np.sum(policies * q, axis=-1)))

    low, high = 0.0, 1.0
    if slope(1e-12) <= 0:
        return 0.0
    while slope(high) > 0 and high < 1e6:
        low, high = high, 2 * high
    for _ in range(100):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if slope(middle) > 0 else (low, middle)
    return 0.5 * (low + high)


def without_shaping(
    reward: Float[np.ndarray, "agent state action"],
    flow: Float[np.ndarray, "agent state action next"],
    weight: Float[np.ndarray, "agent state action"],
    discount: float,
) -> Float[np.ndarray, "agent state action"]:
    """What of each agent's reward no potential explains: the weighted least-squares residual of
    R̄(s, a) ≈ h(s) - γ E[h(s')] over all potentials h that are 0 at terminal states.

    Args:
        flow: as `marginal_flow` gives it.
        weight: non-negative, such as visits; where 0 the residual is only extrapolated.
    """
    agents, states, actions = reward.shape
    residual = np.empty_like(reward)
    for i in range(agents):
        shaping = np.repeat(np.eye(states), actions, axis=0) - discount * flow[i].reshape(-1, states)
        root = np.sqrt(weight[i]).ravel()
        potential = np.linalg.lstsq(root[:, None] * shaping, root * reward[i].ravel(), rcond=None)[0]
        residual[i] = reward[i] - (shaping @ potential).reshape(states, actions)
    return residual


def recovery(
    tables: Tables, expert: Float[np.ndarray, "agent state action"], found: ExactMAMQL
) -> dict[str, Float[np.ndarray, " agent"]]:
    """How much of the truth was found, for each agent, weighted by the expert's visits.

    Args:
        tables: the game with its true reward.

    Returns:
        "policy_kl": mean KL(expert ‖ found), nats. "pearson": correlation of the induced rewards, true and found,
        once shaping is projected out of both. "shrink": the factor on the found one that fits the true one best;
        "shrink_corrected": the same after `scale`.
    """
    expert = check_policies(tables, expert)
    weight = found.visits[:, None] * expert
    with np.errstate(divide="ignore", invalid="ignore"):
        kl = np.sum(np.where(weight > 0, weight * np.log(expert / found.policies), 0.0), axis=(1, 2))
    true = np.stack([expect_others(tables.reward[..., i], expert, i) for i in range(tables.num_agents)])
    flow = marginal_flow(tables, expert)
    a, b = (without_shaping(r, flow, weight, tables.discount) for r in (found.reward, true))
    a, b = (x - np.sum(weight * x, axis=(1, 2), keepdims=True) for x in (a, b))
    aa, ab, bb = (np.sum(weight * x, axis=(1, 2)) for x in (a * a, a * b, b * b))
    shrink = ab / aa
    return {
        "policy_kl": kl,
        "pearson": ab / np.sqrt(aa * bb),
        "shrink": shrink,
        "shrink_corrected": shrink / found.scale,
    }


def _newton_step(gradient, curvature):
    """-(H + μI)⁻¹ g for each agent; what has no slope (unvisited states, a constant) stays where it is."""
    agents, size = len(gradient), gradient[0].size
    moves = []
    for g, h in zip(gradient.reshape(agents, size), curvature.reshape(agents, size, size)):
        values, vectors = np.linalg.eigh(0.5 * (h + h.T))
        strength = np.abs(values)
        weak = strength <= 1e-11 * strength.max()
        moves.append(-vectors @ (np.where(weak, 0.0, 1 / np.where(weak, 1.0, strength)) * (vectors.T @ g)))
    return np.stack(moves).reshape(gradient.shape)


def _shorten(slopes, given, q, move, before, gradient):
    """Halves each agent's move until its loss falls as its slope promises."""
    promise = np.sum(gradient * move, axis=(1, 2))
    length = np.ones(len(q))
    for _ in range(40):
        tried = q + length[:, None, None] * move
        after = np.asarray(slopes(tried, given)[0])
        # At the solution losses differ by rounding only: accept what does not visibly rise.
        fine = after <= before + 1e-4 * length * promise + 1e-14 * np.maximum(1, np.abs(before))
        if fine.all():
            return tried
        length = np.where(fine, length, 0.5 * length)
    return q + length[:, None, None] * move
