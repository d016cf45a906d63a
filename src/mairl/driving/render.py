"""A picture of one moment of driving, from above."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from mairl.driving.prepare import GOAL
from mairl.driving.road_grid import FEATURES
from mairl.driving.segments import SegmentKind
from mairl.driving.simulator import State, scene_of
from mairl.driving.world import Worlds

if TYPE_CHECKING:
    from mairl.driving.game import Driving

SIDE, MARGIN = 640, 15.0
"""Pixels of the longer side; metres shown around the driven vehicles."""

GROUND, EDGE, LANE, LINE, OTHER = (243, 245, 247), (73, 80, 87), (206, 212, 218), (173, 181, 189), (134, 142, 150)
EDGES = (SegmentKind.EDGE, SegmentKind.DIVIDER)
LOGGED = (173, 181, 189)
COLOURS = ((11, 114, 133), (232, 89, 12), (95, 61, 196), (43, 138, 62), (194, 37, 92), (24, 100, 171))


def render(game: Driving, state: State) -> UInt8[np.ndarray, "height width 3"]:
    """The map, driven vehicles in colours with a mark at their goals, everybody else in grey. Those taken off the road
    are not drawn."""
    worlds, world = game.worlds, int(state.world)
    scene = scene_of(worlds, state)
    x, y, c, s, there = (np.asarray(v) for v in (scene.x, scene.y, scene.c, scene.s, scene.present))
    driven = np.flatnonzero(np.asarray(worlds.driven[world]))
    goal = np.asarray(worlds.goal[world])[[GOAL.index("x"), GOAL.index("y")]][:, driven]
    shown = np.concatenate([np.stack([x, y])[:, driven], goal], axis=1)
    low, high = shown.min(1) - MARGIN, shown.max(1) + MARGIN
    scale = SIDE / float((high - low).max())
    size = [max(32, math.ceil(side * scale)) for side in high - low]
    # Drawn larger and made smaller, for smooth lines.
    image = Image.new("RGB", (2 * size[0], 2 * size[1]), GROUND)
    draw = ImageDraw.Draw(image)

    def at(px, py) -> list[tuple[float, float]]:
        u, v = 2 * scale * (np.asarray(px) - low[0]), 2 * (size[1] - scale * (np.asarray(py) - low[1]))
        return list(zip(u.tolist(), v.tolist(), strict=True))

    for x0, y0, x1, y1, kind in _map(worlds, world, low, high):
        colour = EDGE if kind in EDGES else LANE if kind == SegmentKind.LANE else LINE
        draw.line(at([x0, x1], [y0, y1]), fill=colour, width=4 if kind in EDGES else 2)
    length, width = np.asarray(worlds.length[world]), np.asarray(worlds.width[world])
    for i in np.flatnonzero(there):
        u, v = length[i] / 2 * np.array([1, 1, -1, -1]), width[i] / 2 * np.array([1, -1, -1, 1])
        colour = COLOURS[int(i) % len(COLOURS)] if i in driven else LOGGED
        draw.polygon(at(x[i] + c[i] * u - s[i] * v, y[i] + s[i] * u + c[i] * v), fill=colour)
        # A dark end shows where it points.
        nose = u * np.array([1, 1, -0.6, -0.6])
        draw.polygon(at(x[i] + c[i] * nose - s[i] * v * 0.8, y[i] + s[i] * nose + c[i] * v * 0.8)[:2] * 2, outline=EDGE)
    for i, (gx, gy) in zip(driven, goal.T, strict=True):
        (px, py) = at([gx], [gy])[0]
        draw.ellipse((px - 6, py - 6, px + 6, py + 6), outline=COLOURS[int(i) % len(COLOURS)], width=3)
    return np.asarray(image.resize((size[0], size[1]), Image.Resampling.LANCZOS), np.uint8)


def _map(worlds: Worlds, world: int, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Pieces `[piece, (x0, y0, x1, y1, kind)]` of a world's map within a window, each once, edges last."""
    rows = np.unique(np.asarray(worlds.grid.row[world]))
    found = []
    for table in (worlds.grid.others, worlds.grid.edges):
        f = dict(zip(FEATURES, np.moveaxis(np.asarray(table)[rows[rows > 0]], 1, 0), strict=True))
        dx, dy = np.abs(f["half_length"] * f["ux"]), np.abs(f["half_length"] * f["uy"])
        within = (f["x"] + dx > low[0]) & (f["x"] - dx < high[0]) & (f["y"] + dy > low[1]) & (f["y"] - dy < high[1])
        # A piece is listed in all cells that it is near to. Few are left to be told apart.
        f = {name: value[within & (f["kind"] >= 0)] for name, value in f.items()}
        dx, dy = f["half_length"] * f["ux"], f["half_length"] * f["uy"]
        lines = np.stack([f["x"] - dx, f["y"] - dy, f["x"] + dx, f["y"] + dy, f["kind"]], 1)
        found.append(np.unique(lines, axis=0))
    return np.concatenate(found)
