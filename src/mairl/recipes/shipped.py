"""Experts that need no training: weights that ship with the package, and exact equilibria of tables."""

from __future__ import annotations

from importlib.resources import as_file, files

from mairl.core.errors import Unsupported
from mairl.core.learned import Learned
from mairl.games import make_game
from mairl.recipes.equilibrium import RATIONALITY, equilibrium_expert


def _shipped() -> tuple[str, ...]:
    folder = files("mairl.recipes") / "weights"
    if not folder.is_dir():
        return ()
    return tuple(sorted(entry.name.replace("@", ":") for entry in folder.iterdir() if entry.is_dir()))


EXPERTS: tuple[str, ...] = _shipped()
"""Game ids (with their options) with an expert that ships. Each has a folder of its name, "@" for ":", which holds its
evidence beside the weights."""


def has_expert(game: str) -> bool:
    """Whether there is an expert for this game (id and options as on the command line) without training one."""
    return _named(game) is not None or game.partition(":")[0] in RATIONALITY


def load_expert(game: str) -> Learned:
    """The shipped expert of a game; of a table, its logit equilibrium.

    Raises:
        Unsupported: none ships, with how to train one.
    """
    if not has_expert(game):
        have = ", ".join(EXPERTS) or "none"
        raise Unsupported(f"no expert ships for {game!r} (there are: {have}): mairl expert {game} --train")
    name = _named(game)
    if name is None:
        return equilibrium_expert(game)
    with as_file(files("mairl.recipes") / "weights" / name.replace(":", "@")) as folder:
        return Learned.load(folder)


def _named(game: str) -> str | None:
    """The id in `EXPERTS` of the same game, however its options are written."""
    game = game.removesuffix(":")
    kind, _, options = game.partition(":")
    alike = [name for name in EXPERTS if options and name.partition(":")[0] == kind]
    return game if game in EXPERTS else next((name for name in alike if make_game(name) == make_game(game)), None)
