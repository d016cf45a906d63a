"""A picture of a kitchen."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from mairl.games.overcooked.types import DISH, ONION, SOUP, STEPS, OvercookedState

CELL = 48
FLOOR, COUNTER, EDGE = (236, 226, 208), (176, 138, 94), (140, 106, 68)
ONIONS, PLATE, BROTH, WINDOW, IRON = (240, 190, 60), (250, 250, 250), (214, 120, 40), (120, 170, 110), (60, 60, 66)
COOKS = ((43, 108, 196), (46, 139, 87), (176, 58, 46), (125, 80, 160))


def render(game, state: OvercookedState) -> UInt8[np.ndarray, "height width 3"]:
    """Counters brown, pots dark with their onions and a bar for the time cooked; cooks point where they face."""
    kitchen = game.kitchen
    image = Image.new("RGB", (kitchen.width * CELL, kitchen.height * CELL), FLOOR)
    draw = ImageDraw.Draw(image)
    floor = set(kitchen.floor)
    for cell in range(kitchen.width * kitchen.height):
        if cell not in floor:
            draw.rectangle(_box(kitchen, cell, 0), COUNTER, EDGE)
    for cell in kitchen.onions:
        draw.rectangle(_box(kitchen, cell, 5), EDGE)
        for dx, dy in ((-8, 4), (8, 4), (0, -7)):
            _disc(draw, _centre(kitchen, cell, dx, dy), 8, ONIONS)
    for cell in kitchen.dishes:
        draw.rectangle(_box(kitchen, cell, 5), EDGE)
        for dy in (6, 0, -6):
            _thing(draw, _centre(kitchen, cell, 0, dy), DISH)
    for cell in kitchen.serving:
        draw.rectangle(_box(kitchen, cell, 3), WINDOW)
        draw.polygon([_centre(kitchen, cell, *p) for p in ((-10, -6), (10, -6), (0, 12))], (70, 110, 66))
    for pot, cell in enumerate(kitchen.pots):
        onions, cooked = int(state.onions[pot]), int(state.cooking[pot])
        done = cooked >= game.cook_time
        _disc(draw, _centre(kitchen, cell), 19, IRON)
        _disc(draw, _centre(kitchen, cell), 15, BROTH if onions and done else (95, 95, 100))
        for k in range(onions):
            _disc(draw, _centre(kitchen, cell, 9 * (k - 1), -2), 5, (255, 225, 150) if done else ONIONS)
        if cooked >= 0:
            left, _, right, bottom = _box(kitchen, cell, 6)
            share = min(cooked / game.cook_time, 1.0)
            draw.rectangle((left, bottom - 5, right, bottom), (30, 30, 30))
            colour = (90, 200, 90) if done else (240, 160, 40)
            draw.rectangle((left, bottom - 5, left + round(share * (right - left)), bottom), colour)
    for counter, cell in enumerate(kitchen.counters):
        _thing(draw, _centre(kitchen, cell), int(state.counters[counter]))
    for i in range(len(state.facing)):
        x, y = (int(v) for v in state.position[i])
        dx, dy = STEPS[int(state.facing[i])]
        colour = COOKS[i % len(COOKS)]
        cell = y * kitchen.width + x
        _disc(draw, _centre(kitchen, cell), 16, colour)
        side = [
            _centre(kitchen, cell, *p)
            for p in ((dx * 21, dy * 21), (dx * 12 - dy * 9, dy * 12 + dx * 9), (dx * 12 + dy * 9, dy * 12 - dx * 9))
        ]
        draw.polygon(side, colour)
        _disc(draw, _centre(kitchen, cell), 11, PLATE)
        _thing(draw, _centre(kitchen, cell), int(state.held[i]))
        if int(state.held[i]) == 0:
            draw.text(_centre(kitchen, cell, -3, -6), str(i), colour)
    return np.asarray(image, np.uint8)


def _box(kitchen, cell: int, inset: int) -> tuple[int, int, int, int]:
    y, x = divmod(cell, kitchen.width)
    return (x * CELL + inset, y * CELL + inset, (x + 1) * CELL - 1 - inset, (y + 1) * CELL - 1 - inset)


def _centre(kitchen, cell: int, dx: int = 0, dy: int = 0) -> tuple[int, int]:
    y, x = divmod(cell, kitchen.width)
    return (x * CELL + CELL // 2 + dx, y * CELL + CELL // 2 + dy)


def _disc(draw, centre, radius: int, colour) -> None:
    x, y = centre
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), colour)


def _thing(draw, centre, thing: int) -> None:
    x, y = centre
    if thing == ONION:
        _disc(draw, centre, 7, ONIONS)
    elif thing >= DISH:
        draw.ellipse((x - 9, y - 9, x + 9, y + 9), PLATE, (130, 130, 130))
        if thing >= SOUP:
            _disc(draw, centre, 6, BROTH)
