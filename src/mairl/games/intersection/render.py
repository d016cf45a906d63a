"""A picture of an intersection."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

from mairl.games.intersection.lanes import HALF, TABLE, world
from mairl.games.intersection.types import LENGTH, WIDTH, IntersectionState

SIZE, SCALE = 480, 4.8
"""Pixels of the picture's side, and per metre."""

GRASS, ROAD, MARK, DARK, CRASH = (233, 237, 228), (120, 124, 130), (214, 214, 208), (34, 36, 40), (226, 62, 52)
COLOURS = (
    *((11, 114, 133), (232, 89, 12), (95, 61, 196), (43, 138, 62)),
    *((194, 37, 92), (102, 60, 0), (24, 100, 171), (92, 148, 13)),
)


def render(state: IntersectionState) -> UInt8[np.ndarray, "height width 3"]:
    """Roads, each vehicle's route as a thin line of its colour, vehicles with a lighter windscreen; crashed ones are
    red, those that have left are not drawn."""
    centre = (np.arange(SIZE) + 0.5 - SIZE / 2) / SCALE
    x, y = np.meshgrid(centre, centre)
    image = np.empty((SIZE, SIZE, 3), np.uint8)
    image[:] = GRASS
    image[(np.abs(x) < 4) | (np.abs(y) < 4)] = ROAD
    corner = (np.abs(x) < HALF) & (np.abs(y) < HALF) & (np.hypot(np.abs(x) - HALF, np.abs(y) - HALF) > HALF - 4)
    image[corner] = ROAD
    for a, b in ((x, y), (y, x)):
        image[(np.abs(a) < 0.12) & (np.abs(b) > HALF) & (np.floor(np.abs(b) / 3) % 2 == 0)] = MARK
    body, turn = state.body, np.asarray(state.turn)
    gone = np.asarray(body.gone)
    positions, headings = (np.asarray(v) for v in world(state.turn, body))
    for i, t in enumerate(turn):
        if gone[i]:
            continue
        for point in _centre_line(TABLE[i % 4, t]):
            image[np.hypot(x - point[0], y - point[1]) < 0.3] = COLOURS[i % len(COLOURS)]
    for i in range(len(turn)):
        if gone[i]:
            continue
        heading, (px, py) = headings[i], positions[i]
        along = (x - px) * np.cos(heading) + (y - py) * np.sin(heading)
        across = -(x - px) * np.sin(heading) + (y - py) * np.cos(heading)
        box = (np.abs(along) < LENGTH / 2) & (np.abs(across) < WIDTH / 2)
        image[box] = DARK
        inner = (np.abs(along) < LENGTH / 2 - 0.25) & (np.abs(across) < WIDTH / 2 - 0.25)
        image[inner] = CRASH if bool(body.crashed[i]) else COLOURS[i % len(COLOURS)]
        image[inner & (along > 0.6) & (along < 1.5)] = (222, 236, 242)
    return image


def _centre_line(lanes: np.ndarray) -> np.ndarray:
    """Points every 2 m along the crossing and the first part of the exit."""
    points = []
    for row, length in ((lanes[1], lanes[1][5]), (lanes[2], 30.0)):
        x, y, cos, sin, _, _, _, radius, sign = row
        s = np.arange(0.0, length, 2.0)
        phase = sign * s / max(radius, 1.0)
        a, b = (radius * np.cos(phase), radius * np.sin(phase)) if radius > 0 else (s, np.zeros_like(s))
        points.append(np.stack([x + cos * a - sin * b, y + sin * a + cos * b], -1))
    return np.concatenate(points)
