"""T3 of the I-LOLA poster with a sound protocol: PPO learners in MultiWalker, the real Box2D game.

Each seed's history is that of an expert's training: five stretches of four updates that follow one another, spread
evenly over it. Three of each are fitted, the fourth is only predicted. Induced returns are costly here, and are
measured for the true reward and for the two methods that predict best: fresh agents are trained by PPO for as long as
the expert was. A reward's scale cannot be told: fresh agents' has the deviation of the true one, which PPO's settings
were made for. Returns are normalised only where the experts reach the published one's; else the rows say why not.

Histories lie in `runs/t3/history-SEED`, recorded where they are missing (`mairl expert multiwalker --record-learning
--stretch 4` makes the same).
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from mairl.algorithms.explain_ppo import METHODS, Case, deviation, linear, make_case, scaled
from mairl.algorithms.induced_ppo import last, learn_from
from mairl.algorithms.ppo_paid import Payment
from mairl.algorithms.ppo_record import ppo_record
from mairl.algorithms.settings import plain
from mairl.core.game import MarkovGame
from mairl.core.policy import Policy, UniformPolicy
from mairl.data.learning_history import LearningHistory, load_history, save_history
from mairl.games import make_game
from mairl.games.multiwalker import displacement
from mairl.metrics.learning import interquartile_mean
from mairl.metrics.play import play_whole
from mairl.recipes.recording import record_learning
from mairl.reproduce.ilola import where
from mairl.reproduce.ilola_experts import below_published
from mairl.reproduce.ilola_ppo import ROWS, TRUE, grow, true_weights
from mairl.reproduce.ilola_t2 import kept, row
from mairl.reproduce.told import told

SNAPSHOTS, STRETCH = 20, 4
"""Updates that are recorded, and how many of them follow one another; the last of these is not fitted."""

EPISODES = 50
INDUCED = 2
"""How many methods' rewards are learned from, beside the true one: those that predict best."""


def t3(
    folder: Path,
    *,
    seeds: int,
    methods: tuple[str, ...] = (),
    command: str = "",
    quick: bool = False,
    game: str = "multiwalker",
    workers: int | None = None,
) -> list[dict[str, Any]]:
    """Grows `t3.json` (`t3_less.json`): first each method's predictions, then the induced returns of those that are
    learned from.

    Args:
        methods: names in `ROWS`; default: all but those that know more than an observer. Those that predict best
            are chosen among them.
        quick: histories of a twentieth of the training, and fresh agents trained as long.
        workers: processes that step the game; default: one per core.
    """
    world, runs = make_game(game), folder / "runs" / "t3"
    histories = [history_of(runs, game, seed, quick, workers) for seed in range(seeds)]
    cases = [_case(history, world, seed) for seed, history in enumerate(histories)]
    budget = int(dict(histories[0].metadata.facts())["env_steps"])
    settings = {"learner": plain(cases[0].ppo), "snapshots": cases[0].record.num_steps, "budget": budget}
    order = list(ROWS)
    chosen = [m for m in order if m in (methods or (*METHODS, TRUE))]
    found = {
        m: [kept(runs, world, case, m, settings) for case in told(f"t3, {m}, seed", cases, label=lambda c: c.seed)]
        for m in chosen
    }
    experts = [_played(world, last(case.record.after), case.seed, workers) for case in cases]
    random = _played(world, UniformPolicy(world.num_agents, world.action_space), 0, workers)
    expert = interquartile_mean(np.array([e[0] for e in experts]))[0]
    way = float(np.mean([e[1] for e in experts]))
    below = below_published(expert, way)
    facts = {
        "expert_displacement": way,
        "random_displacement": random[1],
        "command": command,
        **settings,
    }
    rows = {m: row("t3", m, [r for r, _ in found[m]], None, expert, random[0], below) for m in chosen}

    def write():
        known = [{**rows[m], "displacement": rows[m].get("displacement"), **facts, **where()} for m in chosen]
        grow(folder, "t3", known)
        return known

    written = write()
    for method in to_learn_from(rows):
        learned = [
            _induced(runs, world, case, method, _as_true(world, case, payment), budget, workers)
            for case, (_, payment) in zip(cases, found[method])
        ]
        earned = np.array([x["return"] for x in learned])
        rows[method] = row("t3", method, [r for r, _ in found[method]], earned, expert, random[0], below)
        rows[method]["displacement"] = float(np.mean([x["displacement"] for x in learned]))
        written = write()
    return written


def to_learn_from(rows: dict[str, dict[str, Any]]) -> list[str]:
    """The true reward, and the methods with the best skill on held-out updates."""
    recovering = [m for m in rows if rows[m]["skill_1b"] is not None]
    best = sorted(recovering, key=lambda m: -rows[m]["skill_1b"])[:INDUCED]
    return [m for m in rows if m == "true-reward" or m in best]


def history_of(runs: Path, game: str, seed: int, quick: bool, workers: int | None) -> LearningHistory:
    """A seed's recorded history; recorded now where it is missing. An interrupted training goes on where it was."""
    path = runs / f"history-{seed}"
    if not path.exists():
        work = runs / f"training-{seed}"
        options: dict[str, Any] = {"budget": 25_000, "snapshots": 2 * STRETCH} if quick else {"snapshots": SNAPSHOTS}
        history, _ = record_learning(game, work, seed=seed, workers=workers, stretch=STRETCH, resume=True, **options)
        save_history(history, path)
        shutil.rmtree(work, ignore_errors=True)
    return load_history(path)


def _case(history: LearningHistory, world: MarkovGame, seed: int) -> Case:
    ppo, record = ppo_record(history, world)
    return make_case(ppo, record, range(record.num_steps)[STRETCH - 1 :: STRETCH], seed)


def _played(world: MarkovGame, policy: Policy, seed: int, workers: int | None) -> tuple[float, float]:
    """Mean return per agent and displacement."""
    played = play_whole(world, policy, EPISODES, seed=3000 + seed, workers=workers)
    assert played.features is not None
    return float(played.returns.mean()), float(np.mean([displacement(f) for f in played.features]))


def _as_true(world: MarkovGame, case: Case, payment: Payment) -> Payment:
    """A payment with deviation 1, in the deviation that the learners' true reward has for PPO."""
    return scaled(payment, case.ppo.reward_scale * deviation(case, linear(true_weights(world, case))))


def _induced(
    runs: Path, world: MarkovGame, case: Case, method: str, payment: Payment, budget: int, workers: int | None
) -> dict[str, float]:
    """What fresh agents trained on a recovered reward earn by the true one. Interrupted training goes on."""
    path = runs / f"induced-{method}-{case.seed}.json"
    if path.exists() and (known := json.loads(path.read_text()))["budget"] == budget:
        return known
    work = runs / f"induced-{method}-{case.seed}"
    policy = learn_from(world, case.ppo, payment, budget, 1000 + case.seed, work, workers=workers)
    earned, way = _played(world, policy, 500 + case.seed, workers)
    found = {"return": earned, "displacement": way, "budget": budget}
    path.write_text(json.dumps(found))
    shutil.rmtree(work, ignore_errors=True)
    return found
