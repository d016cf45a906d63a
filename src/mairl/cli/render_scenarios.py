"""`mairl render` for a store of driving scenarios."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mairl.core.errors import InvalidData

PAGE = 20
"""Scenarios in a page where none are named."""

SMALL = 720
"""Pixels of an animation's longer side: of a still picture there are more."""


def holds_scenarios(source: Path) -> bool:
    """Whether a folder is a store of driving scenarios, by its `metadata.json`."""
    try:
        facts = json.loads((source / "metadata.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(facts, dict) and facts.get("format") == "scenarios"


def render_scenarios(
    source: Path, out: Path, ids: tuple[str, ...] = (), step: int | None = None, fps: float | None = None
) -> None:
    """Draws scenarios of a store: .html plays them, .png shows a step, .gif and .mp4 show the whole log.

    Args:
        ids: which scenarios; without, the first, and in a page the first `PAGE`. Only a page takes several.
        step: of a picture, by default the scenario's current one; where a page starts, by default the first.
        fps: of an animation; by default as many pictures a second as the log has steps.

    Raises:
        InvalidData: another ending, a scenario or step that is not there, or options that do not fit the ending.
        MissingPackage: MP4 without an encoder.
    """
    from PIL import Image

    from mairl.report.animate import write_animation
    from mairl.report.scenario_picture import draw_scene, scene_pictures
    from mairl.report.scenario_player import write_player
    from mairl.report.scenario_scene import Scene
    from mairl.scenarios import store

    kind = out.suffix.lower()
    if kind not in (".html", ".png", ".gif", ".mp4"):
        raise InvalidData(f"cannot write {out.name}: use .html, .gif, .png or .mp4")
    if len(ids) > 1 and kind != ".html":
        raise InvalidData(f"{out.name} shows one scenario, not {len(ids)}: name one, or write a .html")
    if step is not None and kind in (".gif", ".mp4"):
        raise InvalidData(f"{out.name} shows every step: --step is for .png and .html")
    if fps is not None and not fps > 0:
        raise InvalidData(f"--fps is {fps}, expected a positive number")
    opened = store.open(source)
    scenes = [Scene(scenario) for scenario in chosen(source, opened, ids, PAGE if kind == ".html" else 1)]
    if kind == ".html":
        size = write_player(scenes, out, step)
        left = len(opened) - len(scenes)
        print(f"{out}: {len(scenes)} scenarios, {size / 1e6:.2f} MB" + (f"; {left} more in the store" if left else ""))
        return
    if kind == ".png":
        Image.fromarray(draw_scene(scenes[0], step)).save(out)
    else:
        rate = 1 / scenes[0].scenario.dt if fps is None else fps
        write_animation(list(scene_pictures(scenes[0], longest=SMALL)), out, rate)


def chosen(source: Path, scenarios: Sequence[Any], ids: tuple[str, ...], most: int) -> list[Any]:
    """The scenarios of these ids in the order asked for, or without ids the first ones, at most `most`.

    Raises:
        InvalidData: the store is empty, or lacks one of the ids.
    """
    if not len(scenarios):
        raise InvalidData(f"{source} holds no scenarios")
    if not ids:
        return [scenarios[i] for i in range(min(most, len(scenarios)))]
    found: dict[str, Any] = {}
    for i in range(len(scenarios)):
        scenario = scenarios[i]
        if scenario.scenario_id in ids:
            found.setdefault(scenario.scenario_id, scenario)
        if len(found) == len(set(ids)):
            break
    for name in ids:
        if name not in found:
            few = ", ".join(scenarios[i].scenario_id for i in range(min(3, len(scenarios))))
            raise InvalidData(f"{source} has no scenario {name!r} among its {len(scenarios)}; it begins with {few}")
    return [found[name] for name in ids]
