"""Learning from learners with exact gradients: every learner inverted with every family, on the MA-LfL grid.

The I-LOLA poster (Yu et al.) gives no figures for this. What is measured is whether an inversion finds what is there:
the rewards, λ, and which family of learners made the data.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from mairl.algorithms.i_lola import EQUAL, i_lola
from mairl.algorithms.run_folder import provenance
from mairl.core.errors import Unsupported
from mairl.data.exact_learning import exact_learning
from mairl.games.tabular.ma_lfl_grid import ma_lfl_features, ma_lfl_grid
from mairl.ops.learners import ANTICIPATING, LEARNERS
from mairl.ops.linear_game import LinearGame
from mairl.reproduce.mamql import write_result
from mairl.reproduce.told import told

WEIGHTS = np.array([[-1.0, 1.0, 0.0, 0.0]] * 2)
"""The disjoint reward in the grid's four features."""

STEP_SIZE, LOOK_AHEAD, TEMPERATURE = 0.05, 10.0, 3.0
TRANSITIONS, VALIDATION = 10, 2


def weights_of(seed: int) -> Float[np.ndarray, "agent feature"]:
    """What the learners of a seed want: `WEIGHTS` of seed 0, of others drawn ones as long, unlike for each agent."""
    if seed == 0:
        return WEIGHTS
    drawn = np.random.default_rng(seed).normal(size=WEIGHTS.shape)
    return drawn * np.linalg.norm(WEIGHTS, axis=1, keepdims=True) / np.linalg.norm(drawn, axis=1, keepdims=True)


def exact_row(learner: str, family: str, seeds: int) -> dict[str, Any]:
    """One learner's histories inverted with one family; of several seeds the worst figures."""
    game = LinearGame.of(ma_lfl_grid().tables(), ma_lfl_features())
    look_ahead = LOOK_AHEAD if learner in ANTICIPATING else 0.0
    scale = 1 / TEMPERATURE if learner == "ma-spi" else STEP_SIZE
    start = time.perf_counter()
    found, cosines, failures = [], [], []
    for seed in range(seeds):
        true = weights_of(seed)
        history = exact_learning(game, learner, scale * true, look_ahead, transitions=TRANSITIONS, seed=seed)
        try:
            found.append(i_lola(game, history, families=(family,), validation=VALIDATION))
            cosines.append(found[-1].cosines(true))
        except Unsupported as error:
            failures.append(f"seed {seed}: {error}")
    worst = max(found, key=lambda r: r.relative_residual) if found else None
    return {
        "learner": learner,
        "family": family,
        "lambda_true": None if learner == "ma-spi" else look_ahead,
        "lambda_found": None if worst is None or family == "ma-spi" else (worst.look_ahead or 0.0),
        "cosines": None if worst is None else [_least(c[i] for c in cosines) for i in range(game.num_agents)],
        "relative_residual": None if worst is None else worst.relative_residual,
        "held_out": None if worst is None else max(r.held_out or 0.0 for r in found),
        "rank": None if worst is None else list(worst.rank),
        "unknowns": game.num_features,
        "failures": failures,
        "seconds": time.perf_counter() - start,
    }


def exact(
    folder: Path, *, seeds: int, learners: tuple[str, ...] = tuple(LEARNERS), command: str = ""
) -> list[dict[str, Any]]:
    """Grows `exact.json`: learners (rows of one are written as soon as they are known) by all families.

    Each learner's rows also say which family its validation transitions choose.
    """
    names, rows = list(LEARNERS), []
    for learner in learners:
        mine = [exact_row(learner, family, seeds) for family in told(f"exact, {learner} as", LEARNERS)]
        fitted = [r for r in mine if r["held_out"] is not None]
        chosen = min(fitted, key=lambda r: max(r["held_out"], EQUAL))["family"] if fitted else None
        facts = {"family_chosen": chosen, "seeds": list(range(seeds)), "command": command, **where()}
        rows += [{**row, **facts} for row in mine]
        add_rows(folder / "exact.json", rows, lambda row: (names.index(row["learner"]), names.index(row["family"])))
    return rows


def add_rows(path: Path, rows: list[dict[str, Any]], place: Callable[[dict[str, Any]], Any]) -> None:
    """Adds rows to a table, in place of those with the same place in it: it grows over several commands."""
    known = json.loads(path.read_text()) if path.exists() else []
    new = {place(row) for row in rows}
    write_result(path, sorted([row for row in known if place(row) not in new] + rows, key=place))


def exact_markdown(rows: list[dict[str, Any]]) -> list[str]:
    """The least cosine of each pair of a learner and a family, with the residual."""
    families = list(dict.fromkeys(r["family"] for r in rows))
    lines = ["| learner | " + " | ".join(families) + " |", "|---" * (len(families) + 1) + "|"]
    for learner in dict.fromkeys(r["learner"] for r in rows):
        cells = []
        for family in families:
            row = next(r for r in rows if (r["learner"], r["family"]) == (learner, family))
            least = _least(row["cosines"] or [None])
            cells.append("–" if least is None else f"{least:.6f} ({row['relative_residual']:.1g})")
        lines.append(f"| {learner} | " + " | ".join(cells) + " |")
    return lines


def _least(values) -> float | None:
    known = [v for v in values if v is not None]
    return min(known) if known else None


def where() -> dict[str, Any]:
    """Commit, machine and date of a row."""
    return {key: value for key, value in provenance().items() if key in ("commit", "machine", "date")}
