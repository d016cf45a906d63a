"""Many files of a known format into one STORE, in parallel, and again from where it was killed.

    STORE.partial/parts/KEY.parquet     the scenarios of one file
    STORE.partial/parts/KEY.json        the same file is finished: what it held and what was bad in it
    STORE.partial/store/                the STORE, put together from the parts once all are there

KEY is made of a file's path, size and time of change, so that a file that has changed is read again. What is written
depends on the files and their order alone: not on the workers, nor on how often the import was killed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from mairl.core.errors import InvalidData, require
from mairl.core.processes import spread
from mairl.scenarios import codec, store
from mairl.scenarios.readers import FORMATS, find, reader
from mairl.scenarios.schema import Scenario


@dataclasses.dataclass(frozen=True)
class Done:
    """How far an import is.

    Attributes:
        files, total_files: of the source.
        bytes, total_bytes: of them.
        scenarios: imported.
        skipped: records and files left out.
    """

    files: int
    total_files: int
    bytes: int
    total_bytes: int
    scenarios: int
    skipped: int


@dataclasses.dataclass(frozen=True)
class _Job:
    """One file to read, and where its parts go: `stem` and an ending."""

    path: Path
    stem: Path
    format: str
    module: str
    skip_bad: bool

    @property
    def finished(self) -> Path:
        return self.stem.with_suffix(".json")

    def part(self, number: int) -> Path:
        return self.stem.with_suffix(f".{number:05d}.parquet")


@dataclasses.dataclass(frozen=True)
class _Held:
    """What a file held: ids of its scenarios, and what was wrong with its other records."""

    ids: tuple[str, ...] = ()
    bad: tuple[str, ...] = ()


_Piece = tuple[Path, tuple[int, ...]]
"""A part, and the rows of it that are used."""


def import_scenarios(
    paths: Sequence[Path],
    name: str,
    out: Path,
    *,
    skip_bad: bool = False,
    workers: int = 0,
    resume: bool = False,
    overwrite: bool = False,
    ray: bool = False,
    report: Callable[[Done], None] = lambda done: None,
    formats: Mapping[str, str] = FORMATS,
) -> dict[str, Any]:
    """Reads files, and folders of files, of one format into a STORE; returns its `metadata.json`.

    Ids are unique in a STORE. Of two scenarios with the same id the second is a bad record.

    Args:
        paths: files and folders, in the order that the scenarios shall have; see `readers.find`.
        name: of the format.
        out: STORE to create.
        skip_bad: leave bad records and files out, and list them in `metadata.json`, instead of ending at the first.
        workers: processes; 0: one per core.
        resume: go on with `{out}.partial` if it exists: files that were finished are not read again.
        overwrite: replace an existing STORE, and unfinished work.
        ray: spread the files over a Ray cluster that sees the same file system.
        report: called after each file.

    Raises:
        InvalidData: a file or record is bad, the first in order; or nothing is left; or `out` is in the way.
    """
    store.refuse_existing(out, overwrite)
    partial = out.with_name(out.name + ".partial")
    if partial.exists() and not resume and not overwrite:
        raise InvalidData(f"{partial} holds an unfinished import: go on with --resume, or start anew with --overwrite")
    files = find(paths, name, formats, skip_bad=skip_bad)
    if ray:
        require("ray", purpose="spread work over a cluster")
    if not resume:
        shutil.rmtree(partial, ignore_errors=True)
    parts = partial / "parts"
    parts.mkdir(parents=True, exist_ok=True)
    jobs = [_Job(path, parts / _key(path, name), name, formats[name], skip_bad) for path in files]
    held = _read_all(jobs, workers, ray, report)
    try:
        kept, skipped = _unique(jobs, held)
    except InvalidData:
        if not any(map(_finished, jobs)):
            # Nothing to go on with: the next import need not be told to start anew.
            shutil.rmtree(partial, ignore_errors=True)
        raise
    building = partial / "store"
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir()
    shards = [(store.shard_path(building, k), pieces) for k, pieces in enumerate(_shards(jobs, kept))]
    if not shards:
        shutil.rmtree(partial, ignore_errors=True)
        reason = skipped[0]["reason"] if skipped else "they have no records"
        raise InvalidData(f"none of {len(files)} files holds a scenario that can be used: {reason}")
    for _ in spread(_write_shard, shards, workers=workers, ray=ray):
        pass
    store.finish(building, {"files": len(files), "skipped": skipped})
    store.put_in_place(building, out)
    return store.read_facts(out)


def _key(path: Path, name: str) -> str:
    about = path.stat()
    facts = [store.VERSION, name, str(path.resolve()), about.st_size, about.st_mtime_ns]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:24]


def _read_all(jobs: list[_Job], workers: int, ray: bool, report: Callable[[Done], None]) -> dict[int, _Held]:
    """What each file held. Where bad ones are not skipped it ends soon after one, but not before all earlier files are
    read, so that the first bad one in order is the same every time."""
    # What was bad is read again: the remedy may lie beside the file.
    held = {k: what for k, job in enumerate(jobs) if (what := _finished(job)) is not None and not what.bad}
    todo = [k for k in range(len(jobs)) if k not in held]
    sizes = [job.path.stat().st_size for job in jobs]
    seen: set[str] = set()
    counts = {"files": 0, "bytes": 0, "scenarios": 0, "skipped": 0}
    spoilt: list[int] = []

    def count(k: int) -> None:
        ids, bad = held[k].ids, held[k].bad
        new = set(ids) - seen
        seen.update(new)
        skipped = len(bad) + len(ids) - len(new)
        for name, more in zip(counts, (1, sizes[k], len(new), skipped), strict=True):
            counts[name] += more
        if skipped and not jobs[k].skip_bad:
            spoilt.append(k)
        report(Done(total_files=len(jobs), total_bytes=sum(sizes), **counts))

    for k in held:
        count(k)
    for i, what in spread(
        _read_file, [jobs[k] for k in todo], workers=workers, ray=ray, stopped=lambda: len(spoilt) > 0
    ):
        held[todo[i]] = what
        count(todo[i])
    return held


def _finished(job: _Job) -> _Held | None:
    try:
        facts = json.loads(job.finished.read_text(encoding="utf-8"))
        return _Held(tuple(facts["ids"]), tuple(facts["bad"]))
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _read_file(job: _Job) -> _Held:
    """Writes a file's parts, `store.SHARD` rows each, then that it is finished. Where bad records are not skipped, one
    leaves the file unfinished."""
    ids: list[str] = []
    bad: list[str] = []
    rows = _rows(job, ids, bad)
    for number in itertools.count():
        if not store.write_rows(job.part(number), itertools.islice(rows, store.SHARD)):
            break
    if job.skip_bad or not bad:
        text = json.dumps({"file": str(job.path), "ids": ids, "bad": bad})
        store.write_text(job.finished, text)
    return _Held(tuple(ids), tuple(bad))


def _rows(job: _Job, ids: list[str], bad: list[str]) -> Iterator[pa.Table]:
    """A file's scenarios as rows; notes their ids, and what is wrong with the other records."""
    for record in _records(job):
        try:
            if isinstance(record, InvalidData):
                raise record
            row = codec.encode(record)
        except InvalidData as error:
            bad.append(str(error) if str(job.path) in str(error) else f"{job.path}: {error}")
            if not job.skip_bad:
                return
        else:
            ids.append(record.scenario_id)
            yield row


