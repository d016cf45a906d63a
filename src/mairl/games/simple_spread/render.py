"""A picture of Simple Spread."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

from mairl.games.simple_spread.types import RADIUS, SpreadState

SIZE = 360
"""Pixels of the picture's side; it shows [-1.5, 1.5]², or more where somebody has left it."""

BACKGROUND, ARENA, LANDMARK = (246, 244, 239), (222, 219, 211), (70, 70, 78)
COLOURS = (
    *((38, 98, 190), (200, 55, 55), (43, 138, 62), (232, 140, 12)),
    *((95, 61, 196), (11, 114, 133), (194, 37, 92), (102, 60, 0)),
)


def render(state: SpreadState) -> UInt8[np.ndarray, "height width 3"]:
    """Landmarks as crosses, agents as discs, and a line for where each is going in the next half second."""
    place, velocity, landmark = (np.asarray(x) for x in (state.place, state.velocity, state.landmark))
    reach = max(1.5, float(np.abs(np.concatenate([place, landmark])).max()) + 2 * RADIUS)
    along = ((np.arange(SIZE) + 0.5) / SIZE * 2 - 1) * reach
    x, y = np.meshgrid(along, -along)
    pixel = 2 * reach / SIZE
    image = np.empty((SIZE, SIZE, 3), np.uint8)
    image[:] = BACKGROUND
    outside = np.maximum(np.abs(x), np.abs(y)) - 1
    image[np.abs(outside) < pixel / 2] = ARENA
    for i, (px, py) in enumerate(place):
        distance = np.hypot(x - px, y - py)
        colour = np.array(COLOURS[i % len(COLOURS)])
        disc = distance < RADIUS
        image[disc] = 0.45 * colour + 0.55 * image[disc]
        image[np.abs(distance - RADIUS) < pixel] = colour
        ahead = 0.5 * velocity[i]
        along = np.clip(((x - px) * ahead[0] + (y - py) * ahead[1]) / max(ahead @ ahead, 1e-12), 0.0, 1.0)
        image[np.hypot(x - px - along * ahead[0], y - py - along * ahead[1]) < pixel] = colour
    for lx, ly in landmark:
        u, v = np.abs(x - lx), np.abs(y - ly)
        image[(np.minimum(u, v) < 1.2 * pixel) & (np.maximum(u, v) < 0.06)] = LANDMARK
    return image
