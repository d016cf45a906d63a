"""Recordings from and for Minari, the common store of offline reinforcement learning.

Minari keeps one observation and one action a step. Several agents are a Dict (or Tuple) of spaces, by agent; one agent
is plain. What Minari has no place for (who took part, who terminated, each agent's reward, allowed actions) is written
to `infos["mairl"]` and read from there; recordings by others do without.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from mairl.core.errors import InvalidData, require
from mairl.core.spaces import Box, Discrete
from mairl.data.codec import joint_codec
from mairl.data.demonstrations import Demonstrations, Metadata, demonstrations

_PURPOSE = "read and write Minari datasets"


def read_minari(source: str | Path) -> Demonstrations:
    """Reads a Minari dataset as a recording; spaces become arrays as `mairl.data.codec` says.

    A dataset by others holds one reward and one ending a step: they are taken for every agent's. An episode that ends
    neither terminated nor truncated was cut by the recording: truncated.

    Args:
        source: the id of a dataset on this machine ("D4RL/door/human-v2"), or a folder of one (with `data` in it).

    Raises:
        InvalidData: there is no such dataset, or it is damaged.
        InvalidGame: spaces that cannot be learned from.
        MissingPackage: Minari is not installed.
    """
    dataset = _open(source)
    title = str(dataset.spec.dataset_id)
    codec, kind, keys = joint_codec(dataset.observation_space, dataset.action_space, title)
    description = str(dataset.storage.metadata.get("description") or "")
    facts = _facts(description)
    many = kind != "one"
    episodes = []
    try:
        for episode in dataset.iterate_episodes():
            steps = len(episode.rewards)
            if not steps:
                continue
            see, act = ([_part(x, k, many) for k in keys] for x in (episode.observations, episode.actions))
            observed = [[codec.observe(i, _at(see[i], t)) for i in range(len(keys))] for t in range(steps + 1)]
            chosen = [[codec.unact(i, _at(act[i], t)) for i in range(len(keys))] for t in range(steps)]
            infos = (episode.infos or {}).get("mairl", {})
            episodes.append(
                {
                    "obs": np.stack([np.stack([o for o, _ in row]) for row in observed]),
                    "actions": np.stack([np.stack(row) for row in chosen]),
                    **_endings(episode, infos, steps, len(keys)),
                    **_masks(observed, infos, codec),
                }
            )
    except (KeyError, OSError, ValueError, IndexError) as error:
        raise InvalidData(f"{source} is damaged or no Minari dataset: {error}") from error
    if not episodes:
        raise InvalidData(f"{source} holds no steps")
    lengths = np.array([len(e["actions"]) for e in episodes])
    fields = {name: _padded([e[name] for e in episodes]) for name in episodes[0] if name != "action_mask"}
    if any("action_mask" in e for e in episodes):
        fields["action_mask"] = _padded([e["action_mask"] for e in episodes], fill=True)
    if not facts.pop("has_reward", True):
        del fields["true_reward"]
    space = codec.action_space if facts.pop("has_action_space", True) else None
    facts.setdefault("source", f"minari {title}")
    metadata = Metadata.of(**facts)
    return demonstrations(**fields, lengths=lengths, metadata=metadata, action_space=space)


def _open(source: str | Path) -> Any:
    minari = require("minari", package="'mairl[minari]'", purpose=_PURPOSE)
    folder = Path(source)
    try:
        for data in (folder / "data", folder):
            if (data / "metadata.json").exists():
                return minari.MinariDataset(data)
        if folder.exists():
            raise InvalidData(f"{source} is no Minari dataset: it has no data/metadata.json")
        return minari.load_dataset(str(source))
    except FileNotFoundError as error:
        raise InvalidData(f"there is no Minari dataset {source} on this machine: minari download {source}") from error
    except (AssertionError, KeyError, OSError, ValueError) as error:
        reason = str(error) or type(error).__name__
        raise InvalidData(f"{source} is damaged or no Minari dataset: {reason}") from error


def _facts(description: str) -> dict[str, Any]:
    """What `write_minari` wrote into the description; nothing for datasets by others."""
    marker = "mairl: "
    if marker not in description:
        return {}
    return json.loads(description.partition(marker)[2])


def _part(tree: Any, key: Any, many: bool) -> Any:
    return tree[key] if many else tree


def _at(tree: Any, t: int) -> Any:
    """One step of a space's values, which are arrays inside dictionaries and tuples."""
    if isinstance(tree, dict):
        return {k: _at(v, t) for k, v in tree.items()}
    if isinstance(tree, tuple):
        return tuple(_at(v, t) for v in tree)
    return tree[t]


def _endings(episode: Any, infos: dict, steps: int, agents: int) -> dict[str, np.ndarray]:
    def each(values) -> np.ndarray:
        values = np.asarray(values)[:steps]
        return values if values.ndim == 2 else np.repeat(values[:, None], agents, axis=1)

    terminated = each(infos.get("terminated", episode.terminations)).astype(bool)
    truncated = np.asarray(episode.truncations, bool)[:steps].copy()
    if not terminated[-1].all():
        truncated[-1] = True
    mask = infos.get("mask")
    return {
        "terminated": terminated,
        "truncated": truncated,
        "mask": np.ones((steps, agents), bool) if mask is None else np.asarray(mask, bool)[:steps],
        "true_reward": each(infos.get("reward", episode.rewards)).astype(np.float32),
    }


def _masks(observed: list, infos: dict, codec: Any) -> dict[str, np.ndarray]:
    if codec.counts is None:
        return {}
    if "action_mask" in infos:
        return {"action_mask": np.asarray(infos["action_mask"], bool)}
    if any(codec.masked_obs) or codec.static_mask is not None:
        return {
            "action_mask": np.stack(
                [np.stack([codec.allowed(i, m) for i, (_, m) in enumerate(row)]) for row in observed]
            )
        }
    return {}


