"""`mairl list`: what there is to choose from."""

from __future__ import annotations

import tyro

from mairl.algorithms.explain import ABOUT
from mairl.algorithms.registry import ALGORITHMS
from mairl.cli.output import emit
from mairl.games import GAMES
from mairl.recipes import EXPERTS, LEARNERS, has_expert


def main(argv: list[str]) -> None:
    """Lists games, algorithms and recipes."""
    tyro.cli(show, args=argv, prog="mairl list")


def show(*, json: bool = False) -> None:
    """Lists games, algorithms and recipes.

    Args:
        json: print one JSON object.
    """
    width = max(map(len, [*GAMES, *ALGORITHMS]))
    lines = ["games"]
    lines += [f"  {name:<{width}}  {'expert ships' if has_expert(name) else ''}".rstrip() for name in GAMES]
    lines += [f"  {name}  expert ships" for name in EXPERTS if name not in GAMES]
    lines += ["algorithms", *(f"  {name:<{width}}  {entry.about}" for name, entry in ALGORITHMS.items())]
    lines += ["from agents that are still learning", *(f"  {name:<{width}}  {about}" for name, about in ABOUT.items())]
    lines += ["tuned learners", *(f"  {a}: {', '.join(f'{k}={v}' for k, v in f.items())}" for a, f in LEARNERS.items())]
    result = {
        "games": list(GAMES),
        "algorithms": {name: entry.about for name, entry in ALGORITHMS.items()},
        "explainers": ABOUT,
        "experts": list(dict.fromkeys([*EXPERTS, *filter(has_expert, GAMES)])),
        "recipes": [{"algorithm": a, **fields} for a, fields in LEARNERS.items()],
    }
    emit(result, json, lines)
