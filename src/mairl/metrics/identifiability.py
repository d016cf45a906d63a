"""What demonstrations cannot tell, in numbers and in words."""

from __future__ import annotations

from typing import Any

import numpy as np

from mairl.core.spaces import Discrete
from mairl.data.demonstrations import Demonstrations


def coverage(data: Demonstrations, space) -> dict[str, Any]:
    """How much of the game a recording shows.

    Returns:
        "steps"; "distinct" observations (or states) among them; "actions_never_taken" by agent; and "sentences" that
        say what therefore cannot be known.
    """
    tree = data.state if data.state is not None else data.obs
    distinct = _distinct(tree, data)
    never: list[list[int]] = []
    if isinstance(space, Discrete):
        actions, mask = np.asarray(data.actions), np.asarray(data.mask)
        for i in range(data.num_agents):
            taken = np.bincount(actions[:, :, i][mask[:, :, i]], minlength=space.n)
            never.append(np.flatnonzero(taken == 0).tolist())
    sentences = [
        "A reward is recovered up to a constant, its scale and, for each agent, potential-based shaping: all leave "
        "every best response as it is. Correlations see neither constant nor scale; shaping they do see.",
        "In general-sum games only the reward averaged over the others' policies is identified; the joint one "
        "is one of many that agree with it.",
        f"The recording shows {distinct:,} distinct situations in {data.num_steps:,} steps. Elsewhere the reward is "
        "the network's guess.",
    ]
    missing = [len(actions) for actions in never if actions]
    if len(missing) > 8:
        sentences.append(
            f"{len(missing)} of {len(never)} agents never take some of their {space.n} actions, {min(missing)} to "
            f"{max(missing)} of them: what they would be paid for those is unknown."
        )
    for i, actions in enumerate(never if len(missing) <= 8 else ()):
        if actions:
            many = len(actions) > 8
            listed = f"{len(actions)} of its {space.n} actions" if many else "action " + ", ".join(map(str, actions))
            sentences.append(f"Agent {i} never takes {listed}: what it would be paid for that is unknown.")
    if data.num_episodes and distinct <= 2 * int(np.max(np.asarray(data.lengths))):
        sentences.append(
            "Nearly all episodes are alike: copying one sequence of actions scores as well as understanding the game. "
            "Judge on random starts."
        )
    return {"steps": data.num_steps, "distinct": distinct, "actions_never_taken": never, "sentences": sentences}


def _distinct(tree, data: Demonstrations, limit: int = 100_000) -> int:
    """Distinct recorded situations in at most `limit` steps drawn at random. A state's field `time` is left out: the
    same place at another time is no new situation."""
    import jax

    steps = np.asarray(data.steps)
    if len(steps) > limit:
        steps = steps[np.random.default_rng(0).permutation(len(steps))[:limit]]
    leaves = [x for path, x in jax.tree_util.tree_leaves_with_path(tree) if jax.tree_util.keystr(path) != ".time"]
    rows = [np.asarray(x)[steps[:, 0], steps[:, 1]].reshape(len(steps), -1) for x in leaves]
    joined = np.concatenate([np.ascontiguousarray(r).astype(np.float32) for r in rows], axis=1)
    return len(np.unique(joined.view(np.dtype((np.void, joined.dtype.itemsize * joined.shape[1]))), axis=0))
