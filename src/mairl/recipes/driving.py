"""Experts that drive: first taught to retrace logs, then improved by PPO in self-play.

python -m mairl.recipes.driving -o FOLDER [--data STORE]     an expert, and experts.json beside it
python -m mairl.recipes.driving -o FOLDER … --measure        the rates of an expert that is there, measured again

All vehicles share one network. In the first stage it drives, and is told at every step what would keep each vehicle to
its log's path (DAgger; the teacher sees the logs, the network only what vehicles see). The second is PPO, in the same
worlds, with everybody who can be driven driven by the network: on the shaped reward, or, where vehicles see their way
(`--guided`), on the careful one.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import pyarrow.parquet as pq

from mairl.algorithms.bc import BC
from mairl.algorithms.dagger import DAgger
from mairl.algorithms.fit import Fit, fit
from mairl.algorithms.ppo import PPO
from mairl.algorithms.run_folder import provenance
from mairl.core.errors import InvalidData
from mairl.core.learned import Learned
from mairl.core.stacked import one_of
from mairl.driving.game import Driving
from mairl.driving.load import load, scenarios_of
from mairl.driving.observe import Sight
from mairl.driving.prepare import WorldConfig
from mairl.driving.record import retracing_actions
from mairl.driving.road_grid import GridConfig
from mairl.driving.ways import AHEAD
from mairl.metrics.driving import driving_metrics
from mairl.networks.build import NetworkConfig

NETWORK = NetworkConfig(kind="mlp", width=192, depth=2, activation="relu", shared=True)

NETWORKS = {"mlp": NETWORK, "sets": dataclasses.replace(NETWORK, kind="sets")}
"""What is seen in one row, or each kind of entity as a set (`mairl.networks.set_encoder`); by the names of options."""

CLONING = BC(learning_rate=1e-3, weight_decay=1e-2, batch=96, network=NETWORK)
"""To clone recorded logs with."""


@dataclasses.dataclass(frozen=True)
class DrivingRecipe:
    """How an expert is trained.

    Attributes:
        teaching: the learner of the first stage; its rate falls over `lessons`.
        lessons: of the first stage, environment steps (of all vehicles of a world at once); as all numbers of steps
            for worlds of `full` driven vehicles or fewer: of fuller ones as many fewer make as many vehicles' steps.
        warm_up: PPO iterations in which the critic learns what the taught policy earns; the policy is then put back.
        driving: the learner of the second stage.
        steps: of PPO, environment steps.
        full: driven vehicles a world, mean over worlds.
    """

    teaching: DAgger = DAgger(
        teacher=retracing_actions,
        copying=BC(learning_rate=1e-3, weight_decay=1e-3, batch=128, updates=64, network=NETWORK),
        share=0.4,
        num_envs=48,
        num_steps=16,
        memory=15_360,
    )
    lessons: int = 380_000
    warm_up: int = 15
    driving: PPO = PPO(
        discount=0.98,
        learning_rate=1e-4,
        entropy=0.001,
        epochs=2,
        minibatches=4,
        share=0.5,
        num_envs=64,
        num_steps=32,
        network=NETWORK,
    )
    steps: int = 200_000
    full: float = 13.0

    def amounts(self, game: Driving) -> tuple[int, int]:
        """Lessons and steps for the worlds of a game."""
        share = min(1.0, self.full / max(1.0, driven(game)))
        return round(share * self.lessons), round(share * self.steps)

    def with_network(self, network: NetworkConfig) -> DrivingRecipe:
        """The same with another network."""
        copying = dataclasses.replace(self.teaching.copying, network=network)
        teaching = dataclasses.replace(self.teaching, copying=copying)
        return dataclasses.replace(self, teaching=teaching, driving=dataclasses.replace(self.driving, network=network))


GUIDED_RECIPE = DrivingRecipe(
    lessons=614_400, steps=131_072, driving=dataclasses.replace(DrivingRecipe().driving, discount=0.99)
)
"""Of vehicles that see their way: taught, they reach nine goals of ten, so that what PPO earns lies farther ahead."""


def recipe_of(game: Driving) -> DrivingRecipe:
    """The recipe for a game, by what vehicles see in it."""
    return GUIDED_RECIPE if game.sight.way else DrivingRecipe()


def driven(game: Driving) -> float:
    """Vehicles that are driven in a world, mean over worlds."""
    return float(jnp.mean(jnp.sum(game.worlds.driven, axis=1)))


def train_driver(
    game: Driving,
    recipe: DrivingRecipe | None = None,
    *,
    seed: int = 0,
    lessons: int | None = None,
    steps: int | None = None,
    out: Path | None = None,
    resume: bool = False,
    apart: Literal["seeds", "games"] = "seeds",
    progress: bool = False,
) -> Learned:
    """An expert for all vehicles of a game.

    Args:
        recipe: by default `recipe_of` the game.
        lessons, steps: of both stages, if not the recipe's (`DrivingRecipe.amounts`). 0 steps: the first stage only.
        out: folder of both stages' runs, so that they can be resumed.
        resume: go on from what `out` has.
        apart: "games" lets all devices share the games of the PPO stage; see `fit`.
    """
    if out is not None and (out / PPO_RUN).exists():
        raise InvalidData(f"{out / PPO_RUN} exists: choose another folder, or remove it")
    recipe = recipe_of(game) if recipe is None else recipe
    usual_lessons, usual_steps = recipe.amounts(game)
    lessons = usual_lessons if lessons is None else lessons
    steps = usual_steps if steps is None else steps
    common: dict[str, Any] = {"seeds": [seed], "select": "last", "episodes": 0, "apart": apart, "progress": progress}
    taught = _taught(game, recipe.teaching, lessons, out, resume, common)
    if not steps:
        return one_of(taught, 0)
    size = recipe.driving.num_envs * recipe.driving.num_steps
    ppo = dataclasses.replace(recipe.driving, anneal_updates=max(1, steps // size))
    folder = None if out is None else out / PPO_RUN
    start = None
    if not (resume and folder is not None and folder.with_name(folder.name + ".partial").exists()):
        warm = fit(ppo, game, budget=size * recipe.warm_up, evaluations=1, **common)
        start = _with_policy(warm, taught)
    result = fit(ppo, game, budget=steps, evaluations=20, start=start, out=folder, resume=resume, **common)
    return result.one()


TAUGHT_RUN, PPO_RUN = "taught", "ppo"
"""The stages' run folders."""


