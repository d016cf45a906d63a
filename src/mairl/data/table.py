"""Recordings in tables: CSV, NPZ or Parquet, with names for the columns."""

from __future__ import annotations

import dataclasses
import difflib
import fnmatch
from pathlib import Path

import numpy as np
import pyarrow as pa
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
        episode: tells episodes apart, in any values.
        step: orders an episode's rows; whole numbers without gaps. Empty: the table's order.
        agent: tells agents apart in long tables, in any values, sorted. Empty: a wide table.
        agents: how many agents a wide table has.
        reward: the true reward, if recorded; only used to measure.
        terminated: whether the future after the row is worth 0; default: never.
        num_actions: number of discrete actions; default: the largest recorded one and 1.
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


def read_table(paths: list[Path], mapping: Mapping, metadata: Metadata = Metadata()) -> Demonstrations:
    """Reads tables as one recording. Formats are known by content.

    The observation after an episode's last step is not in such tables: the last one is repeated there, and the episode
    counts as cut unless it terminated.

    Raises:
        InvalidData: files that cannot be read, columns that are missing (with the nearest ones that exist), values that
            are not finite, steps with gaps, agents that come and go, actions that are out of range.
    """
    columns = _joined([_columns(Path(p)) for p in paths], paths)
    names = list(columns)
    if mapping.agent:
        agents = np.unique(_column(columns, mapping.agent))
        of_agent = [np.flatnonzero(columns[mapping.agent] == a) for a in agents]
    else:
        of_agent = [np.arange(len(columns[names[0]]))] * mapping.agents
    parts = [_one_agent(columns, mapping, i, rows) for i, rows in enumerate(of_agent)]
    keys = parts[0]["episode"], parts[0]["step"]
    for i, part in enumerate(parts[1:], 1):
        if not (np.array_equal(part["episode"], keys[0]) and np.array_equal(part["step"], keys[1])):
            raise InvalidData(
                f"agent {i} has {len(part['step'])} rows and agent 0 has {len(keys[1])}, or they are of other steps: "
                "every agent needs a row for every step"
            )
    episodes, first, lengths = np.unique(keys[0], return_index=True, return_counts=True)
    order = np.argsort(first)
    first, lengths = first[order], lengths[order]
    time = int(lengths.max())

    def padded(name: str, extra: int) -> np.ndarray:
        stacked = np.stack([p[name] for p in parts], axis=1)
        full = np.zeros((len(episodes), time + extra, *stacked.shape[1:]), stacked.dtype)
        for e, (start, length) in enumerate(zip(first, lengths)):
            full[e, :length] = stacked[start : start + length]
            if extra:
                full[e, length:] = stacked[start + length - 1]
        return full

    action = padded("action", 0)
    terminated = padded("terminated", 0)
    last = np.arange(time)[None] == lengths[:, None] - 1
    space = None
    if action.shape[-1] == 1 and np.all(parts[0]["action"] == np.round(parts[0]["action"])):
        action = action[..., 0].astype(np.int64)
        top = int(action.max()) + 1 if mapping.num_actions is None else mapping.num_actions
        space = Discrete(max(1, top))
    return demonstrations(
        actions=action,
        lengths=lengths,
        terminated=terminated,
        truncated=last & ~terminated.all(-1),
        obs=padded("obs", 1).astype(np.float32),
        true_reward=padded("reward", 0) if mapping.reward else None,
        metadata=metadata,
        action_space=space,
    )


