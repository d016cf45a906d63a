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
    overwrite: bool = False,
    json: bool = False,
) -> None:
    """Writes the policy of one seed of a run.

    Args:
        run: the RUN.
        out: numpy: folder to create, which works with NumPy alone (`from policy import Policy`); onnx: file to create.
        format: what to write.
        seed: which; default: the run's first.
        overwrite: replace what exists.
        json: print one JSON object.
    """
    from mairl.core.learned import Learned
    from mairl.export import export_numpy, export_onnx
    from mairl.games import make_game
    from mairl.games.recorded import RecordedGame
    from mairl.metrics.evaluate import load_demos, read_run

    facts, _ = read_run(run)
    seeds = facts["seeds"]
    seed = seeds[0] if seed is None else seed
    if seed not in seeds:
        raise InvalidData(f"{run} has no seed {seed}; it has {', '.join(map(str, seeds))}")
    learned = Learned.load(run / "learned", seed=seeds.index(seed))
    if facts.get("game") not in (None, "", "none"):
        game = make_game(facts["game"])
    elif (data := load_demos(facts)) is not None:
        game = RecordedGame.of(data)
    else:
        raise InvalidData(f"{run} learned from {facts.get('demos')}, which is gone: put the recording back there")
    if format == "onnx":
        export_onnx(learned, out, game.num_agents, game.observation_spec, overwrite=overwrite)
    else:
        export_numpy(learned, out, game.num_agents, overwrite=overwrite)
    what = {"run": str(run), "out": str(out), "format": format, "seed": seed, "agents": game.num_agents}
    emit(what, json, [f"{out}: the policy of seed {seed}, {game.num_agents} agents, as {format}"])


def main(argv: list[str]) -> None:
    """Parses and runs."""
    tyro.cli(export, args=argv, prog="mairl export")
