"""What is found in a learning history, and how far it can be trusted."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float

from mairl.ops.learners.step import next_logits
from mairl.ops.least_squares import cosine, project_out
from mairl.ops.linear_game import LinearGame


@dataclasses.dataclass(frozen=True)
class Recovered:
    """A reward for each agent and the way in which the agents learn it.

    Attributes:
        family: the learner that was assumed, a name in `mairl.ops.learners.LEARNERS`.
        weights: `[agent, feature]`, u_i = α_i ω_i: each agent's reward times its step size (soft improvement: over
            the temperature). With `step_sizes` the reward in their units: u_i at step t is `step_sizes[t, i]` times it.
            Parts that cannot be told are 0.
        step_sizes: `[step, agent]` as given, or as found: relative to the agent's mean; None where one constant step
            was assumed.
        look_ahead: λ, or None for families without. Where it differs between pairs of agents, their mean.
        look_ahead_pairs: `[agent, other]`, λ of each pair where they differ, otherwise None.
        relative_residual: Σ‖Δ - F‖² / Σ‖Δ‖² over the transitions that were fitted.
        held_out: the same over transitions that were not, or None.
        rank: `[agent]` of how many directions of `weights` are told by the history.
        null_space: for each agent `[feature, free]`, an orthonormal basis of those that are not.
        iterations: of the solver.
        notes: what the user should know, in sentences.
        doubts: those of the notes that say why this may not be what happened.
    """

    family: str
    weights: Float[np.ndarray, "agent feature"]
    relative_residual: float
    rank: tuple[int, ...]
    null_space: tuple[Float[np.ndarray, "feature free"], ...]
    step_sizes: Float[np.ndarray, "step agent"] | None = None
    look_ahead: float | None = None
    look_ahead_pairs: Float[np.ndarray, "agent other"] | None = None
    held_out: float | None = None
    iterations: int = 1
    notes: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()

    def predict(
        self, game: LinearGame, logits: Float[np.ndarray, "agent state action"]
    ) -> Float[np.ndarray, "agent state action"]:
        """The logits after one more step from `logits`, as long as the last one that was seen."""
        weights = self.weights if self.step_sizes is None else self.step_sizes[-1][:, None] * self.weights
        ahead = (self.look_ahead or 0.0) if self.look_ahead_pairs is None else self.look_ahead_pairs
        return next_logits(self.family, game, logits, weights, ahead)

    def cosines(self, truth) -> list[float | None]:
        """How well each agent's reward agrees with the true one, `[agent, feature]`, in direction: without what cannot
        be told."""
        return [cosine(*pair) for pair in zip(self.weights, np.asarray(truth, np.float64), self.null_space)]

    def identified(self, weights) -> Float[np.ndarray, "agent feature"]:
        """Rewards `[agent, feature]` without what this history cannot tell: compare these."""
        return np.stack([project_out(w, space) for w, space in zip(np.asarray(weights, float), self.null_space)])


def open_directions(null_space, still: tuple[int, ...] = ()) -> tuple[str, ...]:
    """A sentence for each agent whose reward is not told completely, with the remedy.

    Args:
        null_space: for each agent `[feature, free]`.
        still: agents that did not learn.
    """
    notes = []
    for i, basis in enumerate(null_space):
        if i in still:
            notes.append(
                f"agent {i}: its policy did not change, so that nothing is told of what it wants; observe it before it "
                "has converged"
            )
        elif basis.shape[1] == len(basis):
            notes.append(
                f"agent {i}: none of the {len(basis)} directions of the reward leaves a trace in this history, nothing "
                "is told of what it wants: seek the reward in other features, such as one for each state and joint "
                "action"
            )
        elif basis.shape[1]:
            notes.append(
                f"agent {i}: {basis.shape[1]} of {len(basis)} directions of the reward leave no trace in this history "
                "and are set to 0 (constants and shaping always, more of them in short histories): observe more steps, "
                "or tie the reward to fewer features"
            )
    return tuple(notes)
