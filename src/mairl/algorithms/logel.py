"""LOGEL: inverse reinforcement learning from one gradient-based learner (Ramponi, Drappo & Restelli 2020).

The reward is r = φ · ω, the learner climbs its return: Δ_t = θ_{t+1} - θ_t = α_t G_t ω,
with G_t = ∂(∇_θ J(θ_t; ω)) / ∂ω.

    known steps:    ω = argmin Σ_t ‖Δ_t - α_t G_t ω‖²
    unknown steps:  start: (β, ω) = argmin Σ_t ‖β_t Δ_t - G_t ω‖², ‖(β, ω)‖ = 1, the last singular vector; α_t = 1 / β_t
                    repeat: ω as above; α_t = ⟨Δ_t, G_t ω⟩ / ‖G_t ω‖², at least a small positive number

The paper starts the alternation from any point; the start here is the solution itself where the learner is exact.
"""

from __future__ import annotations

from functools import cache

import jax
import numpy as np
from jaxtyping import Float

from mairl.algorithms.recovered import Recovered, open_directions
from mairl.core.errors import InvalidGame, Unsupported
from mairl.data.learning_history import LearningHistory
from mairl.ops.least_squares import LeastSquares, least_squares, null_space
from mairl.ops.linear_game import LinearGame, feature_expectations, feature_scale

LEAST_STEP = 1e-6
"""Step sizes are kept above this share of the largest."""

ROUNDING = 1e-14
"""Derivatives below this share of what the feature could sum up to are rounding: the feature moves nobody."""

STILL = 1e-12
"""An agent whose logits move less than this in all has not learned."""


def logel(
    game: LinearGame, history: LearningHistory, *, step_sizes=None, known: bool = True, max_iterations: int = 1000
) -> Recovered:
    """The reward of one learner, in a game of one agent.

    Args:
        step_sizes: `[step]`, α_t, or one value for all steps; one constant step if None. With it `weights` of the
            result are ω, without it α ω.
        known: False: every step has a size of its own, which is found as well.

    Raises:
        InvalidGame: a game of several agents (see `i_logel`), or policies of another game.
        Unsupported: the policies do not change, or step sizes that are not positive.
    """
    if game.num_agents != 1:
        raise InvalidGame(f"LOGEL explains one learner, the game has {game.num_agents}: use i_logel")
    logits = history.logits()
    changes = np.diff(logits, axis=0)
    return from_jacobians(gradient_jacobians(game, logits[:-1]), changes, step_sizes, known, max_iterations)


def from_jacobians(
    jacobians: Float[np.ndarray, "step agent row feature"],
    changes: Float[np.ndarray, "step agent state action"],
    step_sizes,
    known: bool,
    max_iterations: int,
) -> Recovered:
    """LOGEL for each agent on its own, once the Jacobians G_t are known."""
    steps, agents, _, features = jacobians.shape
    changes = changes.reshape(steps, agents, -1)
    check_moved(changes)
    given = np.ones((steps, agents)) if step_sizes is None else _given(step_sizes, steps, agents)
    weights, sizes, spaces, iterations = np.zeros((agents, features)), np.array(given), [], 1
    off, still = 0.0, still_agents(changes)
    for i in range(agents):
        if i in still:
            # That it does not learn says nothing of what it wants.
            spaces.append(np.eye(features))
            continue
        if known:
            solved = _known(jacobians[:, i], changes[:, i], given[:, i])
        else:
            solved, sizes[:, i], iterations = _unknown(i, jacobians[:, i], changes[:, i], max_iterations)
        weights[i] = solved.solution
        spaces.append(solved.null_space)
        off += solved.relative_residual * np.sum(changes[:, i] ** 2)
    return Recovered(
        family="naive",
        weights=weights,
        relative_residual=float(off / np.sum(changes**2)),
        rank=tuple(features - basis.shape[1] for basis in spaces),
        null_space=tuple(spaces),
        step_sizes=None if known and step_sizes is None else sizes,
        iterations=iterations,
        notes=open_directions(spaces, still),
    )


def _given(step_sizes, steps: int, agents: int) -> Float[np.ndarray, "step agent"]:
    """Step sizes as a table, from one for all, for each step, or for each step and agent."""
    sizes = np.asarray(step_sizes, np.float64)
    if sizes.size == 1:
        sizes = np.broadcast_to(sizes.reshape(1), (steps,))
    if sizes.shape not in ((steps,), (steps, 1), (steps, agents)):
        raise Unsupported(
            f"{steps} steps are explained, step sizes given are {sizes.shape}: give one for all, one for each step "
            "that is explained (held-out ones are not), or [step, agent]"
        )
    if not np.all(np.isfinite(sizes) & (sizes > 0)):
        raise Unsupported(f"step sizes must be positive, got {sizes.min():.3g}: leave out steps that were not made")
    return np.broadcast_to(sizes.reshape(steps, -1), (steps, agents))


