"""`mairl export RUN`: a learned policy for use without mairl."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import tyro

from mairl.cli.output import emit
from mairl.core.errors import InvalidData


def export(
    run: Annotated[Path, tyro.conf.Positional],
    *,
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])],
    format: Literal["numpy", "onnx"] = "numpy",
    seed: int | None = None,
    game: str = "",
    demos: Path | None = None,
    overwrite: bool = False,
    json: bool = False,
) -> None:
    """Writes the policy of one seed of a run.

    Args:
        run: the RUN.
        out: numpy: folder to create, which works with NumPy alone (`from policy import Policy`); onnx: file to create.
        format: what to write.
        seed: which; default: the run's first.
        game: id and options of its game, if the run names none and they are needed: for onnx, and where all agents
            share one network.
        demos: the recording that it learned from, instead.
        overwrite: replace what exists.
        json: print one JSON object.
    """
    from mairl.cli.run_game import agents_of, game_or_recording, told
    from mairl.core.learned import Learned
    from mairl.export import export_numpy, export_onnx
    from mairl.metrics.evaluate import load_demos, read_run

    facts, _ = read_run(run)
    seeds = facts["seeds"]
    seed = seeds[0] if seed is None else seed
    if seed not in seeds:
        raise InvalidData(f"{run} has no seed {seed}; it has {', '.join(map(str, seeds))}")
    learned = Learned.load(run / "learned", seed=seeds.index(seed))
    agents = agents_of(learned.policy)
    if format == "onnx" or agents is None:
        facts = told(facts, game, demos)
        played = game_or_recording(run, facts, load_demos(facts))
        agents = played.num_agents
        if format == "onnx":
            export_onnx(learned, out, agents, played.observation_spec, overwrite=overwrite)
    if format == "numpy":
        export_numpy(learned, out, agents, overwrite=overwrite)
    what = {"run": str(run), "out": str(out), "format": format, "seed": seed, "agents": agents}
    emit(what, json, [f"{out}: the policy of seed {seed}, {agents} agents, as {format}"])


def main(argv: list[str]) -> None:
    """Parses and runs."""
    tyro.cli(export, args=argv, prog="mairl export")
