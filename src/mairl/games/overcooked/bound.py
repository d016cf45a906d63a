"""An upper bound on the soups that two cooks can serve, counters included: exact play of a kitchen made easier.

Made easier, never harder, so that whatever can be done in the real kitchen can be done here, at the same steps:

- an object in hand is a joker: an onion or a dish, as the pot needs it; a hand that carries a soup counts as empty;
- counters are one shelf without places: what is put on any counter can be taken from any other at once, and a shelf
  of `shelf` objects never runs out;
- a soup counts when it is filled, at once, if there is time to serve it by the shortest way: carried, or handed over
  counters to a cook who happens to stand there (and takes it within the step in which it is put down, as the game
  lets the later of two cooks do).

What a real action does not achieve here (interacting with a soup in hand, say) the easier kitchen has as "stay".
Walking, turning, blocking, the pots, their clocks and the order of interactions are those of the game (old dynamics).
Its states are few enough for backward induction over all of them.
"""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
from jaxtyping import Int

from mairl.core.errors import Unsupported
from mairl.games.overcooked.game import Overcooked
from mairl.games.overcooked.layout import Layout
from mairl.games.overcooked.types import DISH, INTERACT, ONION, SOUP, STEPS, OvercookedState

NOWHERE, COUNTER, SOURCE, POT = range(4)
"""What an interaction reaches; pot k is `POT + k`."""

NEVER = 40_000
"""More steps than any horizon."""


