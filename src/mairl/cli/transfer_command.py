"""`mairl transfer RUN`: is the recovered reward worth learning from?"""

from __future__ import annotations

import hashlib
import json as jsonlib
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from mairl.cli.output import emit, finite, with_interval
from mairl.core.errors import InvalidData, InvalidGame, Unsupported

DEVIATION = 0.3
"""Of what PPO is paid a step: returns are then numbers around 1, which its critics and steps are made for."""


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

    Each seed's reward trains agents of its own by PPO, with the settings of the game's expert but for two: payments are
    scaled by how much they vary in random play, as a recovered reward has a scale of its own, and the discount is the
    learner's, under whose values the reward may be shaped. For scale, training on the true reward and random play are
    measured beside them; and what the fresh agents and the learned policies earn of the recovered reward: fresh agents
    that earn as much of it and little of the true one were misled by the reward, not by their training. Writes
    `transfer-GAME.json` into the run.

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
    algorithm: Any = dataclasses.replace(recipe.algorithm, anneal_updates=max(1, steps // collection.size))
    config = facts.get("algorithm", {}).get("config", {})
    # Of adversarial learners it is their PPO's.
    discount = {"discount": algorithm.discount, **(config.get("ppo") or {}), **config}["discount"]
    play, at_random = eqx.filter_jit(play_episodes), UniformPolicy(real.num_agents, real.action_space)

    def measured(world, policy, seed: int) -> float:
        return float(np.mean(np.asarray(play(world, policy, jax.random.key(seed), episodes).returns)))

    def trained(learner, world, seeds) -> list:
        result = fit(
            learner, world, budget=steps, seeds=seeds, evaluations=4, episodes=0, select="last", progress=not json
        )
        return [result.one(i).policy for i in range(len(seeds))]

    count = len(facts["seeds"])
    on_recovered, paid, paid_to_learned = [], [], []
    for i in range(count):
        world = RewardedGame(real, one_of(payment, i))
        played = play(world, at_random, jax.random.key(401), episodes).steps
        spread = float(np.std(np.asarray(played.reward)[np.asarray(played.mask)]))
        scaled = dataclasses.replace(algorithm, discount=discount, reward_scale=DEVIATION / spread if spread else 1.0)
        (policy,) = trained(scaled, world, [i])
        on_recovered.append(measured(real, policy, 500 + i))
        paid.append(measured(world, policy, 600 + i))
        paid_to_learned.append(measured(world, one_of(learned.policy, i), 700 + i))
    on_true = [measured(real, p, 500 + i) for i, p in enumerate(trained(algorithm, real, list(range(min(count, 2)))))]
    random = measured(real, at_random, 400)
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
        "discount": discount,
        "recovered_return_per_seed": paid,
        "recovered_return_of_the_learned_policies": paid_to_learned,
    }
    path.write_text(jsonlib.dumps(finite(facts_out), indent=1))
    lines = [
        f"fresh agents trained on the {kind.replace('_', ' ')} of {run}, in {name}:",
        f"  true return, mean per agent: {with_interval(mean, interval)}",
        f"  trained on the true reward: {best:.2f}; random play: {random:.2f}",
        f"  of the recovered reward they earn {np.mean(paid):.4g}, the learned policies {np.mean(paid_to_learned):.4g}",
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
