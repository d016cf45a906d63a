"""Scenarios on the device: logs, goals, lights and indexed maps of several scenes, padded to common sizes.

Slots are the places for whatever moves. The first `num_agents` are for vehicles that may be driven, best candidates
first; the others replay the log. Metres, seconds and radians in each scenario's own frame.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Int8

from mairl.core.arrays import on_device
from mairl.core.errors import InvalidData, InvalidGame
from mairl.driving.lane_index import LaneIndex, joined_lanes, lane_index
from mairl.driving.prepare import LOG, Prepared, WorldConfig, levelled, prepared
from mairl.driving.road_grid import RoadGrid, joined, road_grid
from mairl.driving.segments import segments
from mairl.driving.ways import Ways, ways_of
from mairl.scenarios.schema import Scenario

MOST = 64
"""Places for driven vehicles, unless more are asked for."""


class Worlds(eqx.Module):
    """Several scenes.

    Attributes:
        log: `LOG` of each slot at each step; 0 where not seen.
        length, width, height: of the boxes.
        kind: an `AgentType`; 0 in empty slots as well.
        driven: who may be driven.
        goal: `GOAL`.
        start: the step at which driving begins.
        stop: `STOP` lines of lights, and when they are `red`.
        grid: the maps.
        has_edges: False: the map has no road edges, nobody can be off the road.
        dt: seconds of a step.
        lanes: the maps' lanes as a graph; None: not asked for.
        ways: through the lanes from where each vehicle starts to its goal; None: not asked for.
    """

    log: Float[Array, "world time log slot"]
    length: Float[Array, "world slot"]
    width: Float[Array, "world slot"]
    height: Float[Array, "world slot"]
    kind: Int8[Array, "world slot"]
    driven: Bool[Array, "world agent"]
    goal: Float[Array, "world goal agent"]
    start: Int[Array, " world"]
    stop: Float[Array, "world stop light"]
    red: Bool[Array, "world time light"]
    grid: RoadGrid
    has_edges: Bool[Array, " world"]
    dt: float = eqx.field(static=True)
    lanes: LaneIndex | None = None
    ways: Ways | None = None

    def __len__(self) -> int:
        return self.log.shape[0]

    @property
    def num_agents(self) -> int:
        """Places for driven vehicles."""
        return self.driven.shape[1]

    @property
    def num_slots(self) -> int:
        """Places for whatever moves."""
        return self.log.shape[3]

    @property
    def num_steps(self) -> int:
        """Steps of driving that every log, padded, has room for."""
        return self.log.shape[1] - 1 - int(np.max(np.asarray(self.start)))

    @property
    def num_bytes(self) -> int:
        """On the device."""
        arrays = [self.log, self.length, self.width, self.height, self.kind, self.driven, self.goal, self.start]
        arrays += [self.stop, self.red, self.grid.origin, self.grid.row, self.grid.edges, self.grid.others]
        parts = [part.num_bytes for part in (self.lanes, self.ways) if part is not None]
        return sum(x.nbytes for x in arrays) + sum(parts)


@dataclasses.dataclass(frozen=True)
class Slots:
    """Who sits where, on the host.

    Attributes:
        scenario_id: the scene.
        track: the scenario's index of the track in each slot; -1: empty.
        candidates: vehicles that could be driven; those beyond the places for them replay their logs.
        left_out: tracks for which there was no place.
    """

    scenario_id: str
    track: np.ndarray
    candidates: int
    left_out: int


def worlds_of(scenarios: Sequence[Scenario], config: WorldConfig = WorldConfig()) -> tuple[Worlds, list[Slots]]:
    """Worlds of scenarios, in their order, and who sits where.

    Raises:
        InvalidData: a scenario that has ended before it starts; `InvalidGame`: no scenarios, or nothing to drive.
    """
    if not scenarios:
        raise InvalidGame("no scenarios: a world needs at least one")
    scenarios = [levelled(scenario) for scenario in scenarios]
    scenes = [prepared(scenario, config) for scenario in scenarios]
    candidates = [len(scene.candidates) for scene in scenes]
    num_agents = config.num_agents or min(MOST, max(candidates))
    if num_agents == 0:
        raise InvalidGame(
            f"none of the {len(scenes)} scenarios has a vehicle that is there at its start and goes farther than "
            f"{config.travel:g} m" + ("" if config.control == "all" else f" among those of control={config.control!r}")
        )
    others = [scene.log.shape[2] - min(count, num_agents) for scene, count in zip(scenes, candidates, strict=True)]
    num_others = config.num_others or max(others)
    steps = config.steps or max(scene.log.shape[0] - 1 - scene.start for scene in scenes)
    time = max(scene.start for scene in scenes) + steps + 1
    lights = max(len(scene.stop) for scene in scenes)
    placed = [_placed(scene, num_agents, num_others) for scene in scenes]

    def stacked(values, dtype: Any) -> Array:
        return on_device(np.stack(values), dtype)

    def each(make, dtype: Any = np.float32) -> Array:
        return stacked([make(scene, slots) for scene, slots in zip(scenes, placed, strict=True)], dtype)

    def log(scene: Prepared, slots: Slots) -> np.ndarray:
        found = np.zeros((time, len(LOG), num_agents + num_others))
        rows = min(time, scene.log.shape[0])
        found[:rows, :, slots.track >= 0] = scene.log[:rows][:, :, slots.track[slots.track >= 0]]
        return found

    def of_slots(values: np.ndarray, slots: Slots) -> np.ndarray:
        return np.where(slots.track >= 0, values[np.maximum(slots.track, 0)], 0)

    def driven(scene: Prepared, slots: Slots) -> np.ndarray:
        return np.arange(num_agents) < min(slots.candidates, num_agents)

    def goal(scene: Prepared, slots: Slots) -> np.ndarray:
        return np.stack([of_slots(part, slots)[:num_agents] for part in scene.goal])

    def stop(scene: Prepared, slots: Slots) -> np.ndarray:
        return np.pad(scene.stop, [(0, lights - len(scene.stop)), (0, 0)]).T

    def red(scene: Prepared, slots: Slots) -> np.ndarray:
        rows = min(time, scene.red.shape[0])
        return np.pad(scene.red[:rows], [(0, time - rows), (0, lights - scene.red.shape[1])])

    grids = [_grid(scenario, config) for scenario in scenarios]
    lanes = None
    if config.lanes is not None:
        lanes = joined_lanes([lane_index(s.map, g, config.lanes) for s, g in zip(scenarios, grids, strict=True)])
    worlds = Worlds(
        log=each(log),
        length=each(lambda scene, slots: of_slots(scene.size[:, 0], slots)),
        width=each(lambda scene, slots: of_slots(scene.size[:, 1], slots)),
        height=each(lambda scene, slots: of_slots(scene.size[:, 2], slots)),
        kind=each(lambda scene, slots: of_slots(scene.kind, slots), np.int8),
        driven=each(driven, bool),
        goal=each(goal),
        start=stacked([scene.start for scene in scenes], np.int32),
        stop=each(stop),
        red=each(red, bool),
        grid=joined(grids),
        has_edges=stacked([len(s.map.edges) > 0 for s in scenarios], bool),
        dt=config.dt,
        lanes=lanes,
        ways=ways_of([s.map.lanes for s in scenarios], scenes, num_agents) if config.ways else None,
    )
    return worlds, placed


def _grid(scenario: Scenario, config: WorldConfig) -> RoadGrid:
    try:
        return road_grid(segments(scenario.map, config.tolerance), config.grid)
    except InvalidData as error:
        raise InvalidData(f"{scenario.scenario_id}: {error}") from error


def _placed(scene: Prepared, num_agents: int, num_others: int) -> Slots:
    driven, spare = scene.candidates[:num_agents], scene.candidates[num_agents:]
    rest = np.concatenate([spare, scene.order])
    track = np.full(num_agents + num_others, -1)
    track[: len(driven)] = driven
    # Places for driven vehicles that stay empty are filled with what replays its log, for whom they serve as well.
    free = np.concatenate([np.arange(num_agents, num_agents + num_others), np.arange(len(driven), num_agents)])
    fits = min(len(free), len(rest))
    track[free[:fits]] = rest[:fits]
    return Slots(scene.scenario_id, track, len(scene.candidates), len(rest) - fits)
