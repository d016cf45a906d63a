"""Damage to logs, and what a reader must make of it."""

import copy
import json
import math

from mairl.core.errors import InvalidData
from mairl.scenarios.schema import Scenario
from mairl.scenarios.validate import validated

ODD = (None, True, -1, 0, 3, 1e308, -1e308, math.nan, math.inf, 10**30, "", "x", [], {}, [[]], [None], {"x": 1})
"""Values that do not belong where they are put."""


def check(found):
    """Each record is a valid scenario that can be written, or an error."""
    for one in found:
        assert isinstance(one, (InvalidData, Scenario))
        if isinstance(one, Scenario):
            validated(one)
            json.dumps(one.notes)


def graft(rng, top, odd=ODD):
    """In a tree of dicts and lists, one to three values anywhere removed or replaced."""
    for _ in range(int(rng.integers(1, 4))):
        place = top
        key = pick(rng, place)
        while isinstance(place[key], (dict, list)) and place[key] and rng.random() < 0.85:
            place = place[key]
            key = pick(rng, place)
        if rng.random() < 0.2:
            del place[key]
        else:
            place[key] = copy.deepcopy(odd[int(rng.integers(len(odd)))])  # Another graft may change it.
        if not top:
            return


def pick(rng, place):
    """A key of a dict, or a place of a list."""
    keys = list(place) if isinstance(place, dict) else range(len(place))
    return keys[int(rng.integers(len(keys)))]


def damaged(rng, whole):
    """Bytes with up to three bits flipped, and of one in four the end cut off."""
    data = bytearray(whole[: int(rng.integers(len(whole)))] if rng.random() < 0.25 else whole)
    for _ in range(int(rng.integers(0, 4)) if data else 0):
        data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
    return bytes(data)
