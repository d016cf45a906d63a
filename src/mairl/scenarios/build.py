"""Pieces that every reader puts scenarios together from."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np

from mairl.scenarios.schema import Lanes, Polylines, RoadMap, Roles, Scenario, Signals, StopSigns


def polylines(
    lines: Sequence[np.ndarray],
    ids: Iterable[str],
    kind: Sequence[int] | np.ndarray | None = None,
    z_known: bool = True,
) -> Polylines:
    """Lines `[n, 3]` (or `[n, 2]`: z is then not known), float64 in the world frame, as one group.

    The points stay float64 until `recentred`.
    """
    flat = [np.asarray(line, np.float64).reshape(len(line), -1) for line in lines]
    if any(line.shape[1] == 2 for line in flat if len(line)):
        flat, z_known = [np.pad(line[:, :2], ((0, 0), (0, 1))) for line in flat], False
    points = np.concatenate(flat) if flat else np.zeros((0, 3))
    starts = np.concatenate([[0], np.cumsum([len(line) for line in flat])]).astype(np.int32)
    kinds = np.zeros(len(flat), np.int8) if kind is None else np.asarray(kind, np.int8)
    return Polylines(points.reshape(-1, 3), starts, tuple(str(i) for i in ids), kinds, z_known)


def no_lines() -> Polylines:
    """An empty group."""
    return polylines([], [])


def pairs(found: Iterable[tuple[int, int]]) -> np.ndarray:
    """Index pairs `[pair, 2]`, sorted, each once."""
    unique = sorted(set(found))
    return np.asarray(unique, np.int32).reshape(-1, 2)


def lanes(
    centre: Polylines,
    *,
    width: np.ndarray | None = None,
    width_known: np.ndarray | None = None,
    speed_limit: np.ndarray | None = None,
    left_boundary: np.ndarray | None = None,
    right_boundary: np.ndarray | None = None,
    successors: Iterable[tuple[int, int]] = (),
    left_neighbours: Iterable[tuple[int, int]] = (),
    right_neighbours: Iterable[tuple[int, int]] = (),
    graph_from_source: bool = True,
) -> Lanes:
    """Lanes; what is not given is not known.

    Args:
        width: per point of the centrelines; `width_known` per lane, default: all if `width` is given.
        speed_limit: per lane, NaN where it is not known.
    """
    count, size = len(centre), len(centre.points)
    known = np.zeros(count, bool) if width is None else np.ones(count, bool)
    limit = np.full(count, np.nan) if speed_limit is None else np.asarray(speed_limit, np.float64)
    none = np.zeros(count, np.int8)
    return Lanes(
        centre,
        np.zeros(size, np.float32) if width is None else np.asarray(width, np.float32),
        known if width_known is None else np.asarray(width_known, bool),
        np.nan_to_num(limit).astype(np.float32),
        np.isfinite(limit),
        none if left_boundary is None else np.asarray(left_boundary, np.int8),
        none if right_boundary is None else np.asarray(right_boundary, np.int8),
        pairs(successors),
        pairs(left_neighbours),
        pairs(right_neighbours),
        graph_from_source,
    )


def no_stop_signs() -> StopSigns:
    """None."""
    return StopSigns(np.zeros((0, 3)), (), pairs([]))


def no_signals(steps: int) -> Signals:
    """None."""
    flags = np.zeros(0, bool)
    return Signals(np.zeros(0, np.int32), flags, np.zeros((0, steps), np.int8), np.zeros((0, 3)), flags)


def roles(agents: int, sdc: int | None = None, predict: Iterable[int] = (), of_interest: Iterable[int] = ()) -> Roles:
    """Roles from track indices."""
    masks = []
    for which in (predict, of_interest):
        mask = np.zeros(agents, bool)
        mask[list(which)] = True
        masks.append(mask)
    return Roles(sdc, *masks)


def wrapped(angle: np.ndarray) -> np.ndarray:
    """The same angles in (-π, π]."""
    return -((-np.asarray(angle, np.float64) + np.pi) % (2 * np.pi) - np.pi)


def recentred(scenario: Scenario) -> Scenario:
    """A scenario whose coordinates are still the source's, float64, moved to the middle of its tracks and made float32.

    The offset is whole metres. Values where a track is not valid become zeros; headings are wrapped.
    """
    tracks = scenario.tracks
    valid = tracks.valid
    seen = np.asarray(tracks.position, np.float64)[valid]
    # A log without a valid step still has a map to stand on.
    seen = seen if len(seen) else np.asarray(scenario.map.lanes.centre.points, np.float64)
    middle = np.round((seen.min(0) + seen.max(0)) / 2) if len(seen) else np.zeros(3)
    if not tracks.z_known:
        middle[2] = 0.0

    def moved(points: np.ndarray, z_known: bool) -> np.ndarray:
        shifted = np.asarray(points, np.float64) - middle
        if not z_known:
            shifted[..., 2] = 0.0
        return shifted.astype(np.float32)

    def group(lines: Polylines) -> Polylines:
        return dataclasses.replace(lines, points=moved(lines.points, lines.z_known))

    def where_valid(values: np.ndarray) -> np.ndarray:
        mask = valid.reshape(*valid.shape, *[1] * (np.ndim(values) - 2))
        return np.where(mask, values, 0.0).astype(np.float32)

    road = scenario.map
    return dataclasses.replace(
        scenario,
        offset=middle,
        tracks=dataclasses.replace(
            tracks,
            position=where_valid(moved(tracks.position, tracks.z_known)),
            heading=where_valid(wrapped(np.where(valid, tracks.heading, 0.0))),
            velocity=where_valid(tracks.velocity),
            size=where_valid(tracks.size),
        ),
        map=RoadMap(
            lanes=dataclasses.replace(road.lanes, centre=group(road.lanes.centre)),
            edges=group(road.edges),
            lines=group(road.lines),
            crosswalks=group(road.crosswalks),
            speed_bumps=group(road.speed_bumps),
            driveways=group(road.driveways),
            stop_signs=dataclasses.replace(
                road.stop_signs, position=moved(road.stop_signs.position, road.lanes.centre.z_known)
            ),
        ),
        signals=dataclasses.replace(
            scenario.signals,
            stop_point=np.where(
                scenario.signals.stop_point_known[:, None],
                moved(scenario.signals.stop_point, road.lanes.centre.z_known),
                0.0,
            ).astype(np.float32),
        ),
    )
