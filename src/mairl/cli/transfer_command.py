"""`mairl transfer RUN`: is the recovered reward worth learning from?"""

from __future__ import annotations

import json as jsonlib
from pathlib import Path
from typing import Annotated, Literal

import tyro

from mairl.cli.output import emit, finite


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
        game: id and options, if another than the run's: with the same observations and actions.
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
    from mairl.core.errors import InvalidGame, Unsupported
    from mairl.core.policy import UniformPolicy
    from mairl.data.collect import play_episodes
    from mairl.games import make_game
    from mairl.games.rewarded import RewardedGame
    from mairl.metrics.evaluate import read_run
    from mairl.metrics.intervals import mean_interval
    from mairl.recipes.experts import recipe_for

    facts, learned = read_run(run)
    name = game or facts["game"]
    real, home = make_game(name), make_game(facts["game"])
    if real.observation_spec != home.observation_spec or real.action_space != home.action_space:
        raise InvalidGame(f"{name} has other observations or actions than {facts['game']}: the reward cannot judge it")
    kind = reward or ("reward" if learned.reward is not None else "shaped_reward")
    payment = getattr(learned, kind)
    if payment is None:
        raise Unsupported(f"{run} recovered no {kind.replace('_', ' ')}: {facts['algorithm']['name']} gives none")
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
        one = jax.tree.map(lambda x, i=i: x[i] if eqx.is_array(x) else x, payment)
        on_recovered += trained(RewardedGame(real, one), [i])
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
    (run / f"transfer-{name.replace(':', '_')}.json").write_text(jsonlib.dumps(finite(facts_out), indent=1))
    low, high = interval
    shown = f"{mean:.2f}" + (f" [{low:.2f}, {high:.2f}]" if low is not None else "")
    lines = [
        f"fresh agents trained on the {kind.replace('_', ' ')} of {run}, in {name}:",
        f"  true return, mean per agent: {shown}",
        f"  trained on the true reward: {best:.2f}; random play: {random:.2f}",
    ]
    emit(facts_out, json, lines)


def main(argv: list[str]) -> None:
    """Parses and runs."""
    tyro.cli(transfer, args=argv, prog="mairl transfer")
