"""`mairl data generate`: made-up driving scenarios as a store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from mairl.cli.live_line import LiveLine
from mairl.cli.output import emit
from mairl.core.errors import InvalidData, MairlError
from mairl.scenarios.generating import generate_store


def generate(
    *,
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])],
    worlds: int,
    seed: int = 0,
    kind: tuple[str, ...] = (),
    steps: int = 91,
    workers: int = 0,
    resume: bool = False,
    overwrite: bool = False,
    json: bool = False,
) -> None:
    """Makes up driving scenarios: a road each, and traffic on it that follows rules.

    The same seed, worlds, kinds and steps give the same store, whatever the number of workers.

    Args:
        out: store (STORE) to create.
        worlds: scenarios, of the seeds SEED, SEED + 1 and so on.
        seed: the first seed.
        kind: roads to draw, in turn, of highway, on_ramp, off_ramp, lane_drop, four_way_signal, four_way_stop,
            t_signal, t_stop and roundabout; none: each world's seed draws one of all.
        steps: of 0.1 s in a scenario.
        workers: processes; 0: one per core.
        resume: go on from STORE.partial.
        overwrite: replace an existing store, and unfinished work.
        json: print one JSON object.
    """
    if workers < 0:
        raise InvalidData(f"--workers is {workers}: choose 1 or more, or 0 for one per core")
    line = LiveLine("generate", "starting")

    def show(done: int) -> None:
        rate = f", {line.speed:,.1f} a second" if line.speed else ""
        line.show(done, worlds, f"{done:,}/{worlds:,} scenarios{rate}")

    try:
        facts = generate_store(
            out, worlds, seed, kind, steps=steps, workers=workers, resume=resume, overwrite=overwrite, report=show
        )
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise MairlError(f"{where}{error.strerror or error}; what was finished stays: go on with --resume") from error
    finally:
        line.close()
    size = sum(shard["bytes"] for shard in facts["shards"])
    names = ("scenarios", "agents", "valid_agent_steps", "generated")
    result = {"out": str(out), **{k: facts[k] for k in names}, "shards": len(facts["shards"]), "bytes": size}
    emit(
        result,
        json,
        [
            f"{out}: {facts['scenarios']:,} scenarios, {facts['agents']:,} agents, "
            f"{facts['valid_agent_steps']:,} agent-steps, {size / 1e6:,.1f} MB"
        ],
    )
