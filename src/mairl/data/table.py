"""Recordings in tables: CSV, NPZ or Parquet, with names for the columns."""

from __future__ import annotations

import collections
import dataclasses
import difflib
import fnmatch
import re
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from mairl.core.errors import InvalidData
from mairl.core.spaces import Discrete
from mairl.data.demonstrations import Demonstrations, Metadata, demonstrations


@dataclasses.dataclass(frozen=True)
class Mapping:
    """Which columns mean what.

    Long tables have one row per step and agent, told apart by `agent`. Wide ones have one row per step; then names hold
    "{agent}", which stands for 0, 1, … up to `agents`.

    Attributes:
        obs: names of the observation's columns; `*` stands for anything. Several are joined in the table's order.
        action: the action's column, or several (`*`) for vectors.
        episode: tells episodes apart, in any values. Empty: all rows are one episode.
        step: orders an episode's rows; whole numbers without gaps. Empty: the table's order.
        agent: tells agents apart in long tables, in any values, sorted (agent_2 before agent_10). An agent that leaves
            early has no rows after its last. Empty: a wide table.
        agents: how many agents a wide table has.
        reward: the true reward, if recorded; only used to measure.
        terminated: whether the future after the row is worth 0; default: never.
        num_actions: number of discrete actions; default: the largest recorded one and 1.
        continuous: actions are vectors, even where a single column holds only whole numbers.
    """

    obs: tuple[str, ...] = ("obs*",)
    action: tuple[str, ...] = ("action",)
    episode: str = "episode"
    step: str = "step"
    agent: str = ""
    agents: int = 1
    reward: str = ""
    terminated: str = ""
    num_actions: int | None = None
    continuous: bool = False


def read_table(paths: list[Path], mapping: Mapping, metadata: Metadata = Metadata()) -> Demonstrations:
    """Reads tables as one recording. Formats are known by content.

    The observation after an agent's last step is not in such tables: the last one is repeated there, and the episode
    counts as cut unless it terminated. An agent that left sees zeros from then on, and takes no part. The names of
    agents in long tables are kept in the metadata, as `agent_names`.

    Raises:
        InvalidData: files that cannot be read, columns that are missing (with the nearest ones that exist) or there
            twice, values that are not finite, steps with gaps or after the end, agents that come late or come back,
            actions that are out of range.
    """
    for name, count in (("agents", mapping.agents), ("num_actions", mapping.num_actions)):
        if count is not None and count < 1:
            raise InvalidData(f"{name} is {count}: choose 1 or more")
    if not paths:
        raise InvalidData("no table is named: name one or more files")
    if mapping.agents > 1 and not mapping.agent and not any("{agent}" in name for name in mapping.action):
        raise InvalidData(
            f"{mapping.agents} agents would all take the actions of {', '.join(mapping.action)}: name each one's "
            "columns with {agent}, such as --action action_{agent}, or the column that tells agents apart (--agent)"
        )
    tables = [_columns(Path(p), mapping) for p in paths]
    columns = _joined(tables, paths)
    file = np.repeat(np.arange(len(tables)), [len(next(iter(table.values()))) for table in tables])
    rows, episodes, names = _rows(columns, mapping, file, [str(p) for p in paths])
    present = rows >= 0
    lengths_each = present.sum(1)
    lengths = lengths_each.max(1)

    def gather(patterns: tuple[str, ...], role: str, dtype: Any = np.float32) -> np.ndarray:
        """`[episode, time, agent, column]`, zeros where an agent has no row."""
        parts = []
        for agent in range(rows.shape[2]):
            here = present[:, :, agent]
            found = [n for p in patterns for n in _matching(columns, p.replace("{agent}", str(agent)), role)]
            values = [_numbers(columns, n, rows[:, :, agent][here]) for n in dict.fromkeys(found)]
            part = np.zeros((*here.shape, len(values)), dtype)
            part[here] = np.stack(values, axis=-1)
            parts.append(part)
            if len(values) != parts[0].shape[-1]:
                raise InvalidData(
                    f"agent {agent} has {len(values)} {role} columns and agent 0 has {parts[0].shape[-1]}: "
                    "all need as many"
                )
        return np.stack(parts, axis=2)

    obs = gather(mapping.obs, "observation")
    obs = np.concatenate([obs, np.zeros_like(obs[:, :1])], axis=1)
    e, a = np.indices(lengths_each.shape)
    obs[e, lengths_each, a] = obs[e, lengths_each - 1, a]
    terminated = np.zeros(rows.shape, bool)
    if mapping.terminated:
        terminated = gather((mapping.terminated,), "terminated")[..., 0] != 0
    early = terminated[:, :-1] & present[:, 1:]
    if early.any():
        e, t, a = np.argwhere(early)[0]
        step = columns[mapping.step][rows[e, t, a]] if mapping.step in columns else t
        raise InvalidData(
            f"column {mapping.terminated!r} ends episode {episodes[e]} in step {step}, but rows of it follow "
            f"({int(early.sum())} such places): split the episode there, or drop the rows after its end"
        )
    # Who has terminated stays so while others go on.
    terminated = np.logical_or.accumulate(terminated, axis=1)
    last = np.arange(rows.shape[1])[None] == lengths[:, None] - 1
    action, space = _actions(gather(mapping.action, "action", np.float64), mapping)
    return demonstrations(
        actions=action,
        lengths=lengths,
        terminated=terminated,
        truncated=last & ~terminated.all(-1),
        mask=present,
        obs=obs,
        true_reward=gather((mapping.reward,), "reward")[..., 0] if mapping.reward else None,
        metadata=Metadata.of(**{**metadata.facts(), "agent_names": names}) if mapping.agent else metadata,
        action_space=space,
    )


