"""`mairl bench learners`: how fast learners are inverted, CMA-ES turns, and their games are played."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from mairl.algorithms.i_logel import i_logel
from mairl.algorithms.i_lola import i_lola
from mairl.algorithms.ma_lfl import ma_lfl
from mairl.bench.games import random_play
from mairl.bench.peer import run_peer
from mairl.data.exact_learning import exact_learning
from mairl.games import make_game
from mairl.games.tabular.features import linear_game, tabular_game
from mairl.ops.cma_es import cma_es
from mairl.ops.learners import ANTICIPATING, LEARNERS

SIZE, POPULATION, GENERATIONS = 16, 16, 1000
BATCHES = (1, 64, 2048)
GAMES = ("simple-spread", "coin-game", "ma-lfl-grid")
PEER_STEPS = 5000
WEIGHTS = 0.05 * np.array([[-1.0, 1.0, 0.0, 0.0]] * 2)


def cma_rate(repeats: int = 3) -> dict[str, float]:
    """Generations a second of our CMA-ES on the sphere, the median."""
    rates = []
    for seed in range(repeats):
        start = time.perf_counter()
        found = cma_es(
            lambda points: np.sum(points**2, axis=-1),
            np.ones(SIZE),
            spread=0.3,
            population=POPULATION,
            evaluations=GENERATIONS * POPULATION,
            seed=seed,
        )
        rates.append(found.evaluations / POPULATION / (time.perf_counter() - start))
    return {"per_s": float(np.median(rates))}


def inversion_rates(repeats: int = 3) -> dict[str, dict[str, float]]:
    """Inversions a second of histories of ten transitions on the MA-LfL grid, each with its own family, λ known (for
    families that look ahead) and compilation left out."""
    game = linear_game("ma-lfl-grid")
    tables = tabular_game("ma-lfl-grid").tables()
    result = {}
    for family in LEARNERS:
        ahead = 10.0 if family in ANTICIPATING else 0.0
        weights = WEIGHTS if family != "ma-spi" else WEIGHTS / 0.05 / 3.0
        history = exact_learning(game, family, weights, ahead, transitions=10, seed=0)
        result[f"i-lola, {family}"] = _rate(
            lambda history=history, family=family, ahead=ahead: i_lola(
                game, history, families=(family,), look_aheads=(ahead,)
            ),
            repeats,
        )
        if family == "naive":
            result["i-logel"] = _rate(lambda history=history: i_logel(game, history), repeats)
        if family == "ma-spi":
            result["ma-lfl-state"] = _rate(lambda history=history: ma_lfl(tables, history, tie="state"), repeats)
    return result


def _rate(call, repeats: int) -> dict[str, float]:
    call()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return {"per_s": 1 / float(np.median(seconds)), "seconds": float(np.median(seconds))}


def bench_learners(batches: tuple[int, ...] = BATCHES, work: int = 100_000) -> dict[str, Any]:
    """CMA-ES, inversions and games, with the peers that there are, and ratios of rates to theirs.

    Args:
        work: environment steps per repeat of a game, about.
    """
    games = {
        name: [random_play(make_game(name), batch, max(20, min(2000, work // batch))) for batch in batches]
        for name in GAMES
    }
    peers = {
        "evosax_cma": run_peer("evosax_cma", "evosax", str(SIZE), str(POPULATION), str(GENERATIONS)),
        "mpe2_spread": run_peer("mpe2_spread", "mpe2", str(PEER_STEPS)),
        "jaxmarl_spread": run_peer("jaxmarl_spread", "jaxmarl", *map(str, batches)),
    }
    cma = {"unknowns": SIZE, "population": POPULATION, **cma_rate()}
    ratios: dict[str, Any] = {}
    for peer in ("evosax", "pycma"):
        if peer in peers["evosax_cma"]:
            ratios[f"cma_es / {peer}"] = cma["per_s"] / peers["evosax_cma"][peer]["per_s"]
    if "per_s" in peers["mpe2_spread"]:
        rates = {str(r["batch"]): r["per_s"] / peers["mpe2_spread"]["per_s"] for r in games["simple-spread"]}
        ratios["simple-spread / one process of mpe2"] = rates
    if "rates" in peers["jaxmarl_spread"]:
        theirs = {r["batch"]: r["per_s"] for r in peers["jaxmarl_spread"]["rates"]}
        rates = {str(r["batch"]): r["per_s"] / theirs[r["batch"]] for r in games["simple-spread"]}
        ratios["simple-spread / jaxmarl"] = rates
    return {"cma_es": cma, "inversions": inversion_rates(), "games": games, "peers": peers, "ratios": ratios}