def _padded(parts: list[np.ndarray], fill: Any = 0) -> np.ndarray:
    longest = max(len(p) for p in parts)
    out = np.full((len(parts), longest, *parts[0].shape[1:]), fill, parts[0].dtype)
    for k, part in enumerate(parts):
        out[k, : len(part)] = part
    return out


def write_minari(data: Demonstrations, out: str | Path, *, name: str = "", overwrite: bool = False) -> None:
    """Writes a recording as a Minari dataset: the folder `out`, which appears when complete.

    Moved to `$MINARI_DATASETS_PATH/NAME`, it is what `minari.load_dataset(NAME)` finds. Nothing is lost: `read_minari`
    gives the same steps back (truth values as 0 and 1). A step's reward in Minari is the mean over agents.

    Args:
        data: with observations (see `Demonstrations.observed`), one array per agent.
        name: the dataset's id; default: mairl/{out's name}-v0.

    Raises:
        InvalidData: `out` exists and may not be overwritten; no observations; observations of several arrays.
        MissingPackage: Minari is not installed.
    """
    require("minari", package="'mairl[minari]'", purpose=_PURPOSE)
    spaces = require("gymnasium.spaces", package="'mairl[minari]'", purpose=_PURPOSE)
    storage = require("minari.dataset.minari_storage", package="'mairl[minari]'", purpose=_PURPOSE).MinariStorage
    buffer = require("minari.data_collector", package="'mairl[minari]'", purpose=_PURPOSE).EpisodeBuffer
    version = require("minari", package="'mairl[minari]'", purpose=_PURPOSE).__version__
    out = Path(out).absolute()  # As Minari wants it.
    if out.exists() and not overwrite:
        raise InvalidData(f"{out} exists: choose another folder, or replace it on purpose (--overwrite)")
    if data.obs is None:
        raise InvalidData("the recording holds game states only: name the game, so that observations can be computed")
    if not hasattr(data.obs, "shape"):
        raise InvalidData("observations of several arrays per agent cannot be written: flatten them first")
    obs, actions = np.asarray(data.obs), np.asarray(data.actions)
    obs = obs.astype(np.int8) if obs.dtype.kind == "b" else obs
    see, act = _space(spaces, obs.shape[3:], obs.dtype), _act_space(spaces, data)
    agents = [f"agent_{i}" for i in range(data.num_agents)]
    one = len(agents) == 1

    def split(array: np.ndarray) -> Any:
        return array[:, 0] if one else {n: array[:, i] for i, n in enumerate(agents)}

    def episode(k: int) -> Any:
        steps = int(data.lengths[k])
        extra = {"terminated": data.terminated, "mask": data.mask}
        if data.true_reward is not None:
            extra["reward"] = data.true_reward
        # Infos have an entry for the reset, too: the last one repeats.
        infos = {n: np.asarray(v)[k, np.minimum(np.arange(steps + 1), steps - 1)] for n, v in extra.items()}
        if data.action_mask is not None:
            infos["action_mask"] = np.asarray(data.action_mask)[k, : steps + 1]
        reward = np.zeros(steps) if data.true_reward is None else np.asarray(data.true_reward)[k, :steps].mean(1)
        return buffer(
            id=k,
            observations=split(obs[k, : steps + 1]),
            actions=split(actions[k, :steps]),
            rewards=list(reward),
            terminations=np.asarray(data.terminated)[k, :steps].all(axis=1).tolist(),
            truncations=np.asarray(data.truncated)[k, :steps].tolist(),
            infos={"mairl": infos},
        )

    partial = out.with_name(out.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    (partial / "data").mkdir(parents=True)
    facts = {**data.metadata.facts(), "has_reward": data.true_reward is not None}
    facts["has_action_space"] = data.action_space is not None
    joint = {
        "observation_space": see if one else spaces.Dict(dict.fromkeys(agents, see)),
        "action_space": act if one else spaces.Dict(dict.fromkeys(agents, act)),
    }
    # Images are kept as they are: Minari's default compresses them with losses.
    store = storage.new(partial / "data", **joint, jpeg_encoding=False)
    store.update_metadata(
        {
            "dataset_id": name or f"mairl/{out.name}-v0",
            "minari_version": version,
            "algorithm_name": facts["source"] or "unknown",
            "description": f"{data.num_agents} agents. mairl: {json.dumps(facts)}",
        }
    )
    store.update_episodes(episode(k) for k in range(data.num_episodes))
    if out.exists():
        shutil.rmtree(out)
    partial.rename(out)


def _space(spaces: Any, shape: tuple, dtype: np.dtype) -> Any:
    if np.issubdtype(dtype, np.integer):
        limits = np.iinfo(dtype)
        return spaces.Box(limits.min, limits.max, shape, dtype.type)
    return spaces.Box(-np.inf, np.inf, shape, dtype.type)


def _act_space(spaces: Any, data: Demonstrations) -> Any:
    actions = np.asarray(data.actions)
    if actions.ndim == 3:
        if isinstance(data.action_space, Discrete):
            return spaces.Discrete(data.action_space.n)
        mask = data.action_mask
        return spaces.Discrete(mask.shape[-1] if mask is not None else int(actions.max()) + 1)
    if isinstance(data.action_space, Box):
        return spaces.Box(data.action_space.low, data.action_space.high, actions.shape[3:], np.float32)
    # With 0, which stands where an agent took no part.
    low, high = min(float(actions.min()), 0.0), max(float(actions.max()), 0.0)
    return spaces.Box(low, high if high > low else 1.0, actions.shape[3:], np.float32)
