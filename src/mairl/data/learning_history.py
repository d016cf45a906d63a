"""How agents change while they learn: an ordered sequence of joint policies, and what each of them did."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Float, PyTree, UInt32

from mairl.core.errors import InvalidData
from mairl.core.folders import put_in_place
from mairl.core.learned import Learned
from mairl.core.serialise import decode, encode
from mairl.core.transition import Transition
from mairl.data import store
from mairl.data.demonstrations import Demonstrations, Metadata

FORMAT = 1


class Updates(eqx.Module):
    """The update that began at each snapshot, with what is needed to repeat it. Leaves `[step, ...]`.

    Snapshots may be further apart than one update; `after` is always what this one update led to.

    Attributes:
        rollout: the play that it learned from, `[step, time, env, ...]`, with true rewards.
        after: parameters of the joint policy right after it, like `LearningHistory.policies`.
        keys: `[step, word]` data of the random key that was handed to it.
        features: `[step, time, env, agent, feature]` of the play, in which rewards are linear, or None.
        log_prob: `[step, time, env, agent]` of the play's actions under the snapshot, or None.
        critic: parameters of the critics before it, leaves `[step, agent, ...]`, or None.
        learner: its configuration, an `Algorithm`, or None.
    """

    rollout: Transition
    after: PyTree[Any]
    keys: UInt32[np.ndarray, "step word"] | None = None
    features: Float[np.ndarray, "step time env agent feature"] | None = None
    log_prob: Float[np.ndarray, "step time env agent"] | None = None
    critic: PyTree[Any] | None = None
    learner: Any = None


class LearningHistory(eqx.Module):
    """Snapshots of agents that learn, in the order in which they were taken. Build it with `learning_history`.

    All arrays lie on the host and keep their precision: inversions need float64.

    Attributes:
        policies: parameters of the joint policy, leaves `[step, agent, ...]`, or None. Of tabular policies one leaf:
            logits `[step, agent, state, action]`.
        trajectories: what each snapshot did, one recording a step, or ().
        optimiser: the optimiser's state before each step, leaves `[step, ...]`, or None.
        updates: what was done at each snapshot, as recorded by `fit`, or None.
        metadata: where the history comes from.
    """

    policies: PyTree[Any] | None = None
    trajectories: tuple[Demonstrations, ...] = ()
    optimiser: PyTree[Any] | None = None
    updates: Updates | None = None
    metadata: Metadata = eqx.field(static=True, default=Metadata())

    @property
    def num_snapshots(self) -> int:
        """How many joint policies were observed; one more than there are steps of learning between them."""
        leaves = jax.tree.leaves(self.policies)
        return leaves[0].shape[0] if leaves else len(self.trajectories)

    @property
    def num_agents(self) -> int:
        """The length of the agent axis."""
        leaves = jax.tree.leaves(self.policies)
        return leaves[0].shape[1] if leaves else self.trajectories[0].num_agents

    def snapshots(self, which: slice) -> LearningHistory:
        """Some consecutive snapshots only, as a history of its own."""

        def cut(tree):
            return jax.tree.map(lambda x: x[which], tree)

        return learning_history(
            cut(self.policies),
            trajectories=self.trajectories[which],
            optimiser=cut(self.optimiser),
            updates=cut(self.updates),
            metadata=self.metadata,
        )

    def logits(self) -> Float[np.ndarray, "step agent state action"]:
        """The logits of tabular policies in float64, with mean 0 over the actions (what a policy does not fix).

        Raises:
            InvalidData: the policies are not tables of logits.
        """
        leaves = jax.tree.leaves(self.policies)
        if not leaves:
            raise InvalidData(
                "this history holds recordings alone, no policies: of a table mairl learn i-lola, ma-lfl and "
                "ma-lfl-state learn from them (mairl.algorithms.from_trajectories, .ma_lfl_sampled)"
            )
        if len(leaves) != 1 or leaves[0].ndim != 4:
            raise InvalidData(
                "exact inversions need tabular policies, one array of logits [step, agent, state, action]; this "
                f"history has {len(leaves)} arrays of shapes {[x.shape for x in leaves]}: record exact learners of a "
                "table (mairl expert GAME --record-learning --learner lola-taylor), or give its policies as tables"
            )
        table = np.asarray(leaves[0], np.float64)
        return table - table.mean(axis=-1, keepdims=True)


def learning_history(
    policies: PyTree[Any] | None = None,
    *,
    trajectories: Sequence[Demonstrations] = (),
    optimiser: PyTree[Any] | None = None,
    updates: Updates | None = None,
    metadata: Metadata = Metadata(),
) -> LearningHistory:
    """Checks snapshots, on the host.

    Args:
        policies: leaves `[step, agent, ...]`; or a list of tables of logits `[agent, state, action]`, one a snapshot.

    Raises:
        InvalidData: neither policies nor trajectories, fewer than two snapshots, axes of different lengths, values
            that are not finite, tables of probabilities instead of logits.
    """
    if isinstance(policies, list) and len({np.shape(p) for p in policies}) == 1 and np.ndim(policies[0]) == 3:
        policies = np.stack(policies)  # Tables one by one, as a learner leaves them.
    policies, optimiser, updates = (jax.tree.map(np.asarray, tree) for tree in (policies, optimiser, updates))
    if others := [type(data).__name__ for data in trajectories if not isinstance(data, Demonstrations)]:
        raise InvalidData(f"trajectories hold {others[0]} where recordings (Demonstrations) are needed")
    leaves = jax.tree_util.tree_leaves_with_path(policies)
    if not leaves and not trajectories:
        raise InvalidData("a learning history needs policies, trajectories, or both: got neither")
    for path, leaf in leaves:
        name = jax.tree_util.keystr(path) or "policies"
        if leaf.ndim < 2 or not leaf.size:
            raise InvalidData(f"{name} has shape {leaf.shape}: stack snapshots as [step, agent, ...]")
        _floored(name, leaf)
        _finite(name, leaf)
    if len({leaf.shape[:2] for _, leaf in leaves}) > 1:
        shapes = {jax.tree_util.keystr(path): leaf.shape for path, leaf in leaves}
        raise InvalidData(f"policies differ in their first two axes, [step, agent]: {shapes}; stack the same snapshots")
    if len(leaves) == 1:
        _logits(leaves[0][1])
    history = LearningHistory(policies, tuple(trajectories), optimiser, updates, metadata)
    count = history.num_snapshots
    if count < 2:
        raise InvalidData(f"{count} snapshot: what agents want shows in how they change; give two or more")
    if trajectories and len(trajectories) != count:
        raise InvalidData(f"{len(trajectories)} recordings for {count} joint policies: give one a snapshot, in order")
    agents = [data.num_agents for data in trajectories]
    if set(agents) - {history.num_agents}:
        raise InvalidData(f"recordings have {agents} agents, the policies {history.num_agents}: leave none out")
    for path, leaf in jax.tree_util.tree_leaves_with_path(optimiser):
        name = f"optimiser{jax.tree_util.keystr(path)}"
        if leaf.shape[:1] != (count,):
            raise InvalidData(f"{name} has shape {leaf.shape}: give the state before each of {count} snapshots")
        _finite(name, leaf)
    if updates is not None:
        _check_updates(updates, policies, count)
    return history


def save_history(
    history: LearningHistory, path: str | Path, *, overwrite: bool = False, expert: Learned | None = None
) -> None:
    """Writes a folder that appears only when complete: `history.json`, `arrays.npz` and a store for each recording.

    Args:
        expert: what was learned in the end, to be saved beside it in `expert/`.

    Raises:
        InvalidData: `path` exists and `overwrite` is not set.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise InvalidData(f"{path} exists: choose another folder, or replace it on purpose (overwrite)")
    partial = path.with_name(path.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    arrays: dict[str, np.ndarray] = {}
    facts = {
        "format": FORMAT,
        "kind": "learning history",
        "snapshots": history.num_snapshots,
        "agents": history.num_agents,
        "recordings": len(history.trajectories),
        "metadata": encode(history.metadata, arrays, "metadata"),
        "policies": encode(history.policies, arrays, "policies"),
        "optimiser": encode(history.optimiser, arrays, "optimiser"),
        "updates": encode(history.updates, arrays, "updates"),
    }
    np.savez_compressed(partial / "arrays.npz", **arrays)  # type: ignore[arg-type]
    (partial / "history.json").write_text(json.dumps(facts, indent=1))
    for k, data in enumerate(history.trajectories):
        store.save(data, partial / "trajectories" / f"{k:05d}")
    if expert is not None:
        expert.save(partial / "expert")
    put_in_place(partial, path)


def load_history(path: str | Path) -> LearningHistory:
    """Reads what `save_history` wrote, validated anew.

    Raises:
        InvalidData: no history, a damaged one, or one of another version.
    """
    path = Path(path)
    try:
        facts = json.loads((path / "history.json").read_text())
        if facts["format"] != FORMAT:
            raise InvalidData(f"{path} has format {facts['format']}, this version reads {FORMAT}: write it again")
        # From memory: NumPy leaves the file open where it turns out to be damaged.
        with np.load(io.BytesIO((path / "arrays.npz").read_bytes()), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        names = ("policies", "optimiser", "updates", "metadata")
        # Histories without updates may have been written before there was a place for them.
        trees = {name: decode(facts.get(name), arrays, np.asarray) for name in names}
        recordings = int(facts["recordings"])
    except FileNotFoundError as error:
        raise InvalidData(f"{error.filename} is missing: is {path} a complete learning history?") from error
    except (KeyError, ValueError, TypeError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise InvalidData(f"{path} is damaged ({' '.join(str(error).split())[:160]}): write it again") from error
    trajectories = [store.load(path / "trajectories" / f"{k:05d}") for k in range(recordings)]
    return learning_history(trees.pop("policies"), trajectories=trajectories, **trees)


def _check_updates(updates: Updates, policies: PyTree[Any] | None, count: int) -> None:
    shapes = [leaf.shape for leaf in jax.tree.leaves(policies)]
    after = [leaf.shape for leaf in jax.tree.leaves(updates.after)]
    if not shapes or after != shapes:
        raise InvalidData(f"updates led to policies of shapes {after}, the snapshots have {shapes}: stack the same")
    lead = (count, *updates.rollout.truncated.shape[1:])
    for path, leaf in jax.tree_util.tree_leaves_with_path(updates):
        name = f"updates{jax.tree_util.keystr(path)}"
        if leaf.shape[:1] != (count,):
            raise InvalidData(f"{name} has shape {leaf.shape}: give one entry for each of {count} snapshots")
        _finite(name, leaf)
    for name in ("features", "log_prob"):
        leaf = getattr(updates, name)
        if leaf is not None and leaf.shape[:3] != lead:
            raise InvalidData(f"updates.{name} has shape {leaf.shape}, the play [step, time, env] {lead}")


def _floored(name: str, leaf: np.ndarray) -> None:
    """Refuses the logarithm of 0: no finite change of logits leads to a policy that never takes an action."""
    if np.issubdtype(leaf.dtype, np.floating) and (never := int(np.sum(np.isneginf(leaf)))):
        raise InvalidData(
            f"{name} has {never} logits of -inf, of actions that are never taken: give probabilities a floor before "
            "the logarithm, np.log(np.clip(probabilities, 1e-8, 1))"
        )


def _logits(table: np.ndarray) -> None:
    """Refuses tables of probabilities: as logits they are other policies, and nothing else would show it."""
    if table.ndim != 4 or table.shape[-1] < 2 or table.min() < 0 or table.max() > 1:
        return
    if np.allclose(table.sum(axis=-1), 1, atol=1e-4):
        raise InvalidData(
            "these policies are probabilities (all from 0 to 1, with sums of 1), histories hold logits: give their "
            "logarithm, np.log(np.clip(probabilities, 1e-8, 1))"
        )


def _finite(name: str, leaf: np.ndarray) -> None:
    if np.issubdtype(leaf.dtype, np.floating) and not np.all(np.isfinite(leaf)):
        bad = np.flatnonzero(~np.isfinite(leaf).reshape(len(leaf), -1).all(axis=1))
        raise InvalidData(
            f"{name} has {np.sum(~np.isfinite(leaf))} values that are not finite, first in snapshot {bad[0]} of "
            f"{len(leaf)}: cut the history there"
        )
