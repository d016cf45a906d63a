"""Errors that a user can act on: what was wrong, in numbers, and what to do about it."""

from __future__ import annotations


class MairlError(Exception):
    """Base of every error that mairl raises on purpose. The command line prints it as one line and exits with 2."""


class InvalidData(MairlError):
    """Recordings, stores or files that cannot be used as they are."""


class InvalidGame(MairlError):
    """A game, or a game and its data, that do not fit together."""


class Unsupported(MairlError):
    """A combination that is refused because its result would be wrong or meaningless; the message says why."""


class Diverged(MairlError):
    """A training that has nothing to show: in every seed some number was no longer finite."""


class MissingPackage(MairlError):
    """An optional package is needed and absent; the message holds the install command."""


def require(module: str, *, package: str | None = None, purpose: str):
    """Imports an optional module, or says how to install it.

    Args:
        module: dotted name, such as `"pettingzoo.test"`.
        package: what to install, if its name differs from the module's first part.
        purpose: what it is needed for, as in "needed to {purpose}".

    Raises:
        MissingPackage: the module cannot be imported.
    """
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError as error:
        name = package or module.split(".")[0]
        raise MissingPackage(f"{name} is needed to {purpose}: pip install {name}") from error
