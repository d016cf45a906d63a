"""Likelihood of recorded actions through the learning that is assumed: where agents began, what they want, how far they
look ahead.

    maximise over θ_0, u, λ   Σ_t Σ_{i,s,a} n_t(i, s, a) log π_{θ_t}(a | s),   θ_{t+1} = θ_t + F(θ_t; u, λ)

by L-BFGS, with derivatives through all steps. Unknowns are scaled by what is known about them before: logits by the
information of the counts, rewards by their first guess.
"""

from __future__ import annotations

import dataclasses
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy.optimize import minimize

from mairl.algorithms.family_fit import Fit
from mairl.core.errors import Unsupported
from mairl.ops.learners import LEARNERS
from mairl.ops.linear_game import LinearGame, centred

PULL = 1e-2
"""Of the first logits towards 0, in nats per square: for states that nobody saw."""


def most_likely(
    game: LinearGame,
    counts: Float[np.ndarray, "step agent state action"],
    family: str,
    guess: Fit,
    first: Float[np.ndarray, "agent state action"],
    *,
    free_look_ahead: bool,
    max_iterations: int = 80,
) -> tuple[Fit, Float[np.ndarray, "step agent state action"]]:
    """The maximum, and the policies' logits on the way to it.

    Args:
        guess: where to begin, with λ; it stays if `free_look_ahead` is not set.
        first: guess of the first logits.

    Returns:
        The fit (its `relative_residual` is the divergence of the recorded frequencies from the policies, as a share of
        that from standing still), and logits of every snapshot.

    Raises:
        Unsupported: learning from the guess is not finite.
    """
    seen = counts.sum(axis=-1, keepdims=True)
    shares = np.exp(first - first.max(axis=-1, keepdims=True))
    shares /= shares.sum(axis=-1, keepdims=True)
    total = float(counts.sum())
    scale = [
        1 / np.sqrt(1.0 + counts.sum(axis=0).sum(axis=-1, keepdims=True) * shares),
        np.full(guess.weights.shape, max(float(np.abs(guess.weights).max()), 1e-6) * 0.03),
        np.array(max(abs(guess.look_ahead), 1.0) * 0.1 if free_look_ahead else 0.0),
    ]
    centre = [np.asarray(first, np.float64), guess.weights, np.asarray(guess.look_ahead, np.float64)]
    sizes = [x.size for x in centre]

    def unknowns(flat):
        parts = np.split(np.asarray(flat), np.cumsum(sizes)[:-1])
        return [c + s * part.reshape(c.shape) for c, s, part in zip(centre, scale, parts)]

    def objective(flat):
        with jax.enable_x64(True):
            value, slopes = _surprise(family)(game, counts, *unknowns(flat))
        slope = np.concatenate([(s * np.asarray(g)).ravel() for s, g in zip(scale, slopes)])
        if not (np.isfinite(value) and np.all(np.isfinite(slope))):
            return 1e6, np.zeros_like(slope)
        return float(value) / total * 1e3, slope / total * 1e3

    begin = np.zeros(sum(sizes))
    if objective(begin)[0] >= 1e6:
        raise Unsupported(
            f"learning from the first guess is not finite at look-ahead {guess.look_ahead:.3g}: leave that look-ahead "
            "out, or fit telescoped policies instead"
        )
    found = minimize(
        objective, begin, jac=True, method="L-BFGS-B", options={"maxiter": max_iterations, "maxcor": 30, "ftol": 1e-12}
    )
    start, weights, look_ahead = unknowns(found.x)
    with jax.enable_x64(True):
        path = np.asarray(_path(family)(game, start, weights, look_ahead, len(counts)))
    logs = path - path.max(axis=-1, keepdims=True)
    logs = logs - np.log(np.sum(np.exp(logs), axis=-1, keepdims=True))
    frequencies = counts / np.maximum(seen, 1.0)
    best = float(np.sum(counts * np.log(np.where(counts > 0, frequencies, 1.0))))
    still = np.broadcast_to(logs[0], logs.shape)
    share = (best - float(np.sum(counts * logs))) / max(best - float(np.sum(counts * still)), 1e-300)
    fit = dataclasses.replace(
        guess, weights=weights, look_ahead=float(look_ahead), relative_residual=share, iterations=int(found.nit)
    )
    return fit, path


def _learning(family: str, game, start, weights, look_ahead, steps: int):
    def step(theta, _):
        after = theta + LEARNERS[family](game, theta, weights, look_ahead)
        return after, after

    start = centred(start)
    _, rest = jax.lax.scan(step, start, None, length=steps - 1)
    return jnp.concatenate([start[None], rest])


@cache
def _path(family: str):
    return jax.jit(
        lambda game, start, weights, ahead, steps: _learning(family, game, start, weights, ahead, steps),
        static_argnums=4,
    )


@cache
def _surprise(family: str):
    """Minus the log-likelihood, and its derivatives by the first logits, the rewards and λ."""

    def value(game, counts, start, weights, look_ahead):
        path = _learning(family, game, start, weights, look_ahead, counts.shape[0])
        pull = PULL / 2 * jnp.sum(start**2)
        return pull - jnp.sum(counts * jax.nn.log_softmax(path, axis=-1))

    return jax.jit(jax.value_and_grad(value, argnums=(2, 3, 4)))
