"""What every scenario must satisfy, checked once where it enters."""

from __future__ import annotations

import numpy as np

from mairl.core.errors import InvalidData
from mairl.scenarios.schema import AgentType, EdgeType, LaneType, LineType, Polylines, Scenario, SignalState

FARTHEST = 1e5
"""Metres from the middle: beyond it float32 positions are no better than a centimetre."""

LARGEST = 200.0
"""Metres: no agent is longer (trains are)."""

FASTEST = 150.0
"""Metres a second."""


def validated(scenario: Scenario) -> Scenario:
    """The scenario itself.

    Raises:
        InvalidData: the first thing that is wrong, with the field and numbers.
    """
    for check in (_facts, _tracks, _map, _signals):
        problem = check(scenario)
        if problem:
            raise InvalidData(f"scenario {scenario.scenario_id!r}: {problem}")
    return scenario


def _facts(s: Scenario) -> str:
    if not s.scenario_id:
        return "scenario_id is empty"
    if not (np.isfinite(s.dt) and 1e-3 <= s.dt <= 10):
        return f"dt is {s.dt} s, expected 0.001 to 10"
    if s.num_steps < 1:
        return "it has no steps"
    if not 0 <= s.current < s.num_steps:
        return f"current is step {s.current} of {s.num_steps}"
    if s.offset.shape != (3,) or not np.isfinite(s.offset).all():
        return f"offset is {s.offset}"
    if s.roles.sdc is not None and not 0 <= s.roles.sdc < s.num_agents:
        return f"roles.sdc is {s.roles.sdc} of {s.num_agents} agents"
    return ""


def _tracks(s: Scenario) -> str:
    tracks, shape = s.tracks, s.tracks.valid.shape
    expected = {
        "position": (*shape, 3),
        "heading": shape,
        "velocity": (*shape, 2),
        "size": (*shape, 3),
        "size_known": (shape[0], 3),
        "type": shape[:1],
    }
    for name, want in expected.items():
        got = getattr(tracks, name).shape
        if got != want:
            return f"tracks.{name} has shape {got}, expected {want}"
    for name in ("predict", "of_interest"):
        if getattr(s.roles, name).shape != shape[:1]:
            return f"roles.{name} has shape {getattr(s.roles, name).shape}, expected {shape[:1]}"
    if len(tracks.ids) != shape[0] or len(set(tracks.ids)) != shape[0]:
        return f"tracks.ids has {len(set(tracks.ids))} different names for {shape[0]} agents"
    if not np.isin(tracks.type, list(AgentType)).all():
        return f"tracks.type holds {np.unique(tracks.type)}, expected codes of AgentType"
    limits = {"position": FARTHEST, "heading": np.pi + 1e-5, "velocity": FASTEST, "size": LARGEST}
    for name, limit in limits.items():
        values = np.abs(getattr(tracks, name)[tracks.valid])
        if not np.isfinite(values).all():
            return f"tracks.{name} is not finite at {int((~np.isfinite(values)).sum())} valid places"
        if values.size and values.max() > limit:
            return f"tracks.{name} reaches {values.max():.6g}, expected at most {limit:.6g}"
    known = tracks.valid[..., None] & tracks.size_known[:, None]
    if (tracks.size[known] <= 0).any():
        return f"tracks.size is not positive at {int((tracks.size[known] <= 0).sum())} places where it is known"
    return ""


def _lines(name: str, lines: Polylines, kinds) -> str:
    starts, count = lines.starts, len(lines)
    if lines.points.ndim != 2 or lines.points.shape[1] != 3:
        return f"map.{name}.points has shape {lines.points.shape}, expected (points, 3)"
    if starts[0] != 0 or starts[-1] != len(lines.points) or (np.diff(starts) < 1).any():
        return f"map.{name}.starts does not part {len(lines.points)} points into {count} lines of at least one"
    if len(lines.ids) != count or len(set(lines.ids)) != count:
        return f"map.{name}.ids has {len(set(lines.ids))} different names for {count} lines"
    if lines.kind.shape != (count,) or not np.isin(lines.kind, list(kinds)).all():
        return f"map.{name}.kind holds {np.unique(lines.kind)}, expected codes of {kinds}"
    if not np.isfinite(lines.points).all():
        return f"map.{name}.points is not finite at {int((~np.isfinite(lines.points)).sum())} places"
    if lines.points.size and np.abs(lines.points).max() > FARTHEST:
        return f"map.{name}.points reaches {np.abs(lines.points).max():.6g} m, expected at most {FARTHEST:.6g}"
    return ""


def _map(s: Scenario) -> str:
    road, lanes, count = s.map, s.map.lanes, len(s.map.lanes)
    groups = {
        "lanes.centre": (lanes.centre, LaneType),
        "edges": (road.edges, EdgeType),
        "lines": (road.lines, LineType),
        "crosswalks": (road.crosswalks, (0,)),
        "speed_bumps": (road.speed_bumps, (0,)),
        "driveways": (road.driveways, (0,)),
    }
    for name, (lines, kinds) in groups.items():
        problem = _lines(name, lines, kinds)
        if problem:
            return problem
    if lanes.width.shape != (len(lanes.centre.points),):
        return (
            f"map.lanes.width has shape {lanes.width.shape}, expected one for each of {len(lanes.centre.points)} points"
        )
    for name in ("width_known", "speed_limit", "speed_limit_known", "left_boundary", "right_boundary"):
        if getattr(lanes, name).shape != (count,):
            return f"map.lanes.{name} has shape {getattr(lanes, name).shape}, expected ({count},)"
    for name in ("width", "speed_limit"):
        values = getattr(lanes, name)
        if not np.isfinite(values).all() or (values < 0).any():
            return f"map.lanes.{name} is negative or not finite somewhere"
    for name in ("left_boundary", "right_boundary"):
        if not np.isin(getattr(lanes, name), list(LineType)).all():
            return f"map.lanes.{name} holds {np.unique(getattr(lanes, name))}, expected codes of LineType"
    for name in ("successors", "left_neighbours", "right_neighbours"):
        found = getattr(lanes, name)
        if found.ndim != 2 or found.shape[1] != 2 or ((found < 0) | (found >= count)).any():
            return f"map.lanes.{name} names lanes that are not there ({count} are)"
    signs = road.stop_signs
    if signs.position.shape != (len(signs.ids), 3) or not np.isfinite(signs.position).all():
        return f"map.stop_signs.position has shape {signs.position.shape} for {len(signs.ids)} signs, or is not finite"
    bounds = np.array([len(signs.ids), count])
    if ((signs.controls < 0) | (signs.controls >= bounds)).any():
        return f"map.stop_signs.controls names signs or lanes that are not there ({bounds[0]} and {bounds[1]} are)"
    return ""


def _signals(s: Scenario) -> str:
    signals, count = s.signals, len(s.signals.lane)
    if signals.state.shape != (count, s.num_steps):
        return f"signals.state has shape {signals.state.shape}, expected ({count}, {s.num_steps})"
    if not np.isin(signals.state, list(SignalState)).all():
        return f"signals.state holds {np.unique(signals.state)}, expected codes of SignalState"
    lanes = signals.lane[signals.lane_known]
    if ((lanes < 0) | (lanes >= len(s.map.lanes))).any():
        return f"signals.lane names lanes that are not there ({len(s.map.lanes)} are)"
    if not np.isfinite(signals.stop_point).all():
        return "signals.stop_point is not finite somewhere"
    return ""