def _records(job: _Job) -> Iterator[Scenario | InvalidData]:
    try:
        yield from reader(job.format, {job.format: job.module}).read(job.path)
    except Exception as error:  # A hole in a reader, found by some file out there, is still that file's problem only.
        kind = "" if isinstance(error, InvalidData) else f"{type(error).__name__}: "
        yield InvalidData(f"{job.path} cannot be read ({kind}{' '.join(str(error).split())[:200]})")


def _unique(jobs: list[_Job], held: dict[int, _Held]) -> tuple[list[list[int]], list[dict[str, str]]]:
    """For each file the rows to keep, and what is skipped.

    Raises:
        InvalidData: the first bad record in order, where they are not skipped.
    """
    first: dict[str, tuple[Path, int]] = {}
    kept: list[list[int]] = []
    skipped: list[dict[str, str]] = []
    for k, job in enumerate(jobs):
        what, rows = held.get(k, _Held()), []
        reasons = list(what.bad)
        for row, name in enumerate(what.ids):
            if name in first:
                file, number = first[name]
                where = f"as number {number + 1} of the same file" if file == job.path else f"from {file}"
                reasons.append(f"{job.path}: its scenario {name!r}, number {row + 1}, is already there, {where}")
            else:
                first[name] = job.path, row
                rows.append(row)
        if reasons and not job.skip_bad:
            raise InvalidData(f"{reasons[0]} (--skip-bad leaves out what is bad)")
        kept.append(rows)
        skipped += [{"file": str(job.path), "reason": reason} for reason in reasons]
    return kept, skipped


def _shards(jobs: list[_Job], kept: list[list[int]]) -> list[tuple[_Piece, ...]]:
    """Parts gathered, in order, into shards of at most `store.SHARD` rows."""
    shards: list[tuple[_Piece, ...]] = []
    room = 0
    for job, rows in zip(jobs, kept, strict=True):
        for number, group in itertools.groupby(rows, lambda row: row // store.SHARD):
            piece = (job.part(number), tuple(row % store.SHARD for row in group))
            if len(piece[1]) > room:
                shards.append(())
                room = store.SHARD
            shards[-1] += (piece,)
            room -= len(piece[1])
    return shards


def _write_shard(shard: tuple[Path, tuple[_Piece, ...]]) -> None:
    out, pieces = shard
    part, which = pieces[0]
    if len(pieces) == 1 and len(which) == store.num_rows(part):
        shutil.copyfile(part, out)  # Nothing to add or leave out: no need to compress it again.
        return
    store.write_rows(out, (row for part, which in pieces for row in store.read_rows(part, which)))
