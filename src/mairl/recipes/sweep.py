"""Configurations to compare, and their order: by held-out likelihood, never by the true reward."""

from __future__ import annotations

import ast
import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any, TypeVar

from mairl.core.errors import Unsupported

Configured = TypeVar("Configured")


def configurations(settings: Sequence[str]) -> list[dict[str, Any]]:
    """All combinations of settings written "field=value,value,...", as fields to replace (see `with_fields`).

    Raises:
        Unsupported: a setting that is not written so, or a field named twice.
    """
    names, choices = [], []
    for setting in settings:
        name, equals, values = setting.partition("=")
        if not equals or not name.strip() or not all(v.strip() for v in values.split(",")):
            raise Unsupported(f"settings are written field=value,value, got {setting!r}")
        names.append(name.strip())
        choices.append([_value(v.strip()) for v in values.split(",")])
    if twice := sorted({n for n in names if names.count(n) > 1}):
        raise Unsupported(f"{', '.join(twice)} is set twice: give all values in one setting")
    return [dict(zip(names, each, strict=True)) for each in itertools.product(*choices)]


def with_fields(configured: Configured, fields: dict[str, Any]) -> Configured:
    """A frozen dataclass with fields replaced; "ppo.clip" is the field `clip` of its field `ppo`.

    Raises:
        Unsupported: there is no such field, with what there is; or a value of another type.
    """
    for path, value in fields.items():
        first, _, rest = path.partition(".")
        known = {f.name: f for f in dataclasses.fields(configured)}  # pyright: ignore[reportArgumentType]
        if first not in known:
            kind = type(configured).__name__
            raise Unsupported(f"{kind} has no field {first!r}; it has {', '.join(known)}")
        inner = getattr(configured, first)
        if rest and not dataclasses.is_dataclass(inner):
            raise Unsupported(f"{first!r} has no fields of its own, so there is no {path!r}")
        new = with_fields(inner, {rest: value}) if rest else _like(inner, value, path)
        configured = dataclasses.replace(configured, **{first: new})  # pyright: ignore[reportArgumentType]
    return configured


def name_of(fields: dict[str, Any]) -> str:
    """A configuration as the name of its folder."""
    return ",".join(f"{name}={value}" for name, value in fields.items()).replace("/", "_") or "recipe"


def ranked(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Best held-out likelihood first; those without one, or with a frozen seed, last."""

    def key(row):
        score = row["heldout_log_likelihood"]
        return (bool(row["failures"]), score is None, -(score or 0.0))

    return sorted(rows, key=key)


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _like(old: Any, new: Any, path: str) -> Any:
    """A value of the old one's type: 1 for 1.0, but no words for numbers."""
    if isinstance(old, float) and isinstance(new, int) and not isinstance(new, bool):
        return float(new)
    if old is not None and new is not None and type(old) is not type(new):
        raise Unsupported(f"{path} is {type(old).__name__} (now {old!r}), so it cannot be {new!r}")
    return new
