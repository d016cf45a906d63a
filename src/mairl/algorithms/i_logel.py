"""I-LOGEL: LOGEL for each of several learners, everybody's gradients taken in the joint play of the moment.

    ω_i = argmin Σ_t ‖θ_i^{t+1} - θ_i^t - α_t G_i(θ^t) ω_i‖²,   G_i(θ) = ∂(∇_i J_i(θ; ω_i)) / ∂ω_i

It assumes that nobody anticipates the others' learning (λ = 0). `i_lola` does not.
"""

from __future__ import annotations

import numpy as np

from mairl.algorithms.logel import from_jacobians, gradient_jacobians
from mairl.algorithms.recovered import Recovered
from mairl.data.learning_history import LearningHistory
from mairl.ops.linear_game import LinearGame


def i_logel(
    game: LinearGame, history: LearningHistory, *, step_sizes=None, known: bool = True, max_iterations: int = 1000
) -> Recovered:
    """One reward for each agent.

    Args:
        step_sizes: `[step]`, `[step, agent]`, or one value for all steps and agents; one constant step for each agent
            if None (then `weights` are α_i ω_i).
        known: False: every step of every agent has a size of its own, which is found as well.

    Raises:
        InvalidGame: policies of another game.
        Unsupported: the policies do not change, or step sizes that are not positive.
    """
    logits = history.logits()
    changes = np.diff(logits, axis=0)
    return from_jacobians(gradient_jacobians(game, logits[:-1]), changes, step_sizes, known, max_iterations)
