"""Entropy-regularised values: from a critic's row of action values to the value of a state."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def soft_value(
    q: Float[Array, "*b action"],
    rationality: float,
    form: str = "soft",
    action_mask: Bool[Array, "*b action"] | None = None,
) -> Float[Array, "*b"]:
    """The soft value of states whose action values are `q` (units of reward).

    Args:
        q: marginal action values Q̄(s, ·).
        rationality: λ > 0, in 1 / units of reward; π = softmax(λ q).
        form: "soft" is V = λ⁻¹ logsumexp(λ q), the entropy-regularised optimum with entropy weight 1/λ.
            "paper_eq5" is the MAMQL paper's Eq. 5 as printed, (1 - λ) E_π[q] + logsumexp(λ q), which weighs the
            entropy by 1 whatever λ is. The two agree at λ = 1.
        action_mask: forbidden actions are left out.
    """
    scaled = rationality * (q if action_mask is None else jnp.where(action_mask, q, -jnp.inf))
    total = jax.nn.logsumexp(scaled, axis=-1)
    if form == "soft":
        return total / rationality
    if form == "paper_eq5":
        policy = jax.nn.softmax(scaled, axis=-1)
        return (1 - rationality) * jnp.sum(policy * q, axis=-1) + total
    raise ValueError(f"unknown form of the soft value: {form!r}; use 'soft' or 'paper_eq5'")
