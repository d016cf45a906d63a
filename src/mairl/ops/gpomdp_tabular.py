"""How returns change with the policy, from play alone: GPOMDP with a baseline for every parameter.

    G[(s, a), k] = mean Σ_t ∇_{θ(s,a)} log π(a_t | s_t) Σ_{t' ≥ t} γ^{t'} (φ_k(t') - b)

written as Σ_t' (γ^t' φ_k(t') - b_t') z_t' with z the sum of the scores so far; b_t' is, for every parameter and
feature, the constant of least variance, E[z² γ^t' φ] / E[z²] (Peters & Schaal 2008, Eq. 25).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int


def gpomdp_jacobian(
    states: Int[np.ndarray, "episode time"],
    actions: Int[np.ndarray, "episode time"],
    features: Float[np.ndarray, "episode time feature"],
    alive: Bool[np.ndarray, "episode time"],
    logits: Float[np.ndarray, "state action"],
    discount: float,
) -> Float[np.ndarray, "row feature"]:
    """∂(∇_θ J) / ∂ω of one agent with reward φ · ω and policy softmax(θ); rows are (state, action).

    Args:
        features: φ of the agent at each step.
        alive: the game was on before the step.
    """
    episodes, time = states.shape
    policy = np.exp(logits - logits.max(axis=-1, keepdims=True))
    policy /= policy.sum(axis=-1, keepdims=True)
    rows, kinds = policy.size, features.shape[-1]
    score = np.zeros((episodes, *policy.shape))
    result = np.zeros((rows, kinds))
    each = np.arange(episodes)
    for t in range(time):
        on = alive[:, t].astype(np.float64)
        score[each, states[:, t]] -= on[:, None] * policy[states[:, t]]
        score[each, states[:, t], actions[:, t]] += on
        z = score.reshape(episodes, rows)
        paid = discount**t * features[:, t] * on[:, None]
        squares = z**2
        size = squares.sum(axis=0)
        baseline = (squares.T @ paid) / np.where(size > 0, size, 1.0)[:, None]
        result += z.T @ paid - z.sum(axis=0)[:, None] * baseline
    return result / episodes
