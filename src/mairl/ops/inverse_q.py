"""IQ-Learn's objective (Garg et al. 2021, Eqs. 9-11), shared by its multi-agent extensions. Pure; batched by hand.

    J = E_expert[φ(Q(s, a) - γ V(s'))] - E_ρ[V(s) - γ V(s')],    φ(x) = x - x²/(4α)   (or φ(x) = x)

The second term is the discounted value of the start states, (1 - γ) E[V(s_0)], telescoped along any flow ρ.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def weighted_mean(x: Float[Array, "batch agent"], weight: Float[Array, "batch agent"]) -> Float[Array, " agent"]:
    """Mean over the batch; 0 where the weights sum to 0."""
    total = jnp.sum(weight, axis=0)
    return jnp.sum(jnp.where(weight > 0, x, 0.0) * weight, axis=0) / jnp.where(total > 0, total, 1.0)


def value_term(
    value: Float[Array, "batch agent"],
    next_value: Float[Array, "batch agent"],
    *,
    weight: Float[Array, "batch agent"],
    from_expert: Bool[Array, " batch"],
    discount: float,
    form: str,
    initial_value: Float[Array, "starts agent"] | None = None,
) -> Float[Array, " agent"]:
    """E_ρ[V(s) - γ V(s')] over "mixture" (both halves, each weighing one half), "policy" or "expert" steps, or the
    "initial" form (1 - γ) E[V(s_0)].

    Args:
        value, next_value: V(s), and V(s') along the recorded flow (0 after termination).
        weight: 0 where the agent took no part.
        initial_value: V(s_0) of sampled first states; needed by "initial".
    """
    if form == "initial":
        if initial_value is None:
            raise ValueError("the 'initial' form needs initial_value")
        return (1 - discount) * jnp.mean(initial_value, axis=0)
    flow = value - discount * next_value
    expert = weighted_mean(flow, weight * from_expert[:, None])
    policy = weighted_mean(flow, weight * ~from_expert[:, None])
    if form == "expert":
        return expert
    if form == "policy":
        return policy
    if form == "mixture":
        return 0.5 * (expert + policy)
    raise ValueError(f"unknown value term {form!r}: use 'mixture', 'policy', 'expert' or 'initial'")


def inverse_q_loss(
    q: Float[Array, "batch agent"],
    next_first: Float[Array, "batch agent"],
    next_second: Float[Array, "batch agent"],
    value_term: Float[Array, " agent"],
    *,
    weight: Float[Array, "batch agent"],
    from_expert: Bool[Array, " batch"],
    discount: float,
    phi: str,
    alpha: float,
    chi2_on: str,
) -> tuple[Float[Array, " agent"], dict[str, Float[Array, " agent"]]]:
    """-J of each agent, to be minimised, and its parts.

    Args:
        q: Q(s, a) of the steps taken.
        next_first, next_second: two samples of V(s'). Independent ones make the square unbiased,
            E[(q - γ v₁)(q - γ v₂)] = (q - γ E v)²; the same one twice gives the usual biased square.
        value_term: see `value_term`.
        weight: of each step and agent.
        from_expert: which steps are the expert's.
        phi: "chi2" or "identity".
        alpha: α of φ, in units of reward.
        chi2_on: average of the square over "expert" steps, or over "both" halves, each weighing one half.
    """
    first, second = q - discount * next_first, q - discount * next_second
    expert_weight = weight * from_expert[:, None]
    reward = weighted_mean(0.5 * (first + second), expert_weight)
    if phi == "identity":
        penalty = jnp.zeros_like(reward)
    elif phi == "chi2":
        square = first * second / (4 * alpha)
        penalty = weighted_mean(square, expert_weight)
        if chi2_on == "both":
            penalty = 0.5 * (penalty + weighted_mean(square, weight * ~from_expert[:, None]))
        elif chi2_on != "expert":
            raise ValueError(f"unknown chi2_on {chi2_on!r}: use 'expert' or 'both'")
    else:
        raise ValueError(f"unknown phi {phi!r}: use 'chi2' or 'identity'")
    loss = value_term - reward + penalty
    return loss, {"expert_reward": reward, "value_term": value_term, "chi2": penalty}