def _rows(
    columns: dict[str, np.ndarray], mapping: Mapping, file: np.ndarray, files: list[str]
) -> tuple[np.ndarray, list[str], list[str]]:
    """The table's row of each `[episode, time, agent]`, -1 where there is none; episodes and agents as they are called.

    Episodes stay in the order in which they first appear in the table, whoever is first in it.
    """
    every = np.arange(len(next(iter(columns.values()))))
    episodes, episode = _labels(columns, mapping.episode, "episode")
    agents, agent = _labels(columns, mapping.agent, "agent", natural=True)
    step = every
    if mapping.step:
        step = _numbers(columns, _matching(columns, mapping.step, "step")[0], every)
    order = np.lexsort((step, agent, episode))
    episode, agent, step, file = episode[order], agent[order], step[order], file[order]
    # Rows of one agent in one episode are now neighbours.
    group = episode * len(agents) + agent
    found, start, length = np.unique(group, return_index=True, return_counts=True)
    if len(absent := np.setdiff1d(np.arange(len(episodes) * len(agents)), found)):
        e, a = divmod(absent[0], len(agents))
        raise InvalidData(
            f"episode {episodes[e]} has no rows of agent {agents[a]} ({len(absent)} such cases): every agent needs a "
            "row for every step until it leaves"
        )
    jumps = np.flatnonzero((np.diff(group) == 0) & ((np.diff(step) != 1) | (not mapping.step and np.diff(file) != 0)))
    if len(jumps) and mapping.episode and file[jumps[0]] != file[jumps[0] + 1]:
        k = jumps[0]
        raise InvalidData(
            f"episode {episodes[episode[k]]} is in {files[file[k]]} and in {files[file[k + 1]]}: give the episodes of "
            "different files different names, or import each file by itself"
        )
    if mapping.step and len(jumps):
        k = jumps[0]
        who = f"agent {agents[agent[k]]}, " if mapping.agent else ""
        raise InvalidData(
            f"{who}episode {episodes[episode[k]]}: step {step[k]:.10g} is followed by {step[k + 1]:.10g}; they must go "
            f"up by 1 ({len(jumps)} such places): drop repeated rows, or split the episode at gaps"
        )
    time = every - np.repeat(start, length)
    if mapping.step:
        first = step[start].reshape(len(episodes), len(agents))
        differs = first != first.min(1, keepdims=True)
    else:
        # Nothing tells a row that is missing from an agent that left.
        first = length.reshape(len(episodes), len(agents))
        differs = first != first.max(1, keepdims=True)
    if differs.any():
        e, a = np.argwhere(differs)[0]
        others = first[e].min() if mapping.step else first[e].max()
        what = "starts in step" if mapping.step else "without a column of steps, the number of rows is"
        raise InvalidData(
            f"agent {agents[a]}, episode {episodes[e]}: {what} {first[e, a]:.10g}, and {others:.10g} for others: every "
            "agent needs a row for every step until it leaves"
        )
    rows = np.full((len(episodes), int(length.max()), len(agents)), -1)
    rows[episode, time, agent] = order
    return rows if mapping.agent else np.repeat(rows, mapping.agents, axis=2), episodes, agents


