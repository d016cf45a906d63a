"""Games by id. One visible dictionary; command-line choices, tests and documents derive from it."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable
from importlib import import_module
from typing import Any

from mairl.core.errors import InvalidGame
from mairl.core.game import MarkovGame

_TYPES: dict[str, tuple[type | tuple[type, ...], str]] = {
    "int": (int, "a whole number"),
    "float": ((int, float), "a number"),
    "bool": (bool, "True or False"),
    "str": (str, "text"),
}
"""An option's annotation to what its value must be; games check options of other kinds themselves."""


def _from(path: str, **defaults) -> Callable[..., MarkovGame]:
    """A constructor that is imported when it is first called."""
    module, _, name = path.partition(":")

    def make(**options) -> MarkovGame:
        target = getattr(import_module(module), name)
        given = {**defaults, **options}
        parameters = inspect.signature(target).parameters
        known = [p for p in parameters if not p.startswith("_")]
        if unknown := sorted(set(given) - set(known)):
            raise InvalidGame(f"unknown option {', '.join(unknown)}; the options are {', '.join(known)}")
        for option, value in given.items():
            wanted = parameters[option].annotation
            kind, words = _TYPES.get(wanted, (object, ""))
            # Python counts True and False as whole numbers.
            if not isinstance(value, kind) or (isinstance(value, bool) and wanted in ("int", "float")):
                raise InvalidGame(f"{option} must be {words}, got {value!r}")
        try:
            return target(**given)
        except (TypeError, ValueError) as error:
            raise InvalidGame(str(error)) from error

    return make


_GEMS = {"observation": "ranked", "observe_time": True}

GAMES: dict[str, Callable[..., MarkovGame]] = {
    "gems": _from("mairl.games.gems.game:Gems", **_GEMS),
    "gems-random": _from("mairl.games.gems.game:Gems", layout="random", **_GEMS),
    "overcooked": _from("mairl.games.overcooked.game:Overcooked", horizon=50),
    "overcooked-cook5": _from("mairl.games.overcooked.game:Overcooked", horizon=50, cook_time=5),
    "intersection": _from("mairl.games.intersection.game:Intersection"),
    "intersection-entities": _from("mairl.games.intersection.game:Intersection", observation="entities"),
    "driving": _from("mairl.driving.load:driving"),
    "coin-game": _from("mairl.games.coin_game:CoinGame"),
    "simple-spread": _from("mairl.games.simple_spread.game:SimpleSpread"),
    "multiwalker": _from("mairl.games.multiwalker:multiwalker"),
    "gridworld": _from("mairl.games.tabular.gridworld:gridworld"),
    "coordination": _from("mairl.games.tabular.matrix:coordination"),
    "matching-pennies": _from("mairl.games.tabular.matrix:matching_pennies"),
    "prisoners-dilemma": _from("mairl.games.tabular.matrix:prisoners_dilemma"),
    "stag-hunt": _from("mairl.games.tabular.matrix:stag_hunt"),
    "iterated-dilemma": _from("mairl.games.tabular.iterated_dilemma:iterated_dilemma"),
    "lfl-grid": _from("mairl.games.tabular.lfl_grid:lfl_grid"),
    "logel-grid": _from("mairl.games.tabular.logel_grid:logel_grid"),
    "ma-lfl-grid": _from("mairl.games.tabular.ma_lfl_grid:ma_lfl_grid"),
}
"""Id to constructor. Gems is seen as its plain networks learn it best, with a clock, as its experts do.
`overcooked` has the MAMQL paper's horizon of 50; `overcooked:horizon=400` is the usual game. `intersection-entities` is
the same intersection, seen as a set of vehicles. `driving` makes up its worlds, or takes them from
`driving:worlds=STORE`. From `gridworld` on, games are tables: they can be solved exactly."""


HOST_GAMES = ("multiwalker",)
"""Those that are stepped by their own program, which must be installed; learners play them through `fit` only."""


def make_game(name: str) -> MarkovGame:
    """Builds a game from an id with options, such as "gems" or "overcooked:layout=coordination_ring,horizon=400".

    Raises:
        InvalidGame: unknown id or option, with what there is.
    """
    kind, given = options_of(name)
    return GAMES[kind](**given)


def options_of(name: str) -> tuple[str, dict[str, Any]]:
    """The id and the options of a game's name; see `make_game`.

    Raises:
        InvalidGame: unknown id, or options that are not written key=value.
    """
    kind, _, options = name.partition(":")
    if kind not in GAMES:
        raise InvalidGame(f"there is no game {kind!r}; there are {', '.join(GAMES)}")
    given: dict[str, Any] = {}
    for option in filter(None, options.split(",")):
        key, equals, value = option.partition("=")
        if not equals:
            raise InvalidGame(f"options are written key=value, got {option!r} in {name!r}")
        try:
            given[key.strip()] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            given[key.strip()] = value
    return kind, given
