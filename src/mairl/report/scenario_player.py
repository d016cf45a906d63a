"""Driving logs as one page that plays them: nothing is fetched, a browser is enough."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment

from mairl.core.errors import InvalidData
from mairl.report.palette import AGENTS, FLAGS, PALETTE, SIGNALS
from mairl.report.scenario_scene import Scene, boxes, checked, checked_step, found_events, light_places
from mairl.report.thin import thinned
from mairl.scenarios.schema import AgentType, LineType, Polylines, Scenario

TOLERANCE = 0.04
"""Metres that thinning may move a line of the map; rounding to centimetres adds up to 0.01."""

HEADING = 1e-4
"""Radians: the unit of headings in the page."""


def write_player(scenes: Sequence[Scene], path: str | Path, step: int | None = None) -> int:
    """Writes the page of `player_page`; returns its size in bytes.

    Raises:
        InvalidData: as `player_page`.
    """
    page = player_page(scenes, step).encode()
    Path(path).write_bytes(page)
    return len(page)


def player_page(scenes: Sequence[Scene], step: int | None = None) -> str:
    """One self-contained page that plays the scenes, with a chooser if there are several.

    Lines of the map are within 0.05 m of the scenario's, agents within 0.01 m and 1e-4 rad.

    Args:
        step: where each scene starts; the first step by default.

    Raises:
        InvalidData: no scenes, no such step, or a rollout or flags that do not fit.
    """
    if not scenes:
        raise InvalidData("there are no scenarios to draw")
    packed = [_scene(checked(scene), checked_step(scene.scenario, step or 0)) for scene in scenes]
    folder = files("mairl.report") / "templates"
    text = {kind: (folder / f"scenario_player.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js")}
    drawing = (folder / "scenario_drawing.js").read_text(encoding="utf-8")
    names = {
        "agents": AGENTS,
        "types": [t.name.lower() for t in AgentType],
        "signals": SIGNALS,
        "flashing": [4, 5],
        "lines": [t.name for t in LineType],
        "flags": FLAGS,
        "heading": HEADING,
    }
    environment = Environment(autoescape=True)
    # Unsorted: where several flags hold, their order says which one is shown.
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False, "separators": (",", ":")}
    return environment.from_string(text["html"]).render(
        palette=PALETTE, css=text["css"], script=drawing + text["js"], scenes=packed, names=names, count=len(packed)
    )


def packed(values: np.ndarray) -> dict[str, Any]:
    """An array as its type, shape and bytes (little-endian, base64); flags are eight to a byte, lowest bit first."""
    values = np.asarray(values)
    if values.dtype == bool:
        kind, content = "bits", np.packbits(values, bitorder="little")
    else:
        kind, content = values.dtype.name, values.astype(values.dtype.newbyteorder("<"))
    return {"type": kind, "shape": list(values.shape), "data": base64.b64encode(content.tobytes()).decode()}


def whole(values: np.ndarray, unit: float = 0.01) -> np.ndarray:
    """Numbers as multiples of a unit, in 16 bits if they fit, else in 32; beyond those, the farthest that fits."""
    farthest = np.iinfo(np.int32).max
    counts = np.clip(np.rint(np.asarray(values, np.float64) / unit), -farthest, farthest)
    small = not counts.size or np.abs(counts).max() <= np.iinfo(np.int16).max
    return counts.astype(np.int16 if small else np.int32)


def _scene(scene: Scene, step: int) -> dict[str, Any]:
    scenario, rollout = scene.scenario, scene.rollout
    tracks, roles, road = scenario.tracks, scenario.roles, scenario.map
    size, guessed = boxes(scenario)
    places, shown = light_places(scenario)
    speed = np.where(tracks.valid, np.hypot(*np.moveaxis(tracks.velocity, 2, 0)), 0.0)
    return {
        "id": scenario.scenario_id,
        "source": scenario.source,
        "dt": scenario.dt,
        "steps": scenario.num_steps,
        "current": scenario.current,
        "start": step,
        "agents": {
            "ids": tracks.ids,
            "type": tracks.type.tolist(),
            "size": packed(whole(size)),
            "guessed": packed(guessed),
            "sdc": roles.sdc,
            "predict": np.flatnonzero(roles.predict).tolist(),
            "of_interest": np.flatnonzero(roles.of_interest).tolist(),
        },
        "log": _motion(tracks.position[..., :2], tracks.heading, tracks.valid) | {"speed": packed(whole(speed))},
        "rollout": None if rollout is None else _motion(rollout.position, rollout.heading, rollout.valid),
        "flags": {name: packed(np.asarray(scene.flags[name], bool)) for name in FLAGS if name in scene.flags},
        "events": [[e.flag, e.agent, e.first, e.last] for e in found_events(scene)],
        "map": {
            "lanes": _lines(road.lanes.centre) | {"width": packed(whole(_widths(scenario)))},
            "edges": _lines(road.edges),
            "lines": _lines(road.lines),
            "crosswalks": _lines(road.crosswalks, closed=True),
            "speed_bumps": _lines(road.speed_bumps, closed=True),
            "driveways": _lines(road.driveways, closed=True),
            "stop_signs": packed(whole(road.stop_signs.position[:, :2])),
        },
        "signals": {
            "place": packed(whole(places)),
            "shown": packed(shown),
            "lane": [int(k) if known else None for k, known in zip(scenario.signals.lane, scenario.signals.lane_known)],
            "state": packed(scenario.signals.state.astype(np.int8)),
        },
    }


def _motion(position: np.ndarray, heading: np.ndarray, valid: np.ndarray) -> dict[str, Any]:
    valid = np.asarray(valid, bool)
    turned = np.asarray(np.where(valid, heading, 0.0), np.float64)
    return {
        "position": packed(whole(np.where(valid[..., None], position, 0.0))),
        "heading": packed(whole(np.arctan2(np.sin(turned), np.cos(turned)), HEADING)),
        "valid": packed(valid),
    }


def _widths(scenario: Scenario) -> np.ndarray:
    """Each lane's width in metres, the median over its points; 0 where it is not known, and then not drawn."""
    lanes = scenario.map.lanes
    starts = lanes.centre.starts
    medians = [float(np.median(lanes.width[a:b])) for a, b in itertools.pairwise(starts)]
    return np.where(lanes.width_known, medians, 0.0)


def _lines(group: Polylines, closed: bool = False) -> dict[str, Any]:
    """Lines thinned to what can be seen. Every line stays, so that indices still name them."""
    kept = []
    for k in range(len(group)):
        line = group.line(k)[:, :2]
        path = np.concatenate([line, line[:1]]) if closed else line
        keep = thinned(path, TOLERANCE)
        kept.append(path[keep[:-1] if closed and len(keep) > 1 else keep])
    starts = np.concatenate([[0], np.cumsum([len(line) for line in kept])]).astype(np.int32)
    points = np.concatenate(kept) if kept else np.zeros((0, 2))
    return {"points": packed(whole(points)), "starts": packed(starts), "kind": group.kind.tolist()}
