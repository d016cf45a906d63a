"""One scenario as a world needs it, on the host: its log at the wanted step, who may be driven, goals, lights.

Metres, seconds and radians in the scenario's own frame.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from mairl.core.errors import InvalidData, InvalidGame
from mairl.driving.lane_index import LaneConfig
from mairl.driving.road_grid import GridConfig
from mairl.scenarios.schema import USUAL_SIZE, AgentType, Polylines, Scenario, SignalState

LOG = ("x", "y", "z", "heading", "cos", "sin", "vx", "vy", "valid")
"""Of a logged slot: the middle of its box, where it points, cosine and sine of that, its velocity, and 1 where it was
seen."""

GOAL = ("x", "y", "z", "heading", "speed")
"""Of a goal: the last logged motion."""

STOP = ("x", "y", "ux", "uy", "half_width")
"""Of a stop line: its middle, the driving direction of its lane, half its width."""

CONTROL = ("all", "sdc", "predict")
"""Who may be driven, by the names that options use: every vehicle that goes somewhere, the recording one, those that
the source asks to predict."""

RED = (SignalState.STOP, SignalState.ARROW_STOP)


@dataclasses.dataclass(frozen=True)
class WorldConfig:
    """What of a scenario becomes a world.

    Attributes:
        num_agents: places for driven vehicles; 0: as many as the scene with most of them has, up to 64.
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
        ways: whether the ways of driven vehicles to their goals are looked for; see `mairl.driving.ways`.
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
    ways: bool = False

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


def drivable(scenario: Scenario, config: WorldConfig = WorldConfig()) -> int:
    """How many vehicles of a scenario could be driven.

    Raises:
        InvalidData: the log has ended before it starts.
    """
    return len(prepared(scenario, config).candidates)


@dataclasses.dataclass(frozen=True)
class Prepared:
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


def prepared(scenario: Scenario, config: WorldConfig) -> Prepared:
    """What of a scenario becomes a world.

    Raises:
        InvalidData: the log has ended before it starts; `InvalidGame`: `config.control` names what cannot be driven.
    """
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
    return Prepared(scenario.scenario_id, log, _sizes(scenario), tracks.type, candidates, order, goal, start, stop, red)


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
