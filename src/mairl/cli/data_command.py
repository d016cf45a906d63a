"""`mairl data import | info | validate`: recordings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from mairl.cli.output import emit
from mairl.data import store


def info(store_path: Annotated[Path, tyro.conf.Positional], *, json: bool = False) -> None:
    """Describes a recording.

    Args:
        store_path: the STORE.
        json: print one JSON object.
    """
    facts = store.info(store_path)
    emit(facts, json, [f"{key}: {value}" for key, value in facts.items()])


def validate(store_path: Annotated[Path, tyro.conf.Positional], *, json: bool = False) -> None:
    """Checks a recording as learning would; exits with 2 and the reason if it is not valid.

    Args:
        store_path: the STORE.
        json: print one JSON object.
    """
    data = store.load(store_path)
    facts = {"valid": True, "episodes": data.num_episodes, "steps": data.num_steps, "agents": data.num_agents}
    emit(facts, json, [f"{store_path}: valid, {data.num_episodes} episodes, {data.num_steps} joint steps"])
