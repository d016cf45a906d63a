"""Policies as a folder that NumPy alone can run: `policy.py` (copied as it is), `policy.json`, `policy.npz`."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from mairl.core.errors import InvalidData, Unsupported
from mairl.core.learned import Learned
from mairl.core.policy import Policy
from mairl.export import standalone
from mairl.games.tabular.policy import TabularPolicy
from mairl.networks.build import Flat, PerAgent
from mairl.networks.cnn import CNN
from mairl.networks.entity_encoder import EntityEncoder
from mairl.networks.heads import BoltzmannPolicy, CategoricalPolicy, GaussianPolicy, MarginalPolicy
from mairl.networks.mlp import MLP


def export_numpy(policy: Policy | Learned, folder: str | Path, agents: int, *, overwrite: bool = False) -> None:
    """Writes one seed's policy. Its actions agree with the original's up to rounding (about 1e-6 in the logits).

    Args:
        policy: without a seed axis (see `Learned.load(..., seed=)`).
        agents: how many play.

    Raises:
        Unsupported: a policy or network of a kind that cannot be exported.
        InvalidData: the folder exists and `overwrite` is not set.
    """
    folder = Path(folder)
    if folder.exists() and not overwrite:
        raise InvalidData(f"{folder} exists: choose another folder, or replace it on purpose (overwrite)")
    spec, arrays = describe(policy, agents)
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "policy.npz", **arrays)  # type: ignore[arg-type]
    (folder / "policy.json").write_text(json.dumps(spec, indent=1))
    (folder / "policy.py").write_text((files("mairl.export") / "standalone.py").read_text(encoding="utf-8"))


def describe(policy: Policy | Learned, agents: int) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What a policy computes, as plain data: how its layers follow each other, and their numbers.

    Raises:
        Unsupported: a policy or network of a kind that has no such form.
    """
    policy = policy.policy if isinstance(policy, Learned) else policy
    arrays: dict[str, np.ndarray] = {}
    spec: dict[str, Any] = {"agents": agents, "scale": [1.0] * agents}
    if isinstance(policy, CategoricalPolicy):
        net, spec["head"] = policy.net, "categorical"
    elif isinstance(policy, BoltzmannPolicy):
        net, spec["head"] = policy.critic, "categorical"
        sharpness = np.ones(agents) if policy.sharpness is None else np.asarray(policy.sharpness, float)
        spec["scale"] = [policy.rationality * float(s) for s in sharpness]
    elif isinstance(policy, GaussianPolicy):
        net, spec["head"] = policy.net, "gaussian"
        spec |= {"low": policy.low, "high": policy.high}
        arrays["log_std"] = np.asarray(policy.log_std)
    elif isinstance(policy, MarginalPolicy):
        net, spec["head"], spec["belief"] = policy.critic, "marginal", policy.belief
        spec["scale"], spec["actions"] = [policy.rationality] * agents, policy.num_actions
    elif isinstance(policy, TabularPolicy):
        arrays["table"] = np.asarray(policy.log_table)
        return {**spec, "head": "categorical", "shared": False, "net": {"kind": "table"}}, arrays
    else:
        raise Unsupported(
            f"a {type(policy).__name__} cannot be exported: networks (also over joint actions) and tables can"
        )
    spec["shared"] = net.shared
    spec["net"] = _network(net, arrays)
    return spec, arrays


def load_numpy(folder: str | Path) -> standalone.Policy:
    """Reads what `export_numpy` wrote; the same class is in the folder's own `policy.py`."""
    return standalone.Policy(folder)


def _network(per_agent: PerAgent, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    net = per_agent.net
    if isinstance(net, Flat):
        return {"kind": "flat", "mlp": _mlp(net.mlp, "mlp", arrays)}
    if isinstance(net, CNN):
        for k, layer in enumerate(net.convolutions):
            arrays[f"conv.{k}.weight"] = np.asarray(layer.linear.weight)
            arrays[f"conv.{k}.bias"] = np.asarray(layer.linear.bias)
        strides = [layer.stride for layer in net.convolutions]
        return {"kind": "cnn", "strides": strides, "activation": net.activation, "head": _mlp(net.head, "head", arrays)}
    if isinstance(net, EntityEncoder):
        encoder, head = _mlp(net.encoder, "encoder", arrays), _mlp(net.head, "head", arrays)
        return {"kind": "entities", "encoder": encoder, "head": head}
    raise Unsupported(f"a {type(net).__name__} cannot be exported: MLPs, CNNs and entity encoders can")


def _mlp(net: MLP, name: str, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    for k, layer in enumerate(net.layers):
        arrays[f"{name}.{k}.weight"] = np.asarray(layer.weight)
        arrays[f"{name}.{k}.bias"] = np.asarray(layer.bias)
    return {"name": name, "layers": len(net.layers), "activation": net.activation}
