"""`mairl bench NAME`: rates of ours and of installed peers."""

from __future__ import annotations

import datetime
import json as jsonlib
import sys
from pathlib import Path
from typing import Annotated, Literal

import tyro

from mairl.algorithms.run_folder import provenance
from mairl.cli.output import emit, finite
from mairl.core.errors import InvalidData


def bench(
    name: Annotated[Literal["games", "learn", "learners", "scenarios", "driving"], tyro.conf.Positional],
    *,
    data: Path | None = None,
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None,
    json: bool = False,
) -> None:
    """Measures speed on this machine. Leave it alone meanwhile: rates are medians of a few repeats.

    Args:
        name: "games" (random play), "learn" (training), "learners" (learning from learners), "scenarios" (importing the
            Waymo Open Motion Dataset) or "driving" (random driving).
        data: for "scenarios": a TFRecord file of the dataset; for "driving": a STORE of scenarios. Default: made-up
            scenes.
        out: also write the result to this JSON file.
        json: print one JSON object.
    """
    if data is not None and name not in ("scenarios", "driving"):
        raise InvalidData(f"--data is for scenarios and driving, not for {name}")

    def note(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    if name == "games":
        from mairl.bench.games import bench_games

        result = bench_games()
    elif name == "scenarios":
        from mairl.bench.scenarios import bench_scenarios

        result = bench_scenarios(data)
    elif name == "learners":
        from mairl.bench.learners import bench_learners

        result = bench_learners()
    elif name == "learn":
        from mairl.bench.learn import bench_learn

        result = bench_learn(note=note)
    else:
        from mairl.bench.driving import bench_driving

        result = bench_driving(None if data is None else str(data), note)
    today = datetime.date.today().isoformat()
    command = f"mairl bench {name}{' --data PATH' if data is not None else ''} --json"
    result = {"bench": name, "command": command, "date": today, **provenance(), **result}
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(jsonlib.dumps(finite(result), indent=1))
    emit(result, json, list(lines_of(result)))


def lines_of(tree, depth: int = 0):
    """A nested result as indented lines."""
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        if isinstance(value, dict | list) and value:
            yield f"{'  ' * depth}{key}"
            yield from lines_of(value, depth + 1)
        else:
            shown = f"{value:,.4g}" if isinstance(value, float) else value
            yield f"{'  ' * depth}{key}: {shown}"


def main(argv: list[str]) -> None:
    """Parses and runs."""
    tyro.cli(bench, args=argv, prog="mairl bench")
