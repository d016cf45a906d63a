"""Kitchens as text.

X counter   P pot   O onions   D dishes   S serving window   space: floor   1, 2, …: where players start
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from mairl.core.errors import InvalidGame

LAYOUTS = {
    "cramped_room": ("XXPXX", "O  2O", "X1  X", "XDXSX"),
    "asymmetric_advantages": ("XXXXXXXXX", "O XSXOX S", "X   P 1 X", "X2  P   X", "XXXDXDXXX"),
    "coordination_ring": ("XXXPX", "X 1 P", "D2X X", "O   X", "XOSXX"),
    "forced_coordination": ("XXXPX", "O X1P", "O2X X", "D X X", "XXXSX"),
    "counter_circuit": ("XXXPPXXX", "X  2   X", "D XXXX S", "X  1   X", "XXXOOXXX"),
}
"""The five classic kitchens of Carroll et al. 2019 (`forced_coordination` is also known as random0,
`counter_circuit` as random3)."""

ALIASES = {
    "random0": "forced_coordination",
    "random3": "counter_circuit",
    "simple": "cramped_room",
    "unident_s": "asymmetric_advantages",
    "random1": "coordination_ring",
}
"""Names of the same kitchens in older recordings."""


@dataclasses.dataclass(frozen=True)
class Layout:
    """A parsed kitchen. Cells are numbered in reading order, y * width + x.

    Attributes:
        height, width: in cells.
        floor, counters, pots, onions, dishes, serving: cell numbers of each kind.
        starts: cell of each player.
        regions: for each player, the floor cells that it can walk to from its start.
    """

    height: int
    width: int
    floor: tuple[int, ...]
    counters: tuple[int, ...]
    pots: tuple[int, ...]
    onions: tuple[int, ...]
    dishes: tuple[int, ...]
    serving: tuple[int, ...]
    starts: tuple[int, ...]
    regions: tuple[tuple[int, ...], ...]

    def reachable(self, cells: tuple[int, ...]) -> np.ndarray:
        """Which of `cells` have floor beside them: only these can ever be used. `[cell]` bool."""
        floor = set(self.floor)
        return np.array([any(n in floor for n in self.neighbours(c)) for c in cells], bool)

    def neighbours(self, cell: int) -> list[int]:
        """Cells north, south, east and west of a cell, inside the kitchen."""
        y, x = divmod(cell, self.width)
        near = ((x, y - 1), (x, y + 1), (x + 1, y), (x - 1, y))
        return [j * self.width + i for i, j in near if 0 <= i < self.width and 0 <= j < self.height]


@functools.lru_cache
def parse_layout(rows: tuple[str, ...]) -> Layout:
    """Reads a kitchen from its rows.

    Raises:
        InvalidGame: rows of different lengths, unknown characters, an open border, nothing to cook with, or more than
            128 rows or columns.
    """
    if not rows or len({len(r) for r in rows}) != 1:
        raise InvalidGame(f"a kitchen needs rows of one length, got lengths {[len(r) for r in rows]}")
    height, width = len(rows), len(rows[0])
    if max(height, width) > 128:  # positions are kept in 8 bits
        raise InvalidGame(f"a kitchen has at most 128 rows and columns, got {height} rows of {width}")
    kinds: dict[str, list[int]] = {k: [] for k in "XPODS "}
    starts: dict[int, int] = {}
    for y, row in enumerate(rows):
        for x, character in enumerate(row):
            cell = y * width + x
            if character.isdigit() and character != "0":
                if int(character) in starts:
                    raise InvalidGame(f"player {character} starts twice: each digit may stand once")
                starts[int(character)] = cell
                character = " "
            if character not in kinds:
                raise InvalidGame(f"unknown {character!r} in row {y}, column {x}: use X P O D S, space and 1, 2, …")
            if character == " " and (x in (0, width - 1) or y in (0, height - 1)):
                raise InvalidGame(f"floor at the border (row {y}, column {x}): a kitchen is closed all around")
            kinds[character].append(cell)
    if sorted(starts) != list(range(1, len(starts) + 1)) or len(starts) < 1:
        raise InvalidGame(f"players must be numbered 1, 2, … without gaps, got {sorted(starts)}")
    missing = [
        n for n, k in (("pot P", "P"), ("onions O", "O"), ("dishes D", "D"), ("serving window S", "S")) if not kinds[k]
    ]
    if missing:
        raise InvalidGame(f"the kitchen lacks {', '.join(missing)}")
    cells: list[tuple[int, ...]] = [tuple(kinds[k]) for k in " XPODS"]
    layout = Layout(height, width, *cells, starts=tuple(starts[i] for i in sorted(starts)), regions=())
    return dataclasses.replace(layout, regions=tuple(_walk(layout, s) for s in layout.starts))


def _walk(layout: Layout, start: int) -> tuple[int, ...]:
    floor, seen, todo = set(layout.floor), {start}, [start]
    while todo:
        for near in layout.neighbours(todo.pop()):
            if near in floor and near not in seen:
                seen.add(near)
                todo.append(near)
    return tuple(sorted(seen))