def _one_agent(columns, mapping: Mapping, agent: int, rows: np.ndarray) -> dict[str, np.ndarray]:
    """One agent's rows in order of episode and step."""

    def named(pattern: str) -> str:
        return pattern.replace("{agent}", str(agent))

    def gather(patterns: tuple[str, ...], role: str) -> np.ndarray:
        chosen = [n for p in patterns for n in _matching(columns, named(p), role)]
        values = np.stack([_numbers(columns[n][rows], n) for n in dict.fromkeys(chosen)], axis=-1)
        return values

    episode = _column(columns, mapping.episode)[rows]
    _, codes = np.unique(episode, return_inverse=True)
    if mapping.step:
        step = _numbers(_column(columns, mapping.step)[rows], mapping.step)
    else:
        step = np.zeros(len(rows))
        for code in np.unique(codes):
            step[codes == code] = np.arange((codes == code).sum())
    # Episodes stay in the order in which they first appear.
    first = {code: k for k, code in reversed(list(enumerate(codes)))}
    order = np.lexsort((step, np.array([first[c] for c in codes])))
    codes, step = codes[order], step[order]
    jumps = np.flatnonzero((np.diff(codes) == 0) & (np.diff(step) != 1))
    if len(jumps):
        k = jumps[0]
        raise InvalidData(
            f"agent {agent}, episode {episode[order][k]!s}: step {step[k]:g} is followed by {step[k + 1]:g}; they must "
            f"go up by 1 ({len(jumps)} such places): drop repeated rows, or split the episode at gaps"
        )
    part = {"episode": codes, "step": step}
    part["obs"] = gather(mapping.obs, "observation")[order]
    part["action"] = gather(mapping.action, "action")[order]
    if mapping.reward:
        part["reward"] = gather((mapping.reward,), "reward")[order, 0].astype(np.float32)
    ended = (
        gather((mapping.terminated,), "terminated")[order, 0] != 0 if mapping.terminated else np.zeros(len(order), bool)
    )
    return {**part, "terminated": ended}


def _columns(path: Path) -> dict[str, np.ndarray]:
    """All columns of one file, `[row]` each; arrays `[row, k]` of an NPZ become columns name_0 … name_k-1."""
    try:
        with open(path, "rb") as file:
            head = file.read(4)
        if head == b"PAR1":
            table = pq.read_table(path)
        elif head == b"PK\x03\x04":
            return _npz(path)
        else:
            table = pacsv.read_csv(path)
    except FileNotFoundError as error:
        raise InvalidData(f"{path} does not exist") from error
    except (OSError, ValueError, pa.ArrowException) as error:
        raise InvalidData(f"{path} is no CSV, NPZ or Parquet table: {' '.join(str(error).split())[:160]}") from error
    if table.num_rows == 0:
        raise InvalidData(f"{path} has no rows")
    return {name: table[name].to_numpy() for name in table.column_names}


def _npz(path: Path) -> dict[str, np.ndarray]:
    columns: dict[str, np.ndarray] = {}
    with np.load(path, allow_pickle=False) as archive:
        for name in archive.files:
            value = archive[name]
            if value.ndim == 1:
                columns[name] = value
            elif value.ndim >= 2:
                flat = value.reshape(len(value), -1)
                columns |= {f"{name}_{k}": flat[:, k] for k in range(flat.shape[1])}
    if len({len(c) for c in columns.values()}) != 1:
        raise InvalidData(
            f"{path} holds arrays of lengths {sorted({len(c) for c in columns.values()})}: one row each a step"
        )
    return columns


def _joined(tables: list[dict[str, np.ndarray]], paths) -> dict[str, np.ndarray]:
    for table, path in zip(tables[1:], paths[1:]):
        if set(table) != set(tables[0]):
            other = sorted(set(table) ^ set(tables[0]))
            raise InvalidData(f"{path} and {paths[0]} have different columns: {', '.join(other)}")
    return {name: np.concatenate([t[name] for t in tables]) for name in tables[0]}


def _column(columns, name: str) -> np.ndarray:
    return columns[_matching(columns, name, "named")[0]]


def _matching(columns, pattern: str, role: str) -> list[str]:
    found = [n for n in columns if fnmatch.fnmatchcase(n, pattern)]
    if not found:
        near = difflib.get_close_matches(pattern.strip("*"), list(columns), n=1, cutoff=0.4)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise InvalidData(f"no {role} column {pattern!r} among {', '.join(columns)}{hint}")
    return found


def _numbers(values: np.ndarray, name: str) -> np.ndarray:
    try:
        numbers = values.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidData(f"column {name!r} holds text where numbers are needed: {error}") from error
    bad = ~np.isfinite(numbers)
    if bad.any():
        raise InvalidData(
            f"column {name!r} is missing or not finite in {int(bad.sum())} of {len(numbers)} rows, first in row "
            f"{int(np.argmax(bad))}: repair or drop these episodes"
        )
    return numbers
