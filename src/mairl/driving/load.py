"""From scenarios to a game of driving: by path, or made up."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp

from mairl.core.errors import InvalidGame
from mairl.driving.autopilot import autopilot
from mairl.driving.dynamics import Bicycle, DeltaLocal, Grid, InvertibleBicycle, Jerk
from mairl.driving.game import Driving
from mairl.driving.idm import Driver
from mairl.driving.lane_index import LaneConfig
from mairl.driving.observe import FULL, SMALL
from mairl.driving.prepare import WorldConfig
from mairl.driving.rewards import LANE_FEATURES, weights_of
from mairl.driving.road_grid import GridConfig
from mairl.driving.simulator import Rules, happened, start
from mairl.driving.ways import AHEAD
from mairl.driving.world import Slots, Worlds, worlds_of
from mairl.scenarios import store
from mairl.scenarios.generate import generate
from mairl.scenarios.schema import Scenario

MODELS = {"bicycle": Bicycle(), "invertible": InvertibleBicycle(), "jerk": Jerk(), "delta": DeltaLocal()}
"""Dynamics by the names that options use."""

GRIDS = {
    "bicycle": Grid(MODELS["bicycle"]),
    "invertible": Grid(MODELS["invertible"]),
    "jerk": Grid(MODELS["jerk"], (7, 13), (1.0, 1.0)),
    "delta": Grid(DeltaLocal(max_speed=30.0, max_aside=1.0, max_turn=1.0), (31, 3, 13), (1.0, 1.0, 1.5)),
}
"""Their grids of discrete actions."""

SIGHTS = {"small": SMALL, "full": FULL}


def driving(
    worlds: str = "generated",
    count: int = 16,
    seed: int = 0,
    agents: int = 0,
    others: int = 0,
    sight: Literal["small", "full"] = "small",
    reward: str = "shaped",
    dynamics: str = "bicycle",
    actions: Literal["grid", "continuous"] = "grid",
    outcome: Literal["remove", "stop", "ignore"] = "remove",
    horizon: int = 0,
    traffic: Literal["logs", "idm", "mobil"] = "logs",
    learners: int = 0,
    limit: float = 0.0,
    lanes: int = 0,
    links: bool = False,
    routes: bool = False,
    control: str = "all",
    way: bool = False,
    clock: bool = False,
) -> Driving:
    """The game that the id `driving` stands for.

    Args:
        worlds: a STORE of scenarios, or "generated".
        count: scenarios: of a STORE the first ones (0: all), or how many to make up.
        seed: of made-up scenarios: numbers `seed`, `seed` + 1 and so on.
        agents: places for driven vehicles; 0: as many as the scenarios need, at most 64.
        others: places for what replays its log; 0: as many as needed.
        sight: how much is seen: `mairl.driving.observe.SMALL` or `FULL`.
        reward: one of `mairl.driving.rewards.REWARDS`. "rtr-shaped" ends, as its paper has it, by `outcome` for whoever
            is 30 m/s slower or faster than the speed limit.
        dynamics: one of `MODELS`.
        actions: "grid": discrete; "continuous": vectors in [-1, 1].
        outcome: what follows on a goal, a collision or leaving the road.
        horizon: steps of an episode; 0: all that the logs have.
        traffic: "logs": who is not driven replays its log; "idm": vehicles that are not driven follow their paths at
            distances of their own; "mobil": and change lanes. `mairl.driving.game.Driving` takes a policy as well.
        learners: of the places for driven vehicles, those of whoever learns; 0: all.
        limit: speed limit where a map says none, m/s, for whoever asks for it; 0: it stays unknown.
        lanes: pieces of lanes that are seen; `mairl.driving.observe.Sight`.
        links: whether it is seen how these hang together.
        routes: with traffic "idm" or "mobil": whether vehicles whose logs show no way drive along the lanes.
        control: who may be driven: "all" vehicles that go somewhere, "sdc": the one that recorded, "predict": those
            that the source asks to predict. `mairl.driving.prepare.WorldConfig` takes ids of tracks as well.
        way: whether driven vehicles are told the way through the lanes to their goals; `mairl.driving.ways`.
        clock: whether the share of the episode that is over is seen.

    Raises:
        InvalidGame: an unknown name; `InvalidData`: a STORE that is none.
    """
    return driving_scenes(
        worlds,
        count,
        seed,
        agents,
        others,
        sight,
        reward,
        dynamics,
        actions,
        outcome,
        horizon,
        traffic,
        learners,
        limit,
        lanes,
        links,
        routes,
        control,
        way,
        clock,
    ).game


@dataclasses.dataclass(frozen=True)
class DrivingScenes:
    """A game of driving with what it was made of, for pictures and tables.

    Attributes:
        scenarios: in the order of the game's worlds.
        slots: who sits where in each.
        excluded: vehicles that start in an infraction and are left to their logs.
    """

    game: Driving
    scenarios: Sequence[Scenario]
    slots: list[Slots]
    excluded: int


def driving_scenes(
    worlds: str = "generated",
    count: int = 16,
    seed: int = 0,
    agents: int = 0,
    others: int = 0,
    sight: str = "small",
    reward: str = "shaped",
    dynamics: str = "bicycle",
    actions: str = "grid",
    outcome: Any = "remove",
    horizon: int = 0,
    traffic: str = "logs",
    learners: int = 0,
    limit: float = 0.0,
    lanes: int = 0,
    links: bool = False,
    routes: bool = False,
    control: str = "all",
    way: bool = False,
    clock: bool = False,
) -> DrivingScenes:
    """The game of `driving` with its scenarios; arguments and errors are the same."""
    if dynamics not in MODELS:
        raise InvalidGame(f"there are no dynamics {dynamics!r}; there are {', '.join(MODELS)}")
    if sight not in SIGHTS:
        raise InvalidGame(f"there is no sight {sight!r}; there are {', '.join(SIGHTS)}")
    if outcome not in ("remove", "stop", "ignore"):
        raise InvalidGame(f"outcome is {outcome!r}, expected remove, stop or ignore")
    if actions not in ("grid", "continuous"):
        raise InvalidGame(f"actions are {actions!r}, expected grid or continuous")
    model = MODELS[dynamics]
    if actions == "grid":
        model = GRIDS[dynamics]
    scenarios = scenarios_of(worlds, count, seed)
    grid = GridConfig() if sight == "full" else GridConfig(edges=64, others=max(SMALL.others, 32))
    weights = weights_of(reward)
    paced = reward == "rtr-shaped"
    rules = Rules(at_goal=outcome, at_collision=outcome, at_off_road=outcome, at_off_pace=outcome, off_pace=paced)
    if routes and traffic not in ("idm", "mobil"):
        raise InvalidGame(f"routes are for traffic=idm or traffic=mobil, not for traffic={traffic}")
    asked = routes or lanes > 0 or any(getattr(weights, name) for name in LANE_FEATURES)
    index = LaneConfig(near=max(lanes, LaneConfig().near), limit=limit) if asked else None
    config = WorldConfig(num_agents=agents, num_others=others, control=control, grid=grid, lanes=index, ways=way)
    built, slots, excluded = load(scenarios, config, rules)
    who = (
        autopilot(built, Driver(changes=traffic == "mobil", routes=routes)) if traffic in ("idm", "mobil") else traffic
    )
    seen = dataclasses.replace(SIGHTS[sight], lanes=lanes, links=links, way=AHEAD if way else (), clock=clock)
    game = Driving(built, model, rules, seen, weights, horizon, who, learners)
    return DrivingScenes(game, scenarios, slots, excluded)


def scenarios_of(worlds: str, count: int, seed: int) -> Sequence[Scenario]:
    """Scenarios of a STORE, or made-up ones; see `driving`."""
    if worlds == "generated":
        if count < 1:
            raise InvalidGame(f"count must be at least 1 where scenarios are made up, got {count}")
        return [generate(seed + k) for k in range(count)]
    found = store.open(worlds)
    return [found[k] for k in range(min(count, len(found)) if count else len(found))]


def load(
    scenarios: Sequence[Scenario], config: WorldConfig = WorldConfig(), rules: Rules = Rules()
) -> tuple[Worlds, list[Slots], int]:
    """Worlds, who sits where, and how many vehicles were left to replay their logs because they start in an
    infraction: what nobody can avoid is nobody's fault.

    Raises:
        InvalidGame: as `worlds_of`, or nobody is left to drive.
    """
    worlds, slots = worlds_of(scenarios, config)
    fine = fine_starts(worlds, rules)
    count = int(jnp.sum(worlds.driven & ~fine))
    worlds = eqx.tree_at(lambda w: w.driven, worlds, worlds.driven & fine)
    if not bool(jnp.any(worlds.driven)):
        raise InvalidGame(f"all {count} vehicles that could be driven start in a collision or off the road")
    return worlds, slots, count


def fine_starts(worlds: Worlds, rules: Rules = Rules()):
    """`[world, agent]`: who does not start in a collision or off the road."""

    @eqx.filter_jit
    def check(worlds: Worlds):
        def one(world):
            state = start(worlds, world)
            events, _ = happened(worlds, rules, state, state)
            return ~(events.collision | events.off_road)

        return jax.lax.map(one, jnp.arange(len(worlds)))

    return check(worlds)