def _actions(action: np.ndarray, mapping: Mapping) -> tuple[np.ndarray, Discrete | None]:
    """Choices `[episode, time, agent]` and how many there are, or vectors as they are."""
    discrete = action.shape[-1] == 1 and not mapping.continuous and np.array_equal(action, np.round(action))
    if not discrete:
        if mapping.num_actions is not None:
            raise InvalidData(
                f"num_actions is {mapping.num_actions}, but the actions are vectors: leave it out, or give one column "
                "of whole numbers"
            )
        return action, None
    if action.min() < 0:
        raise InvalidData(
            f"{int((action < 0).sum())} actions are out of range, down to {action.min():.10g}: choices are numbered "
            "from 0; say so if they are quantities (--continuous)"
        )
    return action[..., 0], Discrete(mapping.num_actions or int(action.max()) + 1)


def _columns(path: Path, mapping: Mapping) -> dict[str, np.ndarray]:
    """The columns of one file, `[row]` each; rows of arrays or lists become columns name_0 … name_k-1. Those
    that are not asked for may be of other forms: they are left out."""
    try:
        with open(path, "rb") as file:
            head = file.read(4)
        if head == b"PK\x03\x04":
            columns = _npz(path, mapping)
        else:
            # Parquet by its own reader: `pq.read_table` refuses names that are there twice without saying so.
            table = pq.ParquetFile(path).read() if head == b"PAR1" else pacsv.read_csv(path)
            named = zip(table.column_names, table.columns, strict=True)
            columns = []
            for name, column in named:
                try:
                    columns += _split(name, _array(path, name, column))
                except InvalidData:
                    if _asked(name, mapping):
                        raise
    except FileNotFoundError as error:
        raise InvalidData(f"{path} does not exist") from error
    except (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error, pa.ArrowException) as error:
        reason = " ".join(str(error).split())[:160]
        raise InvalidData(f"{path} is cut, or no CSV, NPZ or Parquet table: {reason}; write it again") from error
    count = collections.Counter(name for name, _ in columns)
    if twice := [name for name, n in count.items() if n > 1]:
        raise InvalidData(f"{path} has column {twice[0]!r} more than once: rename or drop all but one")
    if len(lengths := {len(values) for _, values in columns}) > 1:
        raise InvalidData(f"{path} holds arrays of lengths {sorted(lengths)}: one row each a step")
    if lengths in (set(), {0}):
        raise InvalidData(f"{path} has no rows")
    return dict(columns)


def _npz(path: Path, mapping: Mapping) -> list[tuple[str, np.ndarray]]:
    # Opened here: of a damaged file NumPy would leave its own open.
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        arrays = [(name, archive[name]) for name in archive.files]
    arrays = [(name, values) for name, values in arrays if values.ndim]
    rows = {len(values) for name, values in arrays if _asked(name, mapping)}
    fits = [(name, values) for name, values in arrays if not rows or len(values) in rows or _asked(name, mapping)]
    return [part for name, values in fits for part in _split(name, values)]


def _asked(name: str, mapping: Mapping) -> bool:
    """Whether a column, or those that its lists become, may be one that is named."""
    single = (mapping.episode, mapping.step, mapping.agent, mapping.reward, mapping.terminated)
    patterns = [p.replace("{agent}", "*") for p in (*mapping.obs, *mapping.action, *single) if p]
    return any(name == p or fnmatch.fnmatchcase(name, p) or fnmatch.fnmatchcase(f"{name}_0", p) for p in patterns)


