"""Scenarios on the device: logs, goals, lights and indexed maps of several scenes, padded to common sizes.

Slots are the places for whatever moves. The first `num_agents` are for vehicles that may be driven, best candidates
first; the others replay the log. Metres, seconds and radians in each scenario's own frame.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Int8

from mairl.core.arrays import on_device
from mairl.core.errors import InvalidData, InvalidGame
from mairl.driving.lane_index import LaneConfig, LaneIndex, joined_lanes, lane_index
from mairl.driving.road_grid import GridConfig, RoadGrid, joined, road_grid
from mairl.driving.segments import segments
from mairl.scenarios.schema import USUAL_SIZE, AgentType, Polylines, Scenario, SignalState

LOG = ("x", "y", "z", "heading", "cos", "sin", "vx", "vy", "valid")
"""Of a logged slot: the middle of its box, where it points, cosine and sine of that, its velocity, and 1 where it was
seen."""

GOAL = ("x", "y", "z", "heading", "speed")
"""Of a goal: the last logged motion."""

STOP = ("x", "y", "ux", "uy", "half_width")
"""Of a stop line: its middle, the driving direction of its lane, half its width."""

MOST = 64
"""Places for driven vehicles, unless more are asked for."""

CONTROL = ("all", "sdc", "predict")
"""Who may be driven, by the names that options use: every vehicle that goes somewhere, the recording one, those that
the source asks to predict."""

RED = (SignalState.STOP, SignalState.ARROW_STOP)


@dataclasses.dataclass(frozen=True)
class WorldConfig:
    """What of a scenario becomes a world.

    Attributes:
        num_agents: places for driven vehicles; 0: as many as the scene with most of them has, up to `MOST`.
        num_others: places for what replays its log; 0: as many as needed.
        dt: seconds of a step; logs of another step are interpolated.
        start: the log's step (of `dt`) at which driving begins; -1: the scenario's current one.
        steps: of a world after its start; logs that end sooner keep what was seen last as gone. 0: the longest log's.
        travel: vehicles whose goal is nearer than this at the start are not driven, metres.
        control: who may be driven: one of `CONTROL`, or by scenario id the ids of tracks, which then take the first
            places in that order (in scenarios that it does not name: everybody).
        grid: how the map is indexed.
        tolerance: of thinned map lines, metres.
        lanes: how the graph of lanes is indexed; None: not at all, for whoever needs no lanes.
    """

    num_agents: int = 0
    num_others: int = 0
    dt: float = 0.1
    start: int = 0
    steps: int = 0
    travel: float = 2.0
    control: str | Mapping[str, Sequence[str]] = "all"
    grid: GridConfig = GridConfig()
    tolerance: float = 0.05
    lanes: LaneConfig | None = None

    def __post_init__(self):
        for name, least in (("num_agents", 0), ("num_others", 0), ("start", -1), ("steps", 0)):
            if getattr(self, name) < least:
                raise InvalidGame(f"{name} must be at least {least}, got {getattr(self, name)}")
        for name in ("dt", "tolerance"):
            if not getattr(self, name) > 0:
                raise InvalidGame(f"{name} must be positive, got {getattr(self, name):g}")
        if isinstance(self.control, str) and self.control not in CONTROL:
            raise InvalidGame(
                f"control is {self.control!r}, expected {', '.join(CONTROL)}, or ids of tracks by scenario"
            )


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
        return sum(x.nbytes for x in arrays) + (0 if self.lanes is None else self.lanes.num_bytes)


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
    scenes = [_scene(scenario, config) for scenario in scenarios]
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

    def log(scene: _Scene, slots: Slots) -> np.ndarray:
        found = np.zeros((time, len(LOG), num_agents + num_others))
        rows = min(time, scene.log.shape[0])
        found[:rows, :, slots.track >= 0] = scene.log[:rows][:, :, slots.track[slots.track >= 0]]
        return found

    def of_slots(values: np.ndarray, slots: Slots) -> np.ndarray:
        return np.where(slots.track >= 0, values[np.maximum(slots.track, 0)], 0)

    def driven(scene: _Scene, slots: Slots) -> np.ndarray:
        return np.arange(num_agents) < min(slots.candidates, num_agents)

    def goal(scene: _Scene, slots: Slots) -> np.ndarray:
        return np.stack([of_slots(part, slots)[:num_agents] for part in scene.goal])

    def stop(scene: _Scene, slots: Slots) -> np.ndarray:
        return np.pad(scene.stop, [(0, lights - len(scene.stop)), (0, 0)]).T

    def red(scene: _Scene, slots: Slots) -> np.ndarray:
        rows = min(time, scene.red.shape[0])
        return np.pad(scene.red[:rows], [(0, time - rows), (0, lights - scene.red.shape[1])])

    grids = [road_grid(segments(s.map, config.tolerance), config.grid) for s in scenarios]
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
    )
    return worlds, placed


def levelled(scenario: Scenario) -> Scenario:
    """The scenario; flat, if its log has heights and its map has none, or the other way round: nobody would be on the
    level of any road."""
    road, tracks = scenario.map, scenario.tracks
    lines = ("edges", "lines", "crosswalks", "speed_bumps", "driveways")
    known = {group.z_known for group in (road.lanes.centre, *(getattr(road, n) for n in lines)) if len(group)}
    if known <= {tracks.z_known}:
        return scenario

    def flat(points: np.ndarray) -> np.ndarray:
        return points * np.array([1, 1, 0], points.dtype)

    def laid(group: Polylines) -> Polylines:
        return dataclasses.replace(group, points=flat(group.points))

    flat_road = dataclasses.replace(
        road,
        lanes=dataclasses.replace(road.lanes, centre=laid(road.lanes.centre)),
        stop_signs=dataclasses.replace(road.stop_signs, position=flat(road.stop_signs.position)),
        **{name: laid(getattr(road, name)) for name in lines},
    )
    flat_tracks = dataclasses.replace(tracks, position=flat(tracks.position))
    return dataclasses.replace(scenario, map=flat_road, tracks=flat_tracks)


def drivable(scenario: Scenario, config: WorldConfig = WorldConfig()) -> int:
    """How many vehicles of a scenario could be driven.

    Raises:
        InvalidData: the log has ended before it starts.
    """
    return len(_scene(scenario, config).candidates)


@dataclasses.dataclass(frozen=True)
class _Scene:
    """One scenario at the wanted step, before slots are given.

    Attributes:
        log: `[time, LOG, track]`.
        candidates: tracks that may be driven, the most interesting first.
        order: the other tracks, nearest to those first.
        goal: `[GOAL, track]`.
    """

    scenario_id: str
    log: np.ndarray
    size: np.ndarray
    kind: np.ndarray
    candidates: np.ndarray
    order: np.ndarray
    goal: np.ndarray
    start: int
    stop: np.ndarray
    red: np.ndarray


def _scene(scenario: Scenario, config: WorldConfig) -> _Scene:
    tracks = scenario.tracks
    log = resampled(_log(scenario), scenario.dt, config.dt)
    ratio = scenario.dt / config.dt
    start = round(scenario.current * ratio) if config.start < 0 else config.start
    if start >= log.shape[0] - 1:
        raise InvalidData(
            f"{scenario.scenario_id}: driving would begin at step {start}, and the log ends at step {log.shape[0] - 1}"
        )
    valid = log[:, LOG.index("valid")] > 0
    last = valid.shape[0] - 1 - np.argmax(valid[::-1], axis=0)
    final = log[last, :, np.arange(log.shape[2])].T
    end = dict(zip(LOG, final, strict=True))
    goal = np.stack([*final[:4], end["vx"] * end["cos"] + end["vy"] * end["sin"]])
    begin = log[start]
    way = np.hypot(goal[0] - begin[0], goal[1] - begin[1])
    may = (tracks.type == AgentType.VEHICLE) & valid[start] & (last > start) & (way > config.travel)
    candidates, order = _ranked(scenario, begin, valid[start], may & _controlled(scenario, config.control))
    if isinstance(config.control, Mapping) and scenario.scenario_id in config.control:
        candidates = _named(scenario, config.control[scenario.scenario_id], may, config.travel)
    order = order[np.isin(order, np.flatnonzero(valid[start:].any(axis=0)))]
    stop, red = _lights(scenario, log.shape[0], config.dt)
    return _Scene(scenario.scenario_id, log, _sizes(scenario), tracks.type, candidates, order, goal, start, stop, red)


def _log(scenario: Scenario) -> np.ndarray:
    """`[time, LOG, track]`, float64."""
    t = scenario.tracks
    direction = t.heading, np.cos(t.heading), np.sin(t.heading)
    columns = [*np.moveaxis(t.position, -1, 0), *direction, *np.moveaxis(t.velocity, -1, 0), t.valid]
    return np.stack([np.where(t.valid, c, 0).T for c in columns], 1).astype(np.float64)


def resampled(log: np.ndarray, dt: float, wanted: float) -> np.ndarray:
    """A log `[time, LOG, track]` with another step: straight lines between steps that were both seen, else not seen."""
    if abs(dt - wanted) < 1e-6:
        return log
    count = int(np.floor((len(log) - 1) * dt / wanted + 1e-6)) + 1
    at = np.arange(count) * wanted / dt
    near = np.round(at)
    at = np.where(np.abs(at - near) < 1e-6, near, at)
    low = np.floor(at).astype(int)
    high = np.minimum(np.ceil(at).astype(int), len(log) - 1)
    share = (at - low)[:, None, None]
    a, b = log[low], log[high]
    mixed = (1 - share) * a + share * b
    # Headings go the shorter way round.
    turn = (b[:, 3] - a[:, 3] + np.pi) % (2 * np.pi) - np.pi
    mixed[:, 3] = a[:, 3] + share[:, 0] * turn
    mixed[:, 4], mixed[:, 5] = np.cos(mixed[:, 3]), np.sin(mixed[:, 3])
    seen = (a[:, -1] > 0) & (b[:, -1] > 0)
    mixed[:, -1] = seen
    return np.where(seen[:, None], mixed, 0.0)


def _sizes(scenario: Scenario) -> np.ndarray:
    """Length, width and height of each track: the middle of those logged, usual ones where there are none."""
    t = scenario.tracks
    usual = np.array([USUAL_SIZE[AgentType(k)] for k in t.type]).reshape(-1, 3)
    logged = np.ma.median(np.ma.array(t.size, mask=np.repeat(~t.valid[..., None], 3, -1)), axis=1).filled(0.0)
    return np.where(t.size_known & (logged > 0), logged, usual)


def _ranked(scenario: Scenario, begin: np.ndarray, there: np.ndarray, may: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Candidates: the recording vehicle, those to predict, then by nearness to the former; and all others by nearness
    to the first of them."""
    sdc = scenario.roles.sdc
    first = np.flatnonzero(may)[0] if may.any() else 0
    centre = sdc if sdc is not None and there[sdc] else first
    far = np.hypot(begin[0] - begin[0, centre], begin[1] - begin[1, centre]) if begin.shape[1] else np.zeros(0)
    wanted = np.where(np.arange(len(may)) == sdc, 0, np.where(scenario.roles.predict, 1, 2))
    order = np.lexsort((far, wanted))
    candidates = order[may[order]]
    rest = np.lexsort((far, ~there))
    return candidates, rest[~may[rest]]