def gradient_jacobians(
    game: LinearGame, logits: Float[np.ndarray, "step agent state action"]
) -> Float[np.ndarray, "step agent row feature"]:
    """G_i(θ_t) = ∂(∇_i J_i) / ∂ω_i of each agent in each joint policy, exactly; rows are (state, action)."""
    want = (game.num_agents, game.num_states, game.num_actions)
    if logits.shape[1:] != want:
        raise InvalidGame(f"policies are {logits.shape[1:]} = (agents, states, actions), the game is {want}")
    with jax.enable_x64(True):
        found = np.stack([np.asarray(_jacobian()(game, theta)) for theta in logits])
    return without_rounding(found.swapaxes(1, 2), np.broadcast_to(rounding(game), found.shape[1::2])).swapaxes(1, 2)


def rounding(game: LinearGame) -> Float[np.ndarray, " feature"]:
    """How large derivatives of the return by the policy are that mean nothing. A feature that is alike everywhere has
    no others, so that no comparison with larger ones would show it."""
    return ROUNDING * feature_scale(game)


def without_rounding(slopes: Float[np.ndarray, "*row"], least: Float[np.ndarray, "*unknown"]):
    """Derivatives, 0 for each unknown (the last axes) for which none is above `least`."""
    rows = tuple(range(slopes.ndim - least.ndim))
    return np.where(np.abs(slopes).max(axis=rows) <= least, 0.0, slopes)


@cache
def _jacobian():
    """[agent, state · action, feature]; ψ is what multiplies ω in J, so G is the transposed gradient of ψ."""

    def one(game, theta):
        agents = game.num_agents
        slopes = jax.jacrev(feature_expectations, argnums=1)(game, theta)
        own = jax.numpy.stack([slopes[i, :, i] for i in range(agents)])
        return own.reshape(agents, game.num_features, -1).swapaxes(1, 2)

    return jax.jit(one)


def check_moved(changes: Float[np.ndarray, "step *b"]) -> None:
    """Raises `Unsupported` where nobody learned: no reward can be told from that."""
    size = float(np.sqrt(np.sum(changes**2)))
    if not np.isfinite(size) or size < STILL:
        raise Unsupported(
            f"over {len(changes)} steps the policies changed by {size:.2g} (logits): nothing was learned that could be "
            "explained; observe agents before they have converged"
        )


def still_agents(changes: Float[np.ndarray, "step agent *b"]) -> tuple[int, ...]:
    """The agents that did not learn, among others that did."""
    sizes = np.sqrt(np.sum(changes**2, axis=(0, *range(2, changes.ndim))))
    return tuple(int(i) for i in np.flatnonzero(sizes < STILL))


def nothing_told(features: int) -> Recovered:
    """Of one agent that did not learn."""
    spaces = (np.eye(features),)
    return Recovered(
        family="naive",
        weights=np.zeros((1, features)),
        relative_residual=0.0,
        rank=(0,),
        null_space=spaces,
        notes=open_directions(spaces, (0,)),
    )


def _known(jacobians, changes, sizes) -> LeastSquares:
    design = sizes[:, None, None] * jacobians
    return least_squares(design.reshape(-1, design.shape[-1]), changes.reshape(-1))


def _unknown(agent: int, jacobians, changes, max_iterations: int):
    steps, rows, features = jacobians.shape
    hidden = null_space(jacobians.reshape(-1, features))
    told = np.linalg.svd(hidden, full_matrices=True)[0][:, hidden.shape[1] :]
    # Rows of step t: β_t Δ_t - G_t ω, with the directions of ω that leave no trace taken out: they solve it with β = 0.
    system = np.zeros((steps, rows, steps + told.shape[1]))
    for t in range(steps):
        system[t, :, t] = changes[t]
        system[t, :, steps:] = -jacobians[t] @ told
    vector = np.linalg.svd(system.reshape(-1, system.shape[-1]), full_matrices=False)[2][-1]
    inverse = vector[:steps] * np.sign(vector[:steps].sum())
    sizes = np.where(inverse > 0, 1 / np.maximum(inverse, 1e-300), 0.0)
    sizes = _positive(sizes / max(sizes.max(), 1e-300))
    before, iterations = np.inf, 0
    while True:
        sizes = sizes / sizes.mean()
        solved = _known(jacobians, changes, sizes)
        iterations += 1
        settled = solved.relative_residual > (1 - 1e-9) * before or solved.relative_residual < 1e-28
        if settled or iterations >= max_iterations:
            break
        before = solved.relative_residual
        pushes = jacobians @ solved.solution
        sizes = np.sum(changes * pushes, axis=1) / np.maximum(np.sum(pushes**2, axis=1), 1e-300)
        sizes = _positive(sizes)
    stuck = np.flatnonzero(sizes <= 2 * LEAST_STEP * sizes.max())
    if len(stuck):
        moved = np.linalg.norm(changes[stuck[0]]) >= STILL
        raise Unsupported(
            f"agent {agent}: {len(stuck)} of {steps} steps, first step {stuck[0]}, have no positive size: there the "
            f"agent {'moved against what it gained elsewhere' if moved else 'did not move'}; leave them out, or give "
            "the step sizes"
        )
    return solved, sizes, iterations


def _positive(sizes):
    if sizes.max() <= 0:
        return np.ones_like(sizes)
    return np.maximum(sizes, LEAST_STEP * sizes.max())