def _array(path: Path, name: str, column: pa.ChunkedArray) -> np.ndarray:
    """A column's values `[row]`, or those of its lists `[row, k]`."""
    shape = [len(column)]
    lists = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    while any(is_one(column.type) for is_one in lists):
        sizes = pc.list_value_length(column).unique().to_pylist()  # pyright: ignore[reportAttributeAccessIssue]
        if len(sizes) > 1 or None in sizes:
            found = ", ".join("none" if n is None else str(n) for n in sizes[:5])
            raise InvalidData(f"{path}: lists in column {name!r} differ in length ({found}): pad them")
        shape.append(sizes[0] if sizes else 0)
        column = pc.list_flatten(column)  # pyright: ignore[reportAttributeAccessIssue]
    return column.to_numpy().reshape(shape)


def _split(name: str, values: np.ndarray) -> list[tuple[str, np.ndarray]]:
    if values.ndim == 1:
        return [(name, values)]
    flat = values.reshape(len(values), int(np.prod(values.shape[1:])))
    return [(f"{name}_{k}", flat[:, k]) for k in range(flat.shape[1])]


def _joined(tables: list[dict[str, np.ndarray]], paths) -> dict[str, np.ndarray]:
    for table, path in zip(tables[1:], paths[1:]):
        if set(table) != set(tables[0]):
            other = sorted(set(table) ^ set(tables[0]))
            raise InvalidData(f"{path} and {paths[0]} have different columns: {', '.join(other)}")
    return {name: _concatenated([t[name] for t in tables]) for name in tables[0]}


def _concatenated(parts: list[np.ndarray]) -> np.ndarray:
    """Joined; as text, if any of them is text."""
    if len({part.dtype.kind in "OU" for part in parts}) > 1:
        parts = [pa.array(part).cast(pa.string()).to_numpy(zero_copy_only=False) for part in parts]
    return np.concatenate(parts)


def _labels(columns, name: str, role: str, *, natural: bool = False) -> tuple[list[str], np.ndarray]:
    """What a column tells apart, by first appearance or in `natural` order, and each row's index there; one if ""."""
    if not name:
        return [""], np.zeros(len(next(iter(columns.values()))), int)
    name = _matching(columns, name, role)[0]
    values = columns[name]
    if missing := pa.array(values, from_pandas=True).null_count:
        raise InvalidData(f"column {name!r} is missing in {missing} of {len(values)} rows: repair or drop these rows")
    unique, first, codes = np.unique(values, return_index=True, return_inverse=True)
    order = sorted(range(len(unique)), key=lambda k: _natural(unique[k])) if natural else np.argsort(first)
    return [str(v) for v in unique[order]], np.argsort(order)[codes]


def _natural(value: Any) -> Any:
    """Sorts agent_2 before agent_10."""
    if not isinstance(value, str):
        return value
    return [int(part) if k % 2 else part for k, part in enumerate(re.split(r"(\d+)", value))]


def _matching(columns, pattern: str, role: str) -> list[str]:
    # A name may hold brackets, which mean something else in patterns.
    found = [pattern] if pattern in columns else [n for n in columns if fnmatch.fnmatchcase(n, pattern)]
    if not found:
        near = difflib.get_close_matches(pattern.strip("*"), list(columns), n=1, cutoff=0.4)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise InvalidData(f"no {role} column {pattern!r} among {', '.join(columns)}{hint}")
    return found


def _numbers(columns, name: str, rows: np.ndarray) -> np.ndarray:
    """These rows of a column as float64, all of which float32 can hold."""
    try:
        numbers = columns[name][rows].astype(np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidData(f"column {name!r} holds text where numbers are needed: {error}") from error
    bad = ~(np.abs(numbers) <= np.finfo(np.float32).max)
    if bad.any():
        raise InvalidData(
            f"column {name!r} is missing, too large or not finite in {int(bad.sum())} of {len(numbers)} rows, first in "
            f"row {int(rows[np.argmax(bad)])}: repair or drop these episodes"
        )
    return numbers