def learning_seconds(out: Path) -> float:
    """Wall time of both stages' runs, however many commands they took."""
    found = [out / stage / "metrics.parquet" for stage in (TAUGHT_RUN, PPO_RUN)]
    return sum(max(pq.read_table(path)["wall_s"].to_pylist()) for path in found if path.exists())


def _taught(game: Driving, teaching: DAgger, lessons: int, out: Path | None, resume: bool, common) -> Learned:
    """The first stage, unless that has been done."""
    folder = None if out is None else out / TAUGHT_RUN
    if resume and folder is not None and folder.exists():
        return Learned.load(folder / "learned")
    blocks = max(1, lessons // (teaching.num_envs * teaching.num_steps))
    copying = dataclasses.replace(teaching.copying, anneal_steps=blocks * teaching.copying.updates)
    teaching = dataclasses.replace(teaching, copying=copying)
    return fit(teaching, game, budget=lessons, evaluations=10, out=folder, resume=resume, **common).learned


def _with_policy(warm: Fit, taught: Learned):
    """The critic of one state and the policy of another, its optimiser as at the beginning."""
    state = eqx.tree_at(lambda s: s.policy, warm.state, taught.policy)
    fresh = jax.tree.map(lambda x: jnp.zeros_like(x) if eqx.is_array(x) else x, state.opt_state)
    return eqx.tree_at(lambda s: s.opt_state, state, fresh)


WOMD = ("waymo", "gpudrive")
"""Formats that scenes of the Waymo Open Motion Dataset come in."""

SIGHT = Sight(partners=8, edges=32, others=32)
"""What these experts see: a small set."""

GUIDED = dataclasses.replace(SIGHT, way=AHEAD, clock=True)
"""And what guided ones see: their way through the lanes, and the time that is left for it."""


def driving_game(
    data: str, count: int, seed: int, agents: int, others: int, sight: Sight = SIGHT
) -> tuple[Driving, int, str]:
    """Worlds of a STORE or made up (see `mairl.driving.load.scenarios_of`), with what experts see, and are paid; how
    many vehicles start in an infraction and are not driven; and what experts.json calls such worlds."""
    scenarios = scenarios_of(data, count, seed)
    grid = GridConfig(edges=64, others=sight.others)
    config = WorldConfig(num_agents=agents, num_others=others, grid=grid, ways=bool(sight.way))
    worlds, _, excluded = load(scenarios, config)
    kinds = sorted({"womd" if s.source in WOMD else s.source for s in scenarios})
    reward = "careful" if sight.way else "shaped"
    return Driving(worlds, sight=sight, reward=reward), excluded, "+".join(kinds)


def row(kind: str, game: Driving, learned: Learned, steps: int, wall_s: float, **facts) -> dict[str, Any]:
    """A row of experts.json: the sampled policy's rates over ten rollouts of every world."""
    runs = [driving_metrics(game, learned.policy, seed) for seed in range(10)]

    def mean(name: str) -> float:
        return float(sum(run[name] for run in runs) / len(runs))

    return {
        "worlds": kind,
        "places": game.num_agents,
        "controlled_agents": runs[0]["controlled_agents"],
        "goal_rate": mean("goal_rate"),
        "collision_rate": mean("collision_rate"),
        "offroad_rate": mean("off_road_rate"),
        "infraction_rate": mean("infraction_rate"),
        "steps": steps,
        "device": jax.devices()[0].device_kind,
        "wall_s": wall_s,
        **facts,
    }


def main() -> None:
    """Trains an expert, measures it where it was trained, and on worlds or with vehicles that it has not driven, and
    writes both down."""
    parser = argparse.ArgumentParser(prog="python -m mairl.recipes.driving", description=main.__doc__)
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder for the expert; experts.json grows there")
    parser.add_argument("--data", default="generated", help="a STORE of scenarios; default: made-up ones")
    parser.add_argument("--count", type=int, default=64, help="worlds to train in; 0: all of a STORE")
    parser.add_argument("--agents", type=int, default=16, help="places for driven vehicles; 0: for all")
    parser.add_argument("--others", type=int, default=16, help="places for what replays its log")
    parser.add_argument("--lessons", type=int, help="steps of the first stage; default: by vehicles a world")
    parser.add_argument("--steps", type=int, help="steps of PPO; default: by vehicles a world")
    parser.add_argument("--network", choices=tuple(NETWORKS), default="mlp", help="sets: what is seen, as sets")
    parser.add_argument("--guided", action="store_true", help="vehicles see their way through the lanes, and a clock")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--apart", choices=("seeds", "games"), default="seeds", help="games: all devices share them")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--measure", action="store_true", help="no training: measure the expert that FOLDER has, again")
    options = parser.parse_args()
    made_up = options.data == "generated"
    sight = GUIDED if options.guided else SIGHT
    game, excluded, name = driving_game(
        options.data, options.count, options.seed, options.agents, options.others, sight
    )
    usual_lessons, usual_steps = recipe_of(game).amounts(game)
    options.lessons = usual_lessons if options.lessons is None else options.lessons
    options.steps = usual_steps if options.steps is None else options.steps
    path, expert = options.out / "experts.json", options.out / f"expert-{name}"
    rows = json.loads(path.read_text()) if path.exists() else []
    before, kept = [old for old in rows if old["worlds"] == name], [old for old in rows if old["worlds"] != name]
    if options.measure:
        if not before or not expert.exists():
            parser.error(f"{options.out} has no expert for these worlds: train one without --measure")
        if before[0].get("guided", False) != options.guided:
            parser.error(f"this expert was trained {'without' if options.guided else 'with'} --guided: measure it so")
        learned = Learned.load(expert)
    else:
        learned = train_driver(
            game,
            recipe_of(game).with_network(NETWORKS[options.network]),
            seed=options.seed,
            lessons=options.lessons,
            steps=options.steps,
            out=options.out / f"run-{name}",
            resume=options.resume,
            apart=options.apart,
            progress=True,
        )
        learned.save(expert)
    wall_s = before[0]["wall_s"] if options.measure else learning_seconds(options.out / f"run-{name}")
    data = "" if options.data == "generated" else f" --data {Path(options.data).name}"
    names = ("count", "agents", "others", "lessons", "steps", "network", "seed")
    command = " ".join(
        [
            f"python -m mairl.recipes.driving -o FOLDER{data}",
            *(f"--{n} {getattr(options, n)}" for n in names),
            *(["--guided"] if options.guided else []),
        ]
    )
    facts = {"command": command, "guided": options.guided, **provenance()}
    # Vehicles' steps: places without a vehicle are not counted.
    steps = round((options.lessons + options.steps) * driven(game))
    shared = {"excluded_agents": excluded, "num_worlds": len(game.worlds), **facts}
    made = [row(name, game, learned, steps, wall_s, held_out=False, **shared)]
    # And worlds that it has not seen; or those of the STORE with everybody driven who goes somewhere.
    first, agents = (options.seed + 10_000, options.agents) if made_up else (options.seed, 0)
    further, left, _ = driving_game(options.data, options.count, first, agents, options.others, sight)
    if made_up or further.num_agents > game.num_agents:
        shared |= {"excluded_agents": left, "num_worlds": len(further.worlds)}
        made.append(row(name, further, learned, steps, wall_s, held_out=made_up, **shared))
    path.write_text(json.dumps(kept + made, indent=1))
    for each in made:
        where = "unseen worlds" if each["held_out"] else "training worlds"
        print(
            f"{name}, {where}, {each['places']} places: goals {each['goal_rate']:.3f}, infractions "
            f"{each['infraction_rate']:.3f} of {each['controlled_agents']} vehicles"
        )


if __name__ == "__main__":
    main()
