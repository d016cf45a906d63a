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
    budget: int | None = None,
    episodes: int = 200,
    json: bool = False,
) -> None:
    """Trains fresh agents on a run's recovered reward only, and measures them by the true one.

    Each seed's reward trains agents of its own by PPO, with the settings of the game's expert. For scale, the same
    training on the true reward and random play are measured beside them. Writes `transfer-GAME.json` into the run.

    Args:
        run: a RUN.
        game: id and options, if the run names no game, or for another one with the same observations and actions.
        reward: which face of the reward; default: the joint one, or the shaped one where there is no other.
        budget: environment steps; default: the expert recipe's.
        episodes: measured per seed.
        json: print one JSON object.
    """
    import dataclasses

    import equinox as eqx
    import jax
    import numpy as np

    from mairl.algorithms.fit import fit
    from mairl.cli.run_game import NO_GAME, check_plays, game_name, told
    from mairl.core.policy import UniformPolicy
    from mairl.core.stacked import one_of
    from mairl.data.collect import play_episodes
    from mairl.games import make_game
    from mairl.games.rewarded import RewardedGame
    from mairl.metrics.evaluate import read_run
    from mairl.metrics.intervals import mean_interval
    from mairl.recipes.experts import recipe_for

    facts, learned = read_run(run)
    name, own = game_name(run, told(facts, game)), facts.get("game") or ""
    real = make_game(name)
    home = make_game(own) if own not in NO_GAME else real
    if real.observation_spec != home.observation_spec or real.action_space != home.action_space:
        raise InvalidGame(f"{name} has other observations or actions than {own}: the reward cannot judge it")
    path = result_path(run, name)
    kind = reward or ("reward" if learned.reward is not None else "shaped_reward")
    payment = getattr(learned, kind)
    if payment is None:
        raise Unsupported(f"{run} recovered no {kind.replace('_', ' ')}: {facts['algorithm']['name']} gives none")
    if home is real:
        check_plays(run, one_of(learned.policy, 0), RewardedGame(real, one_of(payment, 0)), name)
    recipe = recipe_for(name)
    steps = recipe.budget if budget is None else budget
    collection = recipe.algorithm.collection(real)
    algorithm = dataclasses.replace(recipe.algorithm, anneal_updates=max(1, steps // collection.size))
    play = eqx.filter_jit(play_episodes)

    def measured(policy, seed: int) -> float:
        return float(np.mean(np.asarray(play(real, policy, jax.random.key(seed), episodes).returns)))

    def trained(world, seeds) -> list[float]:
        result = fit(
            algorithm, world, budget=steps, seeds=seeds, evaluations=4, episodes=0, select="last", progress=not json
        )
        return [measured(result.one(i).policy, 500 + i) for i in range(len(seeds))]

    count = len(facts["seeds"])
    on_recovered = []
    for i in range(count):
        on_recovered += trained(RewardedGame(real, one_of(payment, i)), [i])
    on_true = trained(real, list(range(min(count, 2))))
    random = measured(UniformPolicy(real.num_agents, real.action_space), 400)
    mean, interval = mean_interval(np.array(on_recovered))
    best = float(np.mean(on_true))
    facts_out = {
        "run": str(run),
        "game": name,
        "reward": kind,
        "env_steps": steps,
        "seeds": count,
        "return_mean": mean,
        "return_ci95": interval,
        "per_seed": on_recovered,
        "trained_on_true_reward": best,
        "random": random,
        "normalised": (mean - random) / (best - random) if best != random else None,
    }
    path.write_text(jsonlib.dumps(finite(facts_out), indent=1))
    lines = [
        f"fresh agents trained on the {kind.replace('_', ' ')} of {run}, in {name}:",
        f"  true return, mean per agent: {with_interval(mean, interval)}",
        f"  trained on the true reward: {best:.2f}; random play: {random:.2f}",
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
