"""Scenarios on disk: a folder that appears only when complete, and is read one scenario at a time.

    STORE/metadata.json          format, version, source, totals, what was skipped, and the shards with their SHA-256
    STORE/index.parquet          the columns to filter on (`codec.METADATA`), all scenarios in order
    STORE/shard-00000.parquet    whole scenarios (`codec.SCHEMA`, zstd): one a row, and one a row group

Any Parquet reader can query them: `select avg(num_agents) from 'STORE/index.parquet' where num_steps = 91`.

Damage is found where it is read: the index is compared with its SHA-256 when a store is opened, and each page of a
shard with a checksum of its own. Stores written before pages had one are read without.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, overload

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mairl.core import folders
from mairl.core.errors import InvalidData
from mairl.core.folders import digest, sync
from mairl.scenarios import codec
from mairl.scenarios.schema import Scenario
from mairl.scenarios.validate import validated
from mairl.scenarios.where import condition

FORMAT = "scenarios"
VERSION = 1

SHARD = 128
"""Scenarios in a shard, unless a single file of the source holds more. A reader parses the footer of a whole shard
before it reads one scenario, so that longer shards would make it wait."""

_BROKEN = (OSError, pa.ArrowException, IndexError, UnicodeDecodeError)
"""What reading damaged Parquet raises. The last: a column's name is no text any more."""


class Store(Sequence[Scenario]):
    """Scenarios of a STORE, or those of them that `where` left: `len`, `[i]`, iteration.

    Only the columns to filter on are in memory. Pickles to its path and row numbers, so that every worker of a data
    loader opens its own; threads may share one.

    Attributes:
        path: the STORE.
        facts: its `metadata.json`.
        metadata: one row a scenario, in the order of `[i]`; see `codec.METADATA`.
        rows: `[i]`, the number of each among all of the STORE.
    """

    def __init__(self, path: str | Path, rows: np.ndarray | None = None):
        self.path = Path(path)
        self.facts = read_facts(self.path)
        index = _index(self.path, self.facts)
        self._starts = np.cumsum([0, *[shard["scenarios"] for shard in self.facts["shards"]]])
        self.rows = np.arange(index.num_rows) if rows is None else rows
        self.metadata: pa.Table = index if rows is None else index.take(pa.array(rows))

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, i: int) -> Scenario: ...
    @overload
    def __getitem__(self, i: slice) -> Store: ...
    def __getitem__(self, i):
        """Reads the i-th scenario and no other; a slice is a `Store` of fewer.

        Raises:
            InvalidData: its shard is missing or damaged.
        """
        if isinstance(i, slice):
            return Store(self.path, self.rows[i])
        if not -len(self) <= i < len(self):
            raise IndexError(f"scenario {i} of {len(self)} in {self.path}")
        row = int(self.rows[i])
        shard = int(np.searchsorted(self._starts, row, side="right")) - 1
        return codec.decode(_read(self.path / self.facts["shards"][shard]["file"], row - int(self._starts[shard])))

    def __iter__(self) -> Iterator[Scenario]:
        return (self[i] for i in range(len(self)))

    def where(self, text: str) -> Store:
        """Those for which a condition on the columns of `metadata` holds: `"num_agents > 20 and dt == 0.1"`.

        Raises:
            InvalidData: see `where.condition`.
        """
        numbered = self.metadata.append_column("", pa.array(self.rows))
        kept = numbered.filter(condition(text, codec.METADATA))
        return Store(self.path, kept[""].to_numpy())

    def __reduce__(self):
        return Store, (self.path, self.rows)


def open(path: str | Path) -> Store:
    """A STORE to read.

    Raises:
        InvalidData: no store of scenarios, an unfinished or a damaged one.
    """
    return Store(path)


