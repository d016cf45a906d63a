"""Experts that need no training: weights that ship with the package, and exact equilibria of tables."""

from __future__ import annotations

from importlib.resources import as_file, files

from mairl.core.errors import Unsupported
from mairl.core.learned import Learned
from mairl.recipes.equilibrium import RATIONALITY, equilibrium_expert


def _shipped() -> tuple[str, ...]:
    folder = files("mairl.recipes") / "weights"
    if not folder.is_dir():
        return ()
    return tuple(sorted(entry.name for entry in folder.iterdir() if entry.is_dir()))


EXPERTS: tuple[str, ...] = _shipped()
"""Game ids with an expert that ships; each folder holds its evidence beside the weights."""


def has_expert(game: str) -> bool:
    """Whether there is an expert for this game (id and options as on the command line) without training one."""
    return game in EXPERTS or game.partition(":")[0] in RATIONALITY


def load_expert(game: str) -> Learned:
    """The shipped expert of a game; of a table, its logit equilibrium.

    Raises:
        Unsupported: none ships, with how to train one.
    """
    if not has_expert(game):
        have = ", ".join(EXPERTS) or "none"
        raise Unsupported(f"no expert ships for {game!r} (there are: {have}): mairl expert {game} --train")
    if game not in EXPERTS:
        return equilibrium_expert(game)
    with as_file(files("mairl.recipes") / "weights" / game) as folder:
        return Learned.load(folder)
