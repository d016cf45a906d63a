"""Recordings on disk: a folder that appears only when complete.

    STORE/metadata.json     format, where it comes from, action space, and how observations and states are put together
    STORE/steps.parquet     one row a step (zstd), plus one `final` row an episode with what was seen last
    STORE/expert/           the policy that acted, if it was saved beside its play

Columns: `episode`, `step`, `final`, `truncated`; lists over agents `action`, `terminated`, `mask`, `reward`,
`action_mask`; and one column per leaf of the observation and the state (`obs.ego`, `state.time`), flattened. Any
Parquet reader can query them: `select avg(reward[1]) from 'STORE/steps.parquet' where not final`.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mairl.core.errors import InvalidData, MairlError
from mairl.core.folders import digest, put_in_place
from mairl.core.learned import Learned
from mairl.core.serialise import decode, encode
from mairl.core.spaces import ActionSpace, Box, Discrete
from mairl.data.demonstrations import Demonstrations, Metadata, demonstrations

FORMAT = 1


def save(
    data: Demonstrations,
    path: str | Path,
    *,
    overwrite: bool = False,
    action_space: ActionSpace | None = None,
    expert: Learned | None = None,
) -> None:
    """Writes a recording as a STORE. Killed at any moment, it leaves no store or a whole one.

    With `overwrite`, folders inside the old store (such as `expert/`) are kept, unless they are written anew.

    Args:
        action_space: None: the recording's own, if it is known.
        expert: who acted, to be saved beside its play.

    Raises:
        InvalidData: `path` exists and `overwrite` is not set.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise InvalidData(f"{path} exists: choose another folder, or replace it on purpose (overwrite)")
    partial = path.with_name(path.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    space = data.action_space if action_space is None else action_space
    columns, shapes = _columns(data)
    arrays: dict[str, np.ndarray] = {}
    trees = {name: encode(getattr(data, name), arrays, name) for name in ("obs", "state")}
    rows = _valid(data.lengths, data.actions.shape[1] + 1)
    for name, leaf in arrays.items():
        columns[name] = leaf[rows]
        shapes[name] = leaf.shape[2:]
    table = pa.table({name: _column(values) for name, values in columns.items()})
    pq.write_table(table, partial / "steps.parquet", compression="zstd")
    facts = {
        "format": FORMAT,
        **{"metadata": dataclasses.asdict(data.metadata)},
        "episodes": data.num_episodes,
        "steps": data.num_steps,
        "agents": data.num_agents,
        "action_space": None if space is None else {"kind": type(space).__name__, **dataclasses.asdict(space)},
        "trees": trees,
        "columns": {name: {"dtype": str(columns[name].dtype), "shape": list(shapes[name])} for name in columns},
    }
    facts["sha256"] = digest(partial / "steps.parquet")
    (partial / "metadata.json").write_text(json.dumps(facts, indent=1))
    if expert is not None:
        expert.save(partial / "expert")
    if path.is_dir():
        for folder in (f for f in path.iterdir() if f.is_dir() and not (partial / f.name).exists()):
            shutil.copytree(folder, partial / folder.name)
    put_in_place(partial, path)


def load(path: str | Path) -> Demonstrations:
    """Reads a STORE, validated as `demonstrations` does.

    Raises:
        InvalidData: no store, or a damaged one; names the file and what to do.
    """
    path = Path(path)
    facts = read_facts(path)
    table = _read(path / "steps.parquet", facts)
    try:
        return _rebuild(path, facts, table)
    except MairlError as error:
        raise InvalidData(str(error) if str(path) in str(error) else f"{path}: {error}") from error
    except (LookupError, ValueError, TypeError, AttributeError, ArithmeticError, ImportError, MemoryError) as error:
        reason = " ".join(str(error).split())[:160]
        raise InvalidData(f"{path} is damaged or by another version ({reason}): record or import it again") from error


def _rebuild(path: Path, facts, table: pa.Table) -> Demonstrations:
    episode, step, final = (table[name].to_numpy(zero_copy_only=False) for name in ("episode", "step", "final"))
    lengths = np.bincount(episode[~final], minlength=int(facts["episodes"]))
    count, time = len(lengths), int(lengths.max(initial=0))
    # Each step of each episode once, and one row after its last: whatever the order of the rows.
    rows = np.stack([episode, step], axis=1)[np.lexsort((step, episode))]
    counts = (count, int(lengths.sum())) == (facts["episodes"], facts["steps"])
    if not counts or not np.array_equal(rows, np.argwhere(_valid(lengths, time + 1))):
        raise InvalidData(
            f"{path}/steps.parquet does not hold the {facts['episodes']} episodes and {facts['steps']} steps of "
            f"metadata.json, each once: record or import it again"
        )

    def padded(name: str) -> np.ndarray:
        spec = facts["columns"][name]
        flat = table[name].combine_chunks()
        values = flat.values if pa.types.is_fixed_size_list(flat.type) else flat
        values = values.to_numpy(zero_copy_only=False).astype(spec["dtype"]).reshape(len(episode), *spec["shape"])
        full = np.zeros((count, time + 1, *spec["shape"]), spec["dtype"])
        full[episode, step] = values
        return full

    arrays = {name: padded(name) for name in facts["columns"] if name not in ("episode", "step", "final")}
    trees = {name: decode(tree, arrays, np.asarray) for name, tree in facts["trees"].items()}
    return demonstrations(
        actions=arrays["action"][:, :-1],
        lengths=lengths,
        terminated=arrays["terminated"][:, :-1],
        truncated=arrays["truncated"][:, :-1],
        mask=arrays["mask"][:, :-1],
        true_reward=arrays["reward"][:, :-1] if "reward" in arrays else None,
        action_mask=arrays.get("action_mask"),
        metadata=Metadata(**facts["metadata"]),
        action_space=_space(facts["action_space"]),
        **trees,
    )


def validate(path: str | Path) -> dict[str, int]:
    """Reads a STORE as learning would; returns its episodes, steps and agents.

    Raises:
        InvalidData: as `load`.
    """
    data = load(path)
    return {"episodes": data.num_episodes, "steps": data.num_steps, "agents": data.num_agents}


def info(path: str | Path) -> dict[str, Any]:
    """What a recording holds: sizes, spaces, mean true return per agent if known, share of each action."""
    path = Path(path)
    facts, data = read_facts(path), load(path)
    mask = np.asarray(data.mask)
    actions = np.asarray(data.actions)
    result = {
        **data.metadata.facts(),
        "episodes": data.num_episodes,
        "steps": data.num_steps,
        "agents": data.num_agents,
        "action_space": facts["action_space"],
        "observations": {n: c["shape"] for n, c in facts["columns"].items() if n.startswith(("obs", "state"))},
        "mean_length": float(np.mean(np.asarray(data.lengths))),
        "bytes": sum(f.stat().st_size for f in path.rglob("*") if f.is_file()),
    }
    if data.true_reward is not None:
        returns = np.where(mask, np.asarray(data.true_reward), 0.0).sum(1)
        result["return_per_agent"] = returns.mean(0).tolist()
    if actions.ndim == 3:
        counts = [
            np.bincount(actions[:, :, i][mask[:, :, i]], minlength=int(actions.max()) + 1)
            for i in range(data.num_agents)
        ]
        result["action_share"] = [(c / max(1, c.sum())).round(4).tolist() for c in counts]
    return result


def read_facts(path: Path) -> dict[str, Any]:
    """The store's `metadata.json`, checked."""
    if not path.is_dir():
        partial = path.with_name(path.name + ".partial")
        hint = f"; {partial} is an unfinished one: import or record it again" if partial.exists() else ""
        raise InvalidData(f"{path} is no recording{hint}")
    try:
        facts = json.loads((path / "metadata.json").read_text())
        version = facts["format"]
        missing = {"metadata", "episodes", "steps", "agents", "action_space", "trees", "columns", "sha256"} - set(facts)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidData(f"{path}/metadata.json is missing or damaged: is {path} a recording? ({error})") from error
    if version != FORMAT:
        raise InvalidData(f"{path} has format {version}, this version reads {FORMAT}: import or record it again")
    if missing:
        raise InvalidData(f"{path}/metadata.json lacks {', '.join(sorted(missing))}: import or record it again")
    return facts


def _columns(data: Demonstrations):
    """The columns that every store has, rows flattened."""
    time = data.actions.shape[1] + 1
    rows = _valid(data.lengths, time)
    episode, step = np.nonzero(rows)
    lengths = np.asarray(data.lengths)
    columns = {
        "episode": episode.astype(np.int32),
        "step": step.astype(np.int32),
        "final": step == lengths[episode],
    }
    shapes: dict[str, tuple] = dict.fromkeys(columns, ())

    def extended(x):
        x = np.asarray(x)
        return np.concatenate([x, np.zeros_like(x[:, :1])], axis=1)

    fields = {
        "action": data.actions,
        "terminated": data.terminated,
        "truncated": data.truncated,
        "mask": data.mask,
        "reward": data.true_reward,
    }
    for name, values in fields.items():
        if values is not None:
            columns[name] = extended(values)[rows]
            shapes[name] = columns[name].shape[1:]
    if data.action_mask is not None:
        columns["action_mask"] = np.asarray(data.action_mask)[rows]
        shapes["action_mask"] = columns["action_mask"].shape[1:]
    return columns, shapes


def _valid(lengths, time: int) -> np.ndarray:
    return np.arange(time)[None] <= np.asarray(lengths)[:, None]


def _column(values: np.ndarray):
    if values.ndim == 1:
        return pa.array(values)
    flat = pa.array(np.ascontiguousarray(values).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, int(np.prod(values.shape[1:])))


def _read(file: Path, facts) -> pa.Table:
    try:
        if digest(file) != facts.get("sha256"):
            raise OSError("its SHA-256 is not the one in metadata.json")
        table = pq.read_table(file)
    except (OSError, pa.ArrowException) as error:
        raise InvalidData(
            f"{file} is cut or damaged ({' '.join(str(error).split())[:120]}): record or import it again"
        ) from error
    if missing := {"episode", "step", "final", *facts["columns"]} - set(table.column_names):
        raise InvalidData(f"{file} lacks the columns {', '.join(sorted(missing))}: record or import it again")
    return table


def _space(facts) -> ActionSpace | None:
    if facts is None:
        return None
    fields = {k: v for k, v in facts.items() if k != "kind"}
    return {"Discrete": Discrete, "Box": Box}[facts["kind"]](**fields)
