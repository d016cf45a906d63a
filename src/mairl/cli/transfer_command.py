"""`mairl transfer RUN`: is the recovered reward worth learning from?"""

from __future__ import annotations

import hashlib
import json as jsonlib
import os
import re
from pathlib import Path
from typing import Annotated, Literal

import tyro

from mairl.cli.output import emit, finite, with_interval
from mairl.core.errors import InvalidData, InvalidGame, Unsupported


def transfer(
    run: Annotated[Path, tyro.conf.Positional],
    *,
    game: str = "",
    reward: Literal["reward", "induced_reward", "shaped_reward"] | None = None,
    caution: float | None = None,
    budget: int | None = None,
    episodes: int = 200,
    json: bool = False,
) -> None:
    """Trains fresh agents on a run's recovered reward only, and measures them by the true one.

    Each seed's reward trains agents of its own, with the settings of the game's expert but for two: payments are scaled
    by how much they vary in random play, as a recovered reward has a scale of its own, and the discount is the
    learner's, under whose values the reward may be shaped. For scale, training on the true reward and random play are
    measured beside them; and what the fresh agents and the learned policies earn of the recovered reward: fresh agents
    that earn as much of it and little of the true one were misled by the reward, not by their training. Writes
    `transfer-GAME.json` into the run; broken off, it goes on after the last agents that were done.

    With --caution all seeds' rewards are one: their mean less so many of their standard deviations. Where nothing was
    recorded a recovered reward is a guess, and seeds guess differently; agents that are paid for that go where nobody
    was. As many agents as the run has seeds are trained on it.

    Args:
        run: a RUN.
        game: id and options, if the run names no game, or for another one with the same observations and actions.
        reward: which face of the reward; default: the joint one, or the shaped one where there is no other.
        caution: standard deviations over seeds; 1 is a good start, 0 the mean alone.
        budget: environment steps; default: the expert recipe's.
        episodes: measured per seed.
        json: print one JSON object.
    """
    import numpy as np

    from mairl.cli.run_game import NO_GAME, check_plays, game_name, told
    from mairl.core.stacked import one_of
    from mairl.games import make_game
    from mairl.games.rewarded import RewardedGame
    from mairl.metrics import transfer as metric
    from mairl.metrics.evaluate import read_run
    from mairl.metrics.intervals import mean_interval
    from mairl.recipes.experts import recipe_for

    facts, learned = read_run(run)
    name, own = game_name(run, told(facts, game)), facts.get("game") or ""
    real = make_game(name)
    home = make_game(own) if own not in NO_GAME else real
    if real.observation_spec != home.observation_spec or real.action_space != home.action_space:
        raise InvalidGame(f"{name} has other observations or actions than {own}: the reward cannot judge it")
    path = result_path(run, name if caution is None else f"{name},caution={caution:g}")
    kind = reward or ("reward" if learned.reward is not None else "shaped_reward")
    payment = getattr(learned, kind)
    if payment is None:
        raise Unsupported(f"{run} recovered no {kind.replace('_', ' ')}: {facts['algorithm']['name']} gives none")
    if home is real:
        check_plays(run, one_of(learned.policy, 0), RewardedGame(real, one_of(payment, 0)), name)
    count = len(facts["seeds"])
    if caution is not None and (count < 2 or not caution >= 0):
        raise Unsupported(
            f"--caution {caution:g} with {count} seeds: it is a number from 0, for runs of two seeds or more"
        )
    recipe = recipe_for(name)
    steps = recipe.budget if budget is None else budget
    discount = metric.discount_of(facts, recipe.algorithm.discount)
    if caution is None:
        payments = [one_of(payment, i) for i in range(count)]
    else:
        payments = [metric.cautious(real, payment, count, caution, episodes)] * count
    found = metric.transfer(
        real,
        payments,
        [one_of(learned.policy, i) for i in range(count)],
        recipe.algorithm,
        budget=steps,
        discount=discount,
        episodes=episodes,
        progress=not json,
        keep=(partial := path.with_suffix(".partial.json")),
    )
    best, random = metric.yardsticks(
        real, recipe.algorithm, budget=steps, seeds=min(count, 2), episodes=episodes, progress=not json
    )
    mean, interval = mean_interval(np.array(found.returns))
    facts_out = {
        "run": str(run),
        "game": name,
        "reward": kind,
        "caution": caution,
        "env_steps": steps,
        "seeds": count,
        "return_mean": mean,
        "return_ci95": interval,
        "per_seed": found.returns,
        "trained_on_true_reward": best,
        "random": random,
        "normalised": metric.normalised(mean, random, best),
        "discount": discount,
        "recovered_return_per_seed": found.paid,
        "recovered_return_of_the_learned_policies": found.paid_to_learned,
    }
    path.write_text(jsonlib.dumps(finite(facts_out), indent=1))
    partial.unlink(missing_ok=True)
    lines = [
        f"fresh agents trained on the {kind.replace('_', ' ')} of {run}, in {name}:",
        f"  true return, mean per agent: {with_interval(mean, interval)}",
        f"  trained on the true reward: {best:.2f}; random play: {random:.2f}",
        f"  of the recovered reward they earn {np.mean(found.paid):.4g}, the learned policies "
        f"{np.mean(found.paid_to_learned):.4g}",
    ]
    emit(facts_out, json, lines)


def result_path(run: Path, name: str) -> Path:
    """Where the result of a game goes. Options may hold what no file name can: that is replaced, and a digest tells
    such names apart.

    Raises:
        InvalidData: nothing can be written into the run.
    """
    if not os.access(run, os.W_OK):
        raise InvalidData(f"{run} cannot be written to, and the result goes into it: change its permissions")
    plain = name.replace(":", "_", 1)
    safe = re.sub(r"[^\w=.,-]", "_", plain, flags=re.ASCII)[:100]
    return run / f"transfer-{safe}{'' if safe == plain else '-' + hashlib.sha256(name.encode()).hexdigest()[:8]}.json"


def main(argv: list[str]) -> None:
    """Parses and runs."""
    tyro.cli(transfer, args=argv, prog="mairl transfer")