def save(scenarios: Iterable[Scenario], path: str | Path, *, overwrite: bool = False) -> None:
    """Writes scenarios as a STORE, in their order. Killed at any moment, it leaves no store or a whole one.

    Raises:
        InvalidData: `path` exists and `overwrite` is not set, two have the same id, or there are none.
    """
    path = Path(path)
    refuse_existing(path, overwrite)
    partial = path.with_name(path.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    building = partial / "store"
    building.mkdir(parents=True)
    rows = (codec.encode(validated(scenario)) for scenario in scenarios)
    for number in itertools.count():
        if not write_rows(shard_path(building, number), itertools.islice(rows, SHARD)):
            break
    finish(building, {"skipped": []})
    put_in_place(building, path)


def shard_path(folder: Path, number: int) -> Path:
    """The file of a shard."""
    return folder / f"shard-{number:05d}.parquet"


def write_rows(path: Path, rows: Iterable[pa.Table]) -> int:
    """Writes rows of `codec.encode` as one Parquet file that appears when complete; returns their number. Of no rows
    there is no file."""
    rows = iter(rows)
    first = next(rows, None)
    if first is None:
        return 0
    partial = _partial(path)
    count = 0
    with codec.writer(partial) as sink:
        for row in itertools.chain([first], rows):
            sink.write_table(row)
            count += 1
    _appear(partial, path)
    return count


def write_text(path: Path, text: str) -> None:
    """Writes a text file that appears when complete."""
    partial = _partial(path)
    partial.write_text(text, encoding="utf-8")
    _appear(partial, path)


def _partial(path: Path) -> Path:
    # Of its own name: a killed process that is not quite dead must not write into its successor's file.
    return path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")


def _appear(partial: Path, path: Path) -> None:
    sync(partial)
    os.replace(partial, path)


def finish(folder: Path, facts: dict[str, Any]) -> None:
    """Adds `index.parquet` and `metadata.json` to a folder that holds the shards.

    Args:
        facts: what else `metadata.json` shall say.

    Raises:
        InvalidData: two scenarios have the same id, or there are none.
    """
    files = sorted(folder.glob("shard-*.parquet"))
    if not files:
        raise InvalidData("there are no scenarios to write")
    parts = [_table(file, codec.METADATA.names) for file in files]
    index = pa.concat_tables(parts).combine_chunks()
    name, times = Counter(index["scenario_id"].to_pylist()).most_common(1)[0]
    if times > 1:
        raise InvalidData(f"{times} scenarios have the id {name!r}: give each its own")
    pq.write_table(index, folder / "index.parquet", compression="zstd")
    whole = {
        "format": FORMAT,
        "version": VERSION,
        "source": sorted(set(index["source"].to_pylist())),
        "scenarios": index.num_rows,
        "agents": int(index["num_agents"].to_numpy().sum()),
        "valid_agent_steps": int(index["valid_agent_steps"].to_numpy().sum()),
        **facts,
        "index_sha256": digest(folder / "index.parquet"),
        "shards": [
            {"file": file.name, "scenarios": part.num_rows, "bytes": file.stat().st_size, "sha256": digest(file)}
            for file, part in zip(files, parts, strict=True)
        ],
    }
    (folder / "metadata.json").write_text(json.dumps(whole, indent=1), encoding="utf-8")


def put_in_place(building: Path, path: Path) -> None:
    """Makes the finished folder STORE.partial/store the STORE, and takes STORE.partial away."""
    folders.put_in_place(building, path)
    shutil.rmtree(building.parent, ignore_errors=True)


def refuse_existing(path: Path, overwrite: bool) -> None:
    """Lets nothing be replaced that the user did not ask to replace, or that is no store.

    Raises:
        InvalidData: see above.
    """
    if path.exists() and not overwrite:
        raise InvalidData(f"{path} exists: choose another folder, or replace it on purpose (--overwrite)")
    if path.exists() and not is_store(path):
        raise InvalidData(f"{path} exists and is no store of scenarios: choose another folder")
    if path.is_symlink() and not path.exists():
        raise InvalidData(f"{path} is a link to what is not there: choose another folder")
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:
        raise InvalidData(f"{str(path)!r} is no name in UTF-8: choose another folder") from None


def is_store(path: Path) -> bool:
    """The folder is, or was before it was damaged, a store of scenarios (and not a recording of play)."""
    try:
        facts = json.loads((path / "metadata.json").read_bytes())
        return isinstance(facts, dict) and facts.get("format") == FORMAT
    except (OSError, ValueError, RecursionError):
        return shard_path(path, 0).is_file()


def read_facts(path: Path) -> dict[str, Any]:
    """The store's `metadata.json`, checked.

    Raises:
        InvalidData: no store of scenarios, an unfinished one, or one by another version.
    """
    if not path.is_dir():
        partial = path.with_name(path.name + ".partial")
        hint = f"; {partial} is an unfinished one: go on with --resume" if partial.exists() else ""
        raise InvalidData(f"{path} is no store of scenarios{hint}")
    try:
        facts = json.loads((path / "metadata.json").read_bytes())
        kind, version = facts["format"], facts.get("version")
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise InvalidData(f"{path}/metadata.json is missing or damaged: import the scenarios again") from error
    if kind != FORMAT:
        raise InvalidData(f"{path} is no store of scenarios: its metadata.json has the format {kind!r}")
    if version != VERSION:
        raise InvalidData(f"{path} has version {version}, this one reads {VERSION}: import the scenarios again")
    try:
        if sum(int(shard["scenarios"]) for shard in facts["shards"]) != facts["scenarios"]:
            raise ValueError
        if not all(type(facts[name]) is int for name in ("scenarios", "agents", "valid_agent_steps")):
            raise ValueError
        if not (type(facts["source"]) is list and all(type(name) is str for name in facts["source"])):
            raise ValueError
        if not all(type(bad) is dict and "reason" in bad for bad in facts["skipped"]):
            raise ValueError
        _ = [Path(shard["file"]).name + shard["sha256"] for shard in facts["shards"]] + [facts["index_sha256"]]
    except (LookupError, TypeError, ValueError) as error:
        raise InvalidData(f"{path}/metadata.json is damaged: import the scenarios again") from error
    return facts


def validate(path: str | Path) -> dict[str, int]:
    """Reads every scenario as training would, and compares every file with `metadata.json`; returns the totals.

    Raises:
        InvalidData: the first thing that is wrong.
    """
    store = open(path)
    for shard in store.facts["shards"]:
        _compare(store.path / shard["file"], shard["sha256"])
    rows = store.metadata.to_pylist()
    totals = {"source": sorted({row["source"] for row in rows}), "scenarios": len(rows)}
    totals |= {"agents": sum(row["num_agents"] for row in rows)}
    totals |= {"valid_agent_steps": sum(row["valid_agent_steps"] for row in rows)}
    for name, value in totals.items():
        if store.facts[name] != value:
            raise InvalidData(f"{store.path}/metadata.json says {name} {store.facts[name]}, the index has {value}")
    for i, row in enumerate(rows):
        scenario = validated(store[i])
        if codec.metadata(scenario) != row:
            raise InvalidData(f"{store.path}: row {i} of index.parquet is not about {scenario.scenario_id!r}: {row}")
    return {name: store.facts[name] for name in ("scenarios", "agents", "valid_agent_steps")}


def num_rows(file: Path) -> int:
    """Scenarios in a shard.

    Raises:
        InvalidData: it is missing or damaged.
    """
    try:
        return _footer(file, file.stat().st_mtime_ns).num_rows
    except _BROKEN as error:
        raise _damaged(file, error) from error


def read_rows(file: Path, which: Iterable[int]) -> Iterator[pa.Table]:
    """Rows of a shard, one by one.

    Raises:
        InvalidData: it is missing or damaged.
    """
    return (_read(file, row) for row in which)


def _read(file: Path, row: int) -> pa.Table:
    try:
        # A new handle each time: nothing that threads share, or that a worker would inherit. The footer is kept.
        footer = _footer(file, file.stat().st_mtime_ns)
        with pq.ParquetFile(file, metadata=footer, page_checksum_verification=True) as shard:
            return shard.read_row_group(row, use_threads=False)
    except _BROKEN as error:
        raise _damaged(file, error) from error


def _table(file: Path, columns: Sequence[str] | None = None) -> pa.Table:
    try:
        return pq.read_table(file, columns=columns, use_threads=False, page_checksum_verification=True)
    except _BROKEN as error:
        raise _damaged(file, error) from error


def _damaged(file: Path, error: Exception) -> InvalidData:
    reason = " ".join(str(error).split())[:120]
    return InvalidData(f"{file} is missing, cut or damaged ({reason}): import the scenarios again")


@lru_cache(maxsize=16)
def _footer(file: Path, _: int) -> pq.FileMetaData:
    return pq.read_metadata(file)


def _index(path: Path, facts: dict[str, Any]) -> pa.Table:
    index = _table(path / "index.parquet")
    _compare(path / "index.parquet", facts["index_sha256"])
    if index.schema.names != codec.METADATA.names or index.num_rows != facts["scenarios"]:
        raise InvalidData(f"{path}/index.parquet does not fit metadata.json: import the scenarios again")
    return index


def _compare(file: Path, digested: str) -> None:
    try:
        same = digest(file) == digested
    except OSError as error:
        raise InvalidData(f"{file} cannot be read ({error.strerror}): import again") from error
    if not same:
        raise InvalidData(f"{file} is damaged: its SHA-256 is not the one in metadata.json; import again")
