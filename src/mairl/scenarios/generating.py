"""Many made-up scenarios into one STORE, in parallel, and again from where it was killed.

    STORE.partial/parts/KEY.parquet     `PART` scenarios
    STORE.partial/store/                the STORE, put together from the parts once all are there

KEY is made of all that decides what is in a part, so that a part of other wishes is not taken for one of these. What is
written depends on those wishes alone: not on the workers, nor on how often the work was killed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any

from mairl.core.errors import InvalidData
from mairl.core.processes import spread
from mairl.scenarios import codec, store
from mairl.scenarios.generate import KINDS, generate

PART = 8
"""Scenarios in a part: some seconds' work. Whole parts make a shard."""


@dataclasses.dataclass(frozen=True)
class _Job:
    """One part: seeds with the kind of each, and the file."""

    folder: Path
    worlds: tuple[tuple[int, str | None], ...]
    steps: int

    @property
    def file(self) -> Path:
        facts = [store.VERSION, version("mairl"), self.worlds, self.steps]
        return self.folder / f"{hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:24]}.parquet"


def generate_store(
    out: Path,
    worlds: int,
    seed: int = 0,
    kinds: Sequence[str] = (),
    *,
    steps: int = 91,
    workers: int = 0,
    resume: bool = False,
    overwrite: bool = False,
    report: Callable[[int], None] = lambda done: None,
) -> dict[str, Any]:
    """Writes scenarios of `generate` as a STORE, in the order of their seeds; returns its `metadata.json`.

    Args:
        out: STORE to create.
        worlds: scenarios, of the seeds `seed`, `seed + 1` and so on; at least 1.
        seed: not negative.
        kinds: roads, in turn; empty: each seed draws one of all.
        steps: of 0.1 s in a scenario; at least 1. The step that counts as now is the 11th, or the last.
        workers: processes; 0: one per core.
        resume: go on with `{out}.partial` if it exists: parts that were finished are not made again.
        overwrite: replace an existing STORE, and unfinished work.
        report: called with the number of scenarios that are done, after each part.

    Raises:
        InvalidData: a number is out of its range, there is no such kind, or `out` is in the way.
    """
    for name, value, least in (("worlds", worlds, 1), ("seed", seed, 0), ("steps", steps, 1)):
        if value < least:
            raise InvalidData(f"{name} is {value}: choose {least} or more")
    if unknown := sorted(set(kinds) - set(KINDS)):
        raise InvalidData(f"there is no road {', '.join(unknown)}; there are {', '.join(KINDS)}")
    store.refuse_existing(out, overwrite)
    partial = out.with_name(out.name + ".partial")
    if partial.exists() and not resume and not overwrite:
        raise InvalidData(f"{partial} holds unfinished work: go on with --resume, or start anew with --overwrite")
    if not resume:
        shutil.rmtree(partial, ignore_errors=True)
    parts = partial / "parts"
    parts.mkdir(parents=True, exist_ok=True)
    order = [(seed + k, kinds[k % len(kinds)] if kinds else None) for k in range(worlds)]
    jobs = [_Job(parts, tuple(order[k : k + PART]), steps) for k in range(0, worlds, PART)]
    todo = [job for job in jobs if not job.file.exists()]
    done = worlds - sum(len(job.worlds) for job in todo)
    report(done)
    for _, count in spread(_make, todo, workers=workers):
        done += count
        report(done)
    building = partial / "store"
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir()
    many = store.SHARD // PART
    for number in range(0, len(jobs), many):
        rows = (store.read_rows(job.file, range(len(job.worlds))) for job in jobs[number : number + many])
        store.write_rows(store.shard_path(building, number // many), chain.from_iterable(rows))
    wishes = {"worlds": worlds, "seed": seed, "kinds": list(kinds), "steps": steps}
    store.finish(building, {"generated": wishes, "skipped": []})
    store.put_in_place(building, out)
    return store.read_facts(out)


def _make(job: _Job) -> int:
    current = min(10, job.steps - 1)
    rows = (codec.encode(generate(seed, kind, steps=job.steps, current=current)) for seed, kind in job.worlds)
    return store.write_rows(job.file, rows)