def _controlled(scenario: Scenario, control: str | Mapping[str, Sequence[str]]) -> np.ndarray:
    """Which tracks `WorldConfig.control` is about."""
    if isinstance(control, Mapping):
        wanted = control.get(scenario.scenario_id)
        return np.ones(len(scenario.tracks.ids), bool) if wanted is None else np.isin(scenario.tracks.ids, wanted)
    if control == "sdc":
        return np.arange(len(scenario.tracks.ids)) == (-1 if scenario.roles.sdc is None else scenario.roles.sdc)
    return scenario.roles.predict if control == "predict" else np.ones(len(scenario.tracks.ids), bool)


def _named(scenario: Scenario, wanted: Sequence[str], may: np.ndarray, travel: float) -> np.ndarray:
    """The tracks of these ids."""
    where = {name: k for k, name in enumerate(scenario.tracks.ids)}
    for name in wanted:
        if name not in where:
            raise InvalidGame(f"{scenario.scenario_id}: control names track {name!r}, and there is none of that id")
        if not may[where[name]]:
            raise InvalidGame(
                f"{scenario.scenario_id}: control names track {name!r}, which is no vehicle that is there at the start "
                f"and goes farther than {travel:g} m"
            )
    return np.array([where[name] for name in dict.fromkeys(wanted)], int)


