"""Experts whose weights ship with the package."""

from __future__ import annotations

from importlib.resources import as_file, files

from mairl.core.errors import Unsupported
from mairl.core.learned import Learned


def _shipped() -> tuple[str, ...]:
    folder = files("mairl.recipes") / "weights"
    if not folder.is_dir():
        return ()
    return tuple(sorted(entry.name for entry in folder.iterdir() if entry.is_dir()))


EXPERTS: tuple[str, ...] = _shipped()
"""Game ids with an expert that ships; each folder holds its evidence beside the weights."""


def has_expert(game: str) -> bool:
    """Whether an expert for this game (id and options as on the command line) ships."""
    return game in EXPERTS


def load_expert(game: str) -> Learned:
    """The shipped expert of a game.

    Raises:
        Unsupported: none ships, with how to train one.
    """
    if not has_expert(game):
        have = ", ".join(EXPERTS) or "none"
        raise Unsupported(f"no expert ships for {game!r} (there are: {have}): mairl expert {game} --train")
    with as_file(files("mairl.recipes") / "weights" / game) as folder:
        return Learned.load(folder)
