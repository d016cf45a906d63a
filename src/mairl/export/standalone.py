"""A learned policy in NumPy alone. This file works by itself beside policy.json and policy.npz:

from policy import Policy
policy = Policy("FOLDER")
actions = policy(obs, np.random.default_rng(0))     # obs: leaves [agent, ...]; without a generator: the mode
"""

import json
from pathlib import Path

import numpy as np

ACTIVATIONS = {
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "relu": lambda x: np.maximum(x, 0),
    "tanh": np.tanh,
    "leaky_relu": lambda x: np.where(x > 0, x, 0.01 * x),
    "silu": lambda x: x / (1 + np.exp(-x)),
}


def leaves(obs):
    """The arrays of nested dictionaries (keys sorted), lists and tuples, in order."""
    if isinstance(obs, dict):
        return [leaf for key in sorted(obs) for leaf in leaves(obs[key])]
    if isinstance(obs, (list, tuple)):
        return [leaf for part in obs for leaf in leaves(part)]
    return [np.asarray(obs)]


def mlp(spec, arrays, x):
    """Dense layers; `arrays` are [weight, bias, weight, bias, ...] of one agent."""
    act = ACTIVATIONS[spec["activation"]]
    for k in range(spec["layers"]):
        x = x @ arrays[f"{spec['name']}.{k}.weight"] + arrays[f"{spec['name']}.{k}.bias"]
        x = act(x) if k < spec["layers"] - 1 else x
    return x


def log_sum(x, axis):
    """The logarithm of the sum of exponentials."""
    top = x.max(axis=axis, keepdims=True)
    return np.squeeze(top, axis) + np.log(np.sum(np.exp(x - top), axis=axis))


def network(spec, arrays, obs):
    """One agent's network on its own observation."""
    if spec["kind"] == "table":
        return arrays["table"][np.argmax(obs)]
    if spec["kind"] == "flat":
        flat = np.concatenate([np.ravel(x).astype(np.float32) for x in leaves(obs)])
        return mlp(spec["mlp"], arrays, flat)
    if spec["kind"] == "cnn":
        x, act = leaves(obs)[0].astype(np.float32), ACTIVATIONS[spec["activation"]]
        for k, stride in enumerate(spec["strides"]):
            h, w, _ = x.shape
            padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
            shifted = [padded[i : i + h : stride, j : j + w : stride] for i in range(3) for j in range(3)]
            x = act(np.concatenate(shifted, axis=-1) @ arrays[f"conv.{k}.weight"] + arrays[f"conv.{k}.bias"])
        return mlp(spec["head"], arrays, x.reshape(-1))
    ego, entities, present = obs["ego"], obs["entities"], np.asarray(obs["mask"])[:, None]
    paired = np.concatenate([entities, np.broadcast_to(ego, (len(entities), len(ego)))], axis=-1)
    codes = np.stack([mlp(spec["encoder"], arrays, row) for row in paired])
    top = np.max(np.where(present, codes, -1e9), axis=0) if present.any() else np.zeros(codes.shape[-1])
    total = np.sum(np.where(present, codes, 0.0), axis=0) / len(entities)
    return mlp(spec["head"], arrays, np.concatenate([ego, top, total]))


def pick(tree, agent):
    """One agent's part of an observation."""
    if isinstance(tree, dict):
        return {k: pick(v, agent) for k, v in tree.items()}
    if isinstance(tree, (list, tuple)):
        return type(tree)(pick(v, agent) for v in tree)
    return np.asarray(tree)[agent]


class Policy:
    """One policy per agent, read from a folder."""

    def __init__(self, folder):
        folder = Path(folder)
        self.spec = json.loads((folder / "policy.json").read_text())
        with np.load(folder / "policy.npz", allow_pickle=False) as archive:
            self.arrays = {k: archive[k] for k in archive.files}

    def outputs(self, obs):
        """Logits `[agent, action]`, or means `[agent, size]` of a Gaussian."""
        rows = []
        for agent in range(self.spec["agents"]):
            own = (
                self.arrays if self.spec["shared"] else {k: v[agent] for k, v in self.arrays.items() if k != "log_std"}
            )
            rows.append(network(self.spec["net"], own, pick(obs, agent)))
        out = np.reshape(self.spec["scale"], (-1, 1)) * np.stack(rows)
        if self.spec["head"] == "marginal":
            # Rows over joint actions, own action first: the mean over what the others may do.
            out = out.reshape(len(out), self.spec["actions"], -1)
            out = out - log_sum(out, 1)[:, None] if self.spec["belief"] == "uniform" else out
            out = log_sum(out, 2)
        return out

    def __call__(self, obs, generator=None, action_mask=None):
        """The joint action: the mode, or a draw if a NumPy generator is given."""
        out = self.outputs(obs)
        if self.spec["head"] == "gaussian":
            if generator is not None:
                out = out + np.exp(self.arrays["log_std"]) * generator.normal(size=out.shape)
            return np.clip(out, self.spec["low"], self.spec["high"])
        if action_mask is not None:
            out = np.where(action_mask, out, -np.inf)
        if generator is not None:
            out = out + generator.gumbel(size=out.shape)
        return np.argmax(out, axis=-1)
