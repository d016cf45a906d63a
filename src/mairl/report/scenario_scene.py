"""What is drawn of a driving log: its scenario, beside it perhaps a simulation, and what happened to whom."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float

from mairl.core.errors import InvalidData
from mairl.report.palette import FLAGS
from mairl.scenarios.schema import USUAL_SIZE, AgentType, Scenario
from mairl.scenarios.validate import FARTHEST


@dataclasses.dataclass(frozen=True)
class Rollout:
    """Simulated motion of a scenario's agents over the log's steps.

    Attributes:
        position: x and y of the boxes' middles in metres, in the scenario's frame.
        heading: radians.
        valid: the agent is there; values elsewhere mean nothing.
    """

    position: Float[np.ndarray, "agent time 2"]
    heading: Float[np.ndarray, "agent time"]
    valid: Bool[np.ndarray, "agent time"]


@dataclasses.dataclass(frozen=True)
class Scene:
    """A scenario to be drawn. Of z nothing is shown.

    Attributes:
        rollout: drawn in a colour of its own, the log then as a ghost.
        flags: by names of `palette.FLAGS` (collision, offroad, goal), each `[agent, time]`: the rollout's if there is
            one, else the log's. They are shown as outlines and listed as events.
    """

    scenario: Scenario
    rollout: Rollout | None = None
    flags: Mapping[str, Bool[np.ndarray, "agent time"]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Event:
    """A flag that holds for an agent from one step to another, both included."""

    flag: str
    agent: int
    first: int
    last: int


def checked(scene: Scene) -> Scene:
    """The scene itself.

    Raises:
        InvalidData: the rollout or the flags do not fit the scenario.
    """
    log, rollout = scene.scenario.tracks.valid, scene.rollout
    whose = f"scenario {scene.scenario.scenario_id!r}"
    if rollout is not None:
        expected = {"position": (*log.shape, 2), "heading": log.shape, "valid": log.shape}
        for name, shape in expected.items():
            got = np.shape(getattr(rollout, name))
            if got != shape:
                raise InvalidData(f"{whose}: rollout.{name} has shape {got}, the log needs {shape}")
        valid = np.asarray(rollout.valid, bool)
        for name, limit in (("position", FARTHEST), ("heading", np.inf)):
            values = np.abs(getattr(rollout, name)[valid])
            if not np.isfinite(values).all():
                count = int((~np.isfinite(values)).sum())
                raise InvalidData(f"{whose}: rollout.{name} is not finite at {count} valid places")
            if values.size and values.max() > limit:
                raise InvalidData(f"{whose}: rollout.{name} reaches {values.max():.6g}, expected at most {limit:.6g}")
    for name, flags in scene.flags.items():
        if name not in FLAGS:
            raise InvalidData(f"{whose}: there is no flag {name!r}, use {', '.join(FLAGS)}")
        if np.shape(flags) != log.shape:
            raise InvalidData(f"{whose}: flags[{name!r}] has shape {np.shape(flags)}, the log needs {log.shape}")
    return scene


def checked_step(scenario: Scenario, step: int) -> int:
    """The step itself.

    Raises:
        InvalidData: the log has no such step.
    """
    if not 0 <= step < scenario.num_steps:
        raise InvalidData(f"scenario {scenario.scenario_id!r} has steps 0 … {scenario.num_steps - 1}, not {step}")
    return step


def found_events(scene: Scene) -> list[Event]:
    """Each stretch of steps over which a flag holds, by first step."""
    events = []
    for name in FLAGS:
        if name in scene.flags:
            edges = np.diff(np.pad(np.asarray(scene.flags[name], bool).astype(np.int8), ((0, 0), (1, 1))), axis=1)
            starts, ends = np.argwhere(edges == 1), np.argwhere(edges == -1)
            events += [Event(name, int(a), int(s), int(e) - 1) for (a, s), (_, e) in zip(starts, ends)]
    return sorted(events, key=lambda event: (event.first, event.agent))


def boxes(scenario: Scenario) -> tuple[Float[np.ndarray, "agent 2"], Bool[np.ndarray, " agent"]]:
    """Each agent's length and width in metres, and which of them are guessed (`USUAL_SIZE`; drawn dashed).

    Sources measure sizes anew at each step; drawn is the median over the steps at which the agent was seen.
    """
    tracks = scenario.tracks
    sizes = np.array([USUAL_SIZE[AgentType(code)][:2] for code in tracks.type], np.float64).reshape(-1, 2)
    known = np.logical_and(tracks.size_known[:, :2], tracks.valid.any(axis=1, keepdims=True))
    for agent in np.flatnonzero(known.any(1)):
        seen = np.median(tracks.size[agent, tracks.valid[agent], :2], axis=0)
        sizes[agent] = np.where(known[agent], seen, sizes[agent])
    return sizes, np.asarray(~known.all(1))


def corners(
    position: Float[np.ndarray, "n 2"], heading: Float[np.ndarray, " n"], size: Float[np.ndarray, "n 2"]
) -> Float[np.ndarray, "n 4 2"]:
    """The boxes' corners: front left, front right, rear right, rear left."""
    signs = np.array([[1, 1], [1, -1], [-1, -1], [-1, 1]]) / 2
    return placed(position, heading, signs * np.asarray(size)[:, None])


def placed(
    position: Float[np.ndarray, "n 2"], heading: Float[np.ndarray, " n"], points: Float[np.ndarray, "n k 2"]
) -> Float[np.ndarray, "n k 2"]:
    """Points given ahead of and to the left of each agent, in the scenario's frame."""
    cos, sin = np.cos(heading)[:, None], np.sin(heading)[:, None]
    ahead, left = points[..., 0], points[..., 1]
    turned = np.stack([ahead * cos - left * sin, ahead * sin + left * cos], -1)
    return np.asarray(position)[:, None] + turned


def light_places(scenario: Scenario) -> tuple[Float[np.ndarray, "signal 2"], Bool[np.ndarray, " signal"]]:
    """Where each traffic light is drawn, and whether it can be: at its stop point, else where its lane begins."""
    signals, centre = scenario.signals, scenario.map.lanes.centre
    places = signals.stop_point[:, :2].astype(np.float64).copy()
    for k in np.flatnonzero(~signals.stop_point_known & signals.lane_known):
        places[k] = centre.line(int(signals.lane[k]))[0, :2]
    return places, signals.stop_point_known | signals.lane_known