def _lights(scenario: Scenario, steps: int, dt: float) -> tuple[np.ndarray, np.ndarray]:
    """Stop lines `[light, STOP]` of lights whose lane and place are known, and when they are red `[time, light]`."""
    signals, lanes = scenario.signals, scenario.map.lanes
    at = np.round(np.arange(steps) * dt / scenario.dt).astype(int)
    lines, red = [], []
    for k in np.flatnonzero(signals.lane_known):
        lane = int(signals.lane[k])
        points = lanes.centre.line(lane)[:, :2].astype(np.float64)
        if len(points) < 2:
            continue
        point = signals.stop_point[k, :2] if signals.stop_point_known[k] else points[0]
        way = np.diff(points, axis=0)
        nearest = int(np.argmin(np.hypot(*((points[:-1] + points[1:]) / 2 - point).T)))
        length = np.hypot(*way[nearest])
        if length == 0:
            continue
        first = lanes.centre.starts[lane]
        half = float(lanes.width[first + nearest]) / 2 if lanes.width_known[lane] else 1.8
        lines.append([*point, *(way[nearest] / length), half])
        red.append(np.isin(signals.state[k], RED)[np.minimum(at, signals.state.shape[1] - 1)])
    stop = np.array(lines).reshape(-1, len(STOP))
    return stop, np.stack(red, 1) if red else np.zeros((steps, 0), bool)


def _placed(scene: _Scene, num_agents: int, num_others: int) -> Slots:
    driven, spare = scene.candidates[:num_agents], scene.candidates[num_agents:]
    rest = np.concatenate([spare, scene.order])
    track = np.full(num_agents + num_others, -1)
    track[: len(driven)] = driven
    # Places for driven vehicles that stay empty are filled with what replays its log, for whom they serve as well.
    free = np.concatenate([np.arange(num_agents, num_agents + num_others), np.arange(len(driven), num_agents)])
    fits = min(len(free), len(rest))
    track[free[:fits]] = rest[:fits]
    return Slots(scene.scenario_id, track, len(scene.candidates), len(rest) - fits)
