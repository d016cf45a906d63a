"""How the experts that ship were trained, and how to train others.

python -m mairl.recipes.experts gems -o FOLDER        weights and evidence.json, as they ship
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from mairl.algorithms.dqn import DQN
from mairl.algorithms.fit import fit
from mairl.algorithms.maddpg import MADDPG
from mairl.algorithms.ppo import PPO
from mairl.algorithms.registry import ALGORITHMS, IMITATORS, make_algorithm
from mairl.algorithms.run_folder import provenance
from mairl.core.errors import Unsupported
from mairl.core.learned import Learned
from mairl.driving.game import Driving
from mairl.games import make_game
from mairl.metrics.intervals import mean_interval
from mairl.metrics.play import play_whole
from mairl.networks.build import NetworkConfig
from mairl.recipes.distil import DistilRecipe, distil
from mairl.recipes.driving import train_driver

_NETWORK = NetworkConfig(kind="mlp", width=64, depth=2, activation="tanh")

_WIDE = NetworkConfig(kind="mlp", width=128, depth=2, activation="tanh", shared=True)

_ATTENTION = NetworkConfig(kind="attention", width=64, depth=2, activation="tanh", shared=True)


@dataclasses.dataclass(frozen=True)
class ExpertRecipe:
    """How to train the expert of a game.

    Attributes:
        algorithm: its learner; the learning rate falls over all stages together.
        budget: environment steps in all.
        stages: (share of the budget, further options of the game meanwhile), in turn: shaping and random starts first,
            where they help, the game itself last.
        seeds: trained together; the best over 200 further episodes is kept, which are not those of its evidence.
    """

    algorithm: PPO | DQN | MADDPG
    budget: int
    stages: tuple[tuple[float, str], ...] = ((1.0, ""),)
    seeds: int = 2


def _ppo(**fields) -> PPO:
    return PPO(**{"num_envs": 64, "minibatches": 8, "network": _NETWORK, **fields})


_KITCHEN_STAGES = ((0.3, "shaping=0.3,random_start=True"), (0.3, "shaping=0.1"), (0.4, ""))
_OVERCOOKED = _ppo(num_steps=50, reward_scale=0.1, discount=0.99, entropy=0.02)

CRAMPED_ROOM_400 = "overcooked:layout=cramped_room,horizon=400"
"""The kitchen, horizon and rules of Carroll et al. 2019 (arXiv:1910.05789), Fig. 4: there PPO in self-play has 198.8
(five seeds, 182 to 208) and population-based training 216.9, summed over the team at 20 a soup. The expert that ships
serves 12 soups: 240 for the team, 120 for each agent. With counters clear between steps at most 13 can be served."""

RECIPES: dict[str, ExpertRecipe] = {
    "gems": ExpertRecipe(_ppo(num_steps=45, reward_scale=0.3, discount=0.97), 1_500_000),
    "gems-random": ExpertRecipe(
        _ppo(num_steps=45, num_envs=128, reward_scale=0.3, discount=0.97, network=_WIDE, learning_rate=1.5e-3),
        4_500_000,
        ((0.6, "shaping=0.3"), (0.4, "")),
        seeds=1,
    ),
    "overcooked": ExpertRecipe(_OVERCOOKED, 3_000_000, _KITCHEN_STAGES),
    "overcooked-cook5": ExpertRecipe(_OVERCOOKED, 6_000_000, _KITCHEN_STAGES),
    CRAMPED_ROOM_400: ExpertRecipe(
        _ppo(num_steps=100, reward_scale=0.1, discount=0.99),
        5_000_000,
        ((0.25, "shaping=1.0,random_start=True"), (0.25, "shaping=0.3"), (0.5, "")),
        seeds=1,
    ),
    "intersection": ExpertRecipe(
        _ppo(num_steps=13, num_envs=256, reward_scale=0.3, discount=0.99, network=_WIDE, entropy=0.005), 4_000_000
    ),
    "simple-spread": ExpertRecipe(
        _ppo(num_steps=25, minibatches=4, discount=0.95, reward_scale=0.2), 1_000_000, seeds=1
    ),
    "multiwalker": ExpertRecipe(
        _ppo(
            num_steps=32,
            epochs=8,
            learning_rate=1e-3,
            entropy=0.001,
            reward_scale=0.1,
            discount=0.98,
        ),
        1_000_000,
        seeds=1,
    ),
    "intersection-entities": ExpertRecipe(
        DQN(
            num_envs=64,
            batch=256,
            buffer=50_000,
            epsilon=0.5,
            final_epsilon=0.02,
            horizon_ends=True,
            rationality=200.0,
            network=_ATTENTION,
        ),
        1_000_000,
        seeds=1,
    ),
}
"""Game id to recipe. Other games, and other options of these, start from the recipe of the id or from the last one."""

OTHERS: dict[tuple[str, str], ExpertRecipe] = {
    ("gems", "maddpg"): ExpertRecipe(
        MADDPG(num_envs=32, num_steps=9, reward_scale=0.3, entropy=0.01, network=_NETWORK),
        400_000,
        ((0.6, "shaping=0.3"), (0.4, "")),
        seeds=1,
    ),
}
"""(game id, learner) to recipe, for learners that are not the game's usual one."""

EXPERT_LEARNERS = tuple(name for name in ALGORITHMS if name not in IMITATORS)
"""Learners that train experts: on the true reward."""

DRIVING = "driving"
"""The game whose experts are copied from logs first; see `mairl.recipes.driving`."""

EXACT: dict[str, DistilRecipe] = {"overcooked-cook5": DistilRecipe()}
"""Game ids whose expert is exact play copied into a network; PPO (with the recipe above) learns in them otherwise."""