@dataclasses.dataclass(frozen=True)
class Bound:
    """The easier kitchen solved.

    Attributes:
        game: the kitchen.
        shelf: objects on counters that are counted.
        soups: `[steps left, place, code]` the most that can still be filled in time.
        number: index of ((cell, cell), (direction, direction)).
    """

    game: Overcooked
    shelf: int
    soups: Int[np.ndarray, "left place code"]
    number: dict

    @property
    def at_start(self) -> int:
        """No more soups than this can be served within the horizon from the fixed start."""
        return int(self.soups[-1, self.number[self.game.kitchen.starts, (0, 0)], 0])

    def least(self, states: OvercookedState, soups: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
        """The fewest steps in which `soups` more might be served from each state, those already filled included.

        More than the horizon: never. Leaves `[n, ...]`.
        """
        carried = (np.asarray(states.held) >= SOUP).sum(-1) + (np.asarray(states.counters) >= SOUP).sum(-1)
        return (self.fills(states) < soups - carried).sum(0)

    def fills(self, states: OvercookedState) -> Int[np.ndarray, "left n"]:
        """The most soups that can still be filled in time from each state, by steps left. Leaves `[n, ...]`."""
        width = self.game.kitchen.width
        cells = np.asarray(states.position)[..., 0] + width * np.asarray(states.position)[..., 1].astype(int)
        rows = np.concatenate([cells, np.asarray(states.facing)], -1)
        unique, back = np.unique(rows, axis=0, return_inverse=True)
        place = np.array([self.number[(c, d), (e, f)] for c, d, e, f in unique.tolist()])[back.reshape(-1)]
        held, counters = np.asarray(states.held), np.asarray(states.counters)
        full = (held == ONION) | (held == DISH)
        lying = ((counters == ONION) | (counters == DISH)).sum(-1).clip(0, self.shelf)
        cooking = np.asarray(states.cooking)
        pots = np.where(cooking >= 0, 3 + cooking, np.asarray(states.onions))
        sizes = (2, 2, self.shelf + 1, *[4 + self.game.cook_time] * pots.shape[1])
        code = np.ravel_multi_index((*full.T, lying, *pots.T), sizes)
        return self.soups[:, place, code]


def relax(game: Overcooked, shelf: int = 2) -> Bound:
    """Solves the easier kitchen within the game's horizon.

    Args:
        shelf: objects on counters that are counted, at least 1; more is tighter and slower.

    Raises:
        Unsupported: new dynamics, not two players, or no shelf.
    """
    kitchen = game.kitchen
    if shelf < 1:
        raise Unsupported(
            f"without a shelf the kitchen would be harder, not easier: shelf must be 1 or more, got {shelf}"
        )
    if game.dynamics != "old" or game.num_agents != 2:
        raise Unsupported(f"the bound is for old dynamics and 2 players, not {game.dynamics!r} and {game.num_agents}")
    number, following, kinds = _walks(kitchen)
    tables = {pair: _uses(pair, len(kitchen.pots), game.cook_time, shelf) for pair in np.unique(kinds).tolist()}
    slack = np.array([steps_to_serve(kitchen, pot) for pot in kitchen.pots])
    size = next(iter(tables.values()))[0].size
    # A soup takes four interactions, of two a step; pots may be full at first.
    small = np.int8 if game.horizon // 2 + len(kitchen.pots) <= 127 else np.int16
    best = np.zeros((game.horizon + 1, len(following), size), small)
    for left in range(1, game.horizon + 1):
        for pair, (after, fills) in tables.items():
            gain = (fills * (slack < left)).sum(-1).astype(small)
            for a in range(following.shape[1]):
                rows = np.flatnonzero(kinds[:, a] == pair)
                if rows.size:
                    targets, back = np.unique(following[rows, a], return_inverse=True)
                    value = np.take(best[left - 1, targets], after, axis=1) + gain
                    best[left, rows] = np.maximum(best[left, rows], value[back])
    return Bound(game, shelf, best, number)


def _walks(kitchen: Layout):
    """All places and directions of both cooks, numbered; `[place, joint]` what follows, and what is used.

    What both interactions reach is coded as first * (3 + pots) + second.
    """
    floor = set(kitchen.floor)
    target = {k: POT + i for i, k in enumerate(kitchen.pots)}
    target |= dict.fromkeys(kitchen.counters, COUNTER) | dict.fromkeys((*kitchen.onions, *kitchen.dishes), SOURCE)
    offset = [dx + kitchen.width * dy for dx, dy in STEPS]
    cells = list(itertools.product(*kitchen.regions))
    places = [(c, f) for c in cells if c[0] != c[1] for f in itertools.product(range(4), repeat=2)]
    number = {p: i for i, p in enumerate(places)}
    joint = list(itertools.product(range(6), repeat=2))
    following = np.zeros((len(places), len(joint)), np.int32)
    kinds = np.zeros_like(following)
    for i, (cell, facing) in enumerate(places):
        for j, actions in enumerate(joint):
            turned = tuple(a if a < 4 else f for a, f in zip(actions, facing, strict=True))
            wanted = [c + offset[a] if c + offset[a] in floor else c for a, c in zip(actions, cell, strict=True)]
            clash = wanted[0] == wanted[1] or (wanted[0] == cell[1] and wanted[1] == cell[0])
            following[i, j] = number[cell if clash else tuple(wanted), turned]
            used = [target.get(c + offset[f], 0) if a == INTERACT else 0 for a, c, f in zip(actions, cell, facing)]
            kinds[i, j] = used[0] * (POT + len(kitchen.pots)) + used[1]
    return number, following, kinds


def _uses(pair: int, pots: int, cook_time: int, shelf: int):
    """What two interactions and a tick of the clock make of (hands, shelf, pots): codes after, `[code, pot]` fills.

    A pot is 0, 1, 2 onions, or 3 + the steps cooked.
    """
    sizes = (2, 2, shelf + 1, *[4 + cook_time] * pots)
    codes = np.stack(np.unravel_index(np.arange(np.prod(sizes)), sizes), -1)
    fills = np.zeros((len(codes), pots), np.int8)
    for who, kind in enumerate(divmod(pair, POT + pots)):
        hand, lying = codes[:, who].copy(), codes[:, 2].copy()
        if kind == SOURCE:
            codes[:, who] = 1
        elif kind == COUNTER:
            takes = (hand == 0) & (lying > 0)
            codes[:, who] = np.where(hand == 1, 0, takes)
            codes[:, 2] = np.where(hand == 1, np.minimum(lying + 1, shelf), lying - (takes & (lying < shelf)))
        elif kind >= POT:
            pot = codes[:, kind].copy()  # pot k stands in column 3 + k, as POT + k
            adds, fill = (hand == 1) & (pot < 3), (hand == 1) & (pot == 3 + cook_time)
            codes[:, kind] = np.where(adds, pot + 1, np.where(fill, 0, pot))
            codes[:, who] = np.where(adds | fill, 0, hand)
            fills[:, kind - POT] += fill
    cooks = (codes[:, 3:] >= 3) & (codes[:, 3:] < 3 + cook_time)
    codes[:, 3:] += cooks
    return np.ravel_multi_index(tuple(codes.T), sizes), fills


def steps_to_serve(kitchen: Layout, pot: int) -> int:
    """Steps from filling a soup at a pot to serving it, at least, nobody being in the way.

    A carried soup turns and walks with its cook. Put on a counter, it may go on at once in the hands of a cook on any
    side of it, who looks at it.
    """
    floor, counters, windows = set(kitchen.floor), set(kitchen.counters), set(kitchen.serving)
    offset = [dx + kitchen.width * dy for dx, dy in STEPS[:4]]
    ring = {(pot - offset[d], d) for d in range(4) if pot - offset[d] in floor}
    seen, steps = set(ring), 0
    while ring:
        steps += 1
        if any(cell + offset[d] in windows for cell, d in ring):
            return steps
        near = {(cell + offset[d] if cell + offset[d] in floor else cell, d) for cell, _ in ring for d in range(4)}
        on = {cell + offset[d] for cell, d in ring} & counters
        near |= {(k - offset[d], d) for k in on for d in range(4) if k - offset[d] in floor}
        ring = near - seen
        seen |= ring
    return NEVER
