"""Curves and comparisons of learning from learners: which family is taken for which, how much has to be seen, and what
derivatives are worth."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from mairl.algorithms.family_fit import gauss_newton
from mairl.algorithms.from_trajectories import from_counts
from mairl.algorithms.i_logel import i_logel
from mairl.algorithms.i_lola import i_lola
from mairl.algorithms.update_model import BILINEAR, Differentiated, UpdateModel, update_model
from mairl.core.errors import MairlError
from mairl.data.exact_learning import exact_learning
from mairl.data.learning_history import LearningHistory, learning_history
from mairl.games.tabular.ma_lfl_grid import ma_lfl_features, ma_lfl_grid
from mairl.metrics.intervals import mean_interval
from mairl.ops.cma_es import cma_es
from mairl.ops.host_softmax import softmax
from mairl.ops.learners import ANTICIPATING, LEARNERS
from mairl.ops.linear_game import LinearGame
from mairl.reproduce.ilola import LOOK_AHEAD, STEP_SIZE, TEMPERATURE, WEIGHTS, add_rows, where
from mairl.reproduce.told import told

SNAPSHOTS = (2, 3, 4, 6, 8, 11)
SAMPLES = (30, 100, 300, 1000, 3000, 10_000)
SAMPLED_STEP = 0.25
"""Step size of learners that are seen through samples: larger than `STEP_SIZE`, so that there is something to see."""
NOISE = 1e-3
"""Standard deviation of errors in recorded logits, for the curve over snapshots: without any, one transition does."""
CMA_SPREAD, CMA_MOST, CMA_TARGETS = 0.3, 8000, (1e-6,)
RACE_TRANSITIONS = 3
"""Learning steps that are explained in a race: nine unknowns need no more, and each costs a replay an evaluation."""
RACES = (
    ("lola-taylor", "coefficients"),
    ("lola-taylor", "replay"),
    ("lola-full", "replay"),
    ("ma-spi", "replay"),
)
"""Families that derivatives and CMA-ES are compared on, by the update's coefficients, where there are any, or by
replaying the update at every evaluation."""


def grid_game() -> LinearGame:
    """The MA-LfL grid with its four features."""
    return LinearGame.of(ma_lfl_grid().tables(), ma_lfl_features())


def confusion(folder: Path, exact: list[dict[str, Any]], *, seeds: int, samples: int, command: str = "") -> list[dict]:
    """Grows `confusion.json`: for each kind of learner how often each family is taken for it.

    With exact policies, from the held-out errors in `exact.json`; through samples by held-out likelihood, among the
    bilinear families.

    Args:
        exact: rows of `exact.json`.
        samples: of every state of every joint policy.
    """
    rows = []
    for learner in dict.fromkeys(r["learner"] for r in exact):
        mine = {r["family"]: r for r in exact if r["learner"] == learner}
        chosen = next(iter(mine.values()))["family_chosen"]
        rows.append(
            {
                "learner": learner,
                "seen": "exact",
                "seeds": len(next(iter(mine.values()))["seeds"]),
                "chosen": {family: float(family == chosen) for family in mine},
                "held_out": {family: row["held_out"] for family, row in mine.items()},
                "cosine": {f: min(r["cosines"]) if r["cosines"] else None for f, r in mine.items()},
                "command": command,
                **where(),
            }
        )
    game = grid_game()
    for learner in told("confusion,", BILINEAR):
        taken: dict[str, int] = dict.fromkeys(BILINEAR, 0)
        for seed in range(seeds):
            counts = _sampled_counts(game, learner, samples, seed)
            found = from_counts(
                game, counts, method="telescoped", families=BILINEAR, look_aheads=(4.0, 16.0), validation=3
            )
            taken[found.family] += 1
        rows.append(
            {
                "learner": learner,
                "seen": f"{samples} samples a state",
                "seeds": seeds,
                "chosen": {family: n / seeds for family, n in taken.items()},
                "held_out": None,
                "cosine": None,
                "command": command,
                **where(),
            }
        )
    names = list(LEARNERS)
    add_rows(folder / "confusion.json", rows, lambda r: (r["seen"] != "exact", names.index(r["learner"])))
    return rows


def curves(folder: Path, *, seeds: int, command: str = "") -> list[dict[str, Any]]:
    """Grows `curves.json`: the angle between recovered and true weights, by how much is seen.

    "snapshots": joint policies with errors of `NOISE` in their logits; "samples": actions in every state of eleven
    policies, from which policies are cloned, and rewards found in the telescoped way with λ known.
    """
    game, plan, rows = grid_game(), [], []

    def add(seen: str, method: str, amount: int, solve) -> None:
        plan.append((seen, method, amount, solve))

    def measure(seen: str, method: str, amount: int, solve) -> None:
        start, angles, failures = time.perf_counter(), [], 0
        for seed in range(seeds):
            try:
                angles.append(float(np.mean(_angles(solve(seed)))))
            except MairlError:
                failures += 1
        mean, interval = mean_interval(np.array(angles)) if angles else (None, [None, None])
        rows.append(
            {
                "seen": seen,
                "method": method,
                "amount": amount,
                "seeds": len(angles),
                "angle_degrees": mean,
                "ci95": interval,
                "failures": failures,
                "seconds": (time.perf_counter() - start) / seeds,
                "command": command,
                **where(),
            }
        )

    known: dict[str, Any] = {"families": ("lola-taylor",), "look_aheads": (LOOK_AHEAD,)}
    for count in SNAPSHOTS:
        add("snapshots", "i-logel", count, lambda seed, n=count: i_logel(game, _noisy(game, n, seed)))
        if count > 2:
            add(
                *("snapshots", "i-lola", count),
                lambda seed, n=count: i_lola(game, _noisy(game, n, seed), validation=1, **known),
            )
        add(
            *("snapshots", "i-lola, telescoped", count),
            lambda seed, n=count: from_counts(
                game,
                1e6 * softmax(_noisy(game, n, seed).logits()),
                **{"method": "telescoped", "validation": 0, "prior": 1e-6, **known},
            ),
        )
    for samples in SAMPLES:
        for method in ("per-step", "telescoped"):
            add(
                *("samples", f"i-lola, {method}", samples),
                lambda seed, n=samples, m=method: from_counts(
                    game,
                    _sampled_counts(game, "lola-taylor", n, seed),
                    **{"method": m, "families": ("lola-taylor",), "look_aheads": (LOOK_AHEAD,), "validation": 0},
                ),
            )
    for one in told("curves,", plan, label=lambda one: f"{one[0]} {one[2]}, {one[1]}"):
        measure(*one)
    add_rows(folder / "curves.json", rows, lambda r: (r["seen"], r["method"], r["amount"]))
    return rows


def cma_comparison(folder: Path, *, seeds: int, command: str = "", quick: bool = False) -> list[dict[str, Any]]:
    """Grows `cma_es.json`: evaluations and processor seconds to equal loss, with derivatives and without.

    Both minimise the same objective until it is not above the target. Gauss-Newton begins at I-LOGEL's rewards and λ of
    1, CMA-ES has no guess but the unknowns' units. An evaluation is one update of all agents in every policy; each
    derivative by one unknown counts as another.

    Args:
        quick: the first of `RACES` alone, with a twentieth of the evaluations.
    """
    rows = []
    game = grid_game()
    most = CMA_MOST // 20 if quick else CMA_MOST
    for family, form in told("cma-es,", RACES[:1] if quick else RACES, label=" ".join):
        for target in CMA_TARGETS:
            found = [_race(game, family, form, target, seed, most) for seed in range(seeds)]
            ratios = np.array([one["cma_seconds"] / one["derivative_seconds"] for one in found])
            rows.append(
                {
                    "family": family,
                    "form": form,
                    "transitions": RACE_TRANSITIONS,
                    "target_residual": target,
                    "seeds": seeds,
                    **{name: float(np.mean([one[name] for one in found])) for name in found[0]},
                    "reached": float(np.mean([one["cma_residual"] <= target for one in found])),
                    "times_faster": mean_interval(ratios)[0],
                    "times_faster_ci95": mean_interval(ratios)[1],
                    "command": command,
                    **where(),
                }
            )
            add_rows(
                folder / "cma_es.json",
                rows,
                lambda r: (RACES.index((r["family"], r["form"])), -r["target_residual"]),
            )
    return rows


class _Counted:
    """A model that counts how often it is evaluated."""

    def __init__(self, model: UpdateModel):
        self.model, self.evaluations = model, 0

    def changes(self, weights, look_ahead):
        self.evaluations += 1
        return self.model.changes(weights, look_ahead)

    def jacobian(self, weights, look_ahead):
        slopes = self.model.jacobian(weights, look_ahead)
        self.evaluations += slopes.shape[1]
        return slopes


def _race(game: LinearGame, family: str, form: str, target: float, seed: int, most: int) -> dict[str, float]:
    anticipating = family in ANTICIPATING
    truth, look_ahead = (1 / TEMPERATURE if family == "ma-spi" else STEP_SIZE) * WEIGHTS, LOOK_AHEAD * anticipating
    history = exact_learning(game, family, truth, look_ahead, transitions=RACE_TRANSITIONS, seed=seed)
    logits = history.logits()
    changes = np.diff(logits, axis=0).ravel()
    size = float(changes @ changes)

    def model() -> _Counted:
        build = update_model if form == "coefficients" else Differentiated
        return _Counted(build(game, logits[:-1], family))

    # Compilation is left out of both.
    i_logel(game, history)
    warm = model()
    warm.changes(WEIGHTS, 1.0)
    slopes = np.linalg.norm(warm.jacobian(np.zeros(WEIGHTS.shape), 0.0)[:, :-1], axis=0)
    units = np.sqrt(size) / np.where(slopes > 0, slopes, 1.0)
    units = np.append(units, LOOK_AHEAD) if anticipating else units

    def loss(learners, point):
        unknowns = point * units
        ahead = float(unknowns[-1]) if anticipating else 0.0
        rest = changes - learners.changes(unknowns[: WEIGHTS.size].reshape(WEIGHTS.shape), ahead)
        return float(rest @ rest) / size

    start = time.process_time()
    climbing = model()
    naive = i_logel(game, history)
    fit = gauss_newton(
        climbing, changes, naive.weights, float(anticipating), free_look_ahead=anticipating, enough=target
    )
    with_derivatives = time.process_time() - start
    start = time.process_time()
    searching = model()
    found = cma_es(
        lambda points: np.array([loss(searching, p) for p in points]),
        np.zeros(len(units)),
        **{"spread": CMA_SPREAD, "evaluations": most, "target": target, "seed": seed},
    )
    return {
        "derivative_seconds": with_derivatives,
        "derivative_steps": float(fit.iterations),
        "derivative_evaluations": float(climbing.evaluations),
        "derivative_residual": fit.relative_residual,
        "cma_seconds": time.process_time() - start,
        "cma_evaluations": float(searching.evaluations),
        "cma_residual": found.value,
    }


def _noisy(game: LinearGame, count: int, seed: int) -> LearningHistory:
    history = exact_learning(
        game, "lola-taylor", STEP_SIZE * WEIGHTS, LOOK_AHEAD, transitions=count - 1, seed=seed
    ).logits()
    return learning_history(history + NOISE * np.random.default_rng(100 + seed).normal(size=history.shape))


def _sampled_counts(game: LinearGame, learner: str, samples: int, seed: int):
    ahead = LOOK_AHEAD if learner in ANTICIPATING else 0.0
    history = exact_learning(game, learner, SAMPLED_STEP * WEIGHTS, ahead, transitions=10, seed=seed)
    return np.random.default_rng(seed).multinomial(samples, softmax(history.logits())).astype(np.float64)


def _angles(found) -> list[float]:
    return [float(np.degrees(np.arccos(np.clip(c, -1, 1)))) for c in found.cosines(WEIGHTS) if c is not None]