def recipe_for(game: str, learner: str | None = None) -> ExpertRecipe:
    """The recipe of a game (id with or without options); a general one where there is none.

    Args:
        learner: one of `EXPERT_LEARNERS`, if not the game's usual one.

    Raises:
        Unsupported: another learner.
    """
    if learner is not None and learner not in EXPERT_LEARNERS:
        raise Unsupported(f"{learner!r} trains no experts: use one of {', '.join(EXPERT_LEARNERS)}")
    kind = game.partition(":")[0]
    general = ExpertRecipe(_ppo(num_steps=64, discount=0.99), 2_000_000)
    usual = RECIPES.get(game, RECIPES.get(kind, general))
    if learner is None or isinstance(usual.algorithm, type(make_algorithm(learner))):
        return usual
    if learner == "ppo":
        return general
    algorithm: Any = make_algorithm(learner)
    return OTHERS.get((game, learner), OTHERS.get((kind, learner), ExpertRecipe(algorithm, 2_000_000, seeds=1)))


def train_expert(
    game: str, *, seed: int = 0, budget: int | None = None, learner: str | None = None, progress: bool = False
) -> Learned:
    """Trains a fresh expert on the true reward (plus shaping, where the recipe has it).

    Args:
        game: id and options.
        seed: the first of the recipe's seeds.
        budget: environment steps (updates, where exact play is copied), if not the recipe's.
        learner: if not the game's usual one.

    Raises:
        Unsupported: learning broke off, for every seed, over a number that was not finite.
    """
    if game.partition(":")[0] == DRIVING and learner is None:
        world = make_game(game)
        assert isinstance(world, Driving)
        steps = None if budget is None else budget // 3
        lessons = None if budget is None or steps is None else budget - steps
        return train_driver(world, seed=seed, lessons=lessons, steps=steps, progress=progress)
    if game in EXACT and learner is None:
        return distil(game, EXACT[game], seed, budget)
    recipe = recipe_for(game, learner)
    budget = recipe.budget if budget is None else budget
    real = make_game(game)
    collection = recipe.algorithm.collection(real)
    algorithm = dataclasses.replace(recipe.algorithm, anneal_updates=max(1, budget // collection.size))
    result = None
    for share, options in recipe.stages:
        name = game + (("," if ":" in game else ":") + options if options else "")
        result = fit(
            algorithm,
            make_game(name),
            None,
            budget=max(1, int(share * budget)),
            seeds=range(seed, seed + recipe.seeds),
            episodes=0,
            select="last",
            start=None if result is None else result.state,
            progress=progress,
        )
    assert result is not None
    broken = {f.seed for f in result.failures}
    whole = [i for i, each in enumerate(result.seeds) if each not in broken]
    if recipe.seeds == 1 or not whole:
        return result.one()
    experts = [result.one(i) for i in whole]
    returns = [episode_returns(real, expert, 200, False, seed=99).mean() for expert in experts]
    return experts[int(np.argmax(returns))]


def episode_returns(game, expert: Learned, episodes: int, greedy: bool, seed: int = 1234) -> np.ndarray:
    """`[episode, agent]` true returns of the expert."""
    return play_whole(game, expert.policy, episodes, greedy=greedy, seed=seed).returns


def evidence(game: str, expert: Learned, wall_s: float, budget: int, seed: int, learner: str | None = None) -> dict:
    """What an expert reaches over 1,000 episodes (host games: 200), sampled and greedy, with provenance."""
    measured = {}
    real = make_game(game)
    for name, greedy in (("sampled", False), ("greedy", True)):
        returns = episode_returns(real, expert, 1000 if real.pure else 200, greedy)
        mean, interval = mean_interval(returns.mean(1))
        measured[name] = {"return_mean": mean, "return_ci95": interval, "per_agent": returns.mean(0).tolist()}
    command = f"python -m mairl.recipes.experts {game} -o FOLDER --seed {seed} --budget {budget}"
    copied = game in EXACT and learner is None
    recipe = recipe_for(game, learner)
    return {
        "game": game,
        "command": command + (f" --learner {learner}" if learner else ""),
        "seed": seed,
        "learner": "exact play, copied" if copied else type(recipe.algorithm).__name__,
        "updates" if copied else "env_steps_per_seed": budget,
        "seeds_trained": 1 if copied else recipe.seeds,
        "wall_s": wall_s,
        **measured,
        **provenance(),
    }


def main() -> None:
    """Trains one expert and writes it with its evidence."""
    parser = argparse.ArgumentParser(prog="python -m mairl.recipes.experts", description=main.__doc__)
    parser.add_argument("game")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--budget", type=int)
    parser.add_argument("--learner", choices=EXPERT_LEARNERS, help="if not the game's usual one")
    options = parser.parse_args()
    start = time.perf_counter()
    expert = train_expert(
        options.game,
        seed=options.seed,
        budget=options.budget,
        learner=options.learner,
        progress=sys.stderr.isatty(),
    )
    wall_s = time.perf_counter() - start
    expert.save(options.out)
    copied = EXACT.get(options.game) if options.learner is None else None
    budget = options.budget or (copied or recipe_for(options.game, options.learner)).budget
    facts = evidence(options.game, expert, wall_s, budget, options.seed, options.learner)
    (options.out / "evidence.json").write_text(json.dumps(facts, indent=1))
    for kind in ("sampled", "greedy"):
        print(f"{options.game}, {kind}: {facts[kind]['return_mean']:.2f} {facts[kind]['per_agent']}")


if __name__ == "__main__":
    main()
