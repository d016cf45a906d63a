"""Policies as ONNX, for runtimes in other languages and on other devices.

The graph is written layer by layer with the package `onnx`: these networks are matrix products, 3×3 convolutions and
activations. See docs/export.md for why no converter is used.

    inputs   one per leaf of the observation, `[batch, agent, ...]`, named "obs" or by its place ("obs.ego")
    outputs  "logits" `[batch, agent, action]`; of a Gaussian, "mean" and "log_std" `[batch, agent, size]`
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from mairl.core.errors import InvalidData, require
from mairl.core.learned import Learned
from mairl.core.policy import Policy
from mairl.export.numpy_policy import describe

OPSET, IR = 18, 9
"""Old enough for runtimes of 2023 and later."""


def export_onnx(
    policy: Policy | Learned,
    path: str | Path,
    agents: int,
    observation_spec: PyTree[jax.ShapeDtypeStruct],
    *,
    overwrite: bool = False,
) -> None:
    """Writes one seed's policy. Its outputs agree with the original's up to rounding (about 1e-5).

    Whoever runs it masks forbidden actions and draws: the action is argmax or a draw from softmax(logits); of a
    Gaussian, mean + exp(log_std) · noise, clipped to the bounds in the model's metadata.

    Args:
        policy: without a seed axis (see `Learned.load(..., seed=)`).
        agents: how many play.
        observation_spec: the game's.

    Raises:
        Unsupported: a policy or network of a kind that cannot be exported.
        InvalidData: the file exists and `overwrite` is not set.
        MissingPackage: `onnx` is not installed.
    """
    onnx = require("onnx", package="'mairl[onnx]'", purpose="export policies as ONNX")
    path = Path(path)
    if path.exists() and not overwrite:
        raise InvalidData(f"{path} exists: choose another file, or replace it on purpose (overwrite)")
    spec, arrays = describe(policy, agents)
    graph = _Graph(onnx, spec, arrays)
    leaves = jax.tree_util.tree_leaves_with_path(observation_spec)
    inputs = [graph.input(_name(place), leaf) for place, leaf in leaves]
    out = graph.network(spec["net"], [_name(place) for place, _ in leaves], [leaf.shape for _, leaf in leaves])
    gaussian = spec["head"] == "gaussian"
    name = "mean" if gaussian else "logits"
    scale = graph.constant(np.asarray(spec["scale"], np.float32)[:, None])
    if spec["head"] == "marginal":
        form = graph.constant(np.array([0, agents, spec["actions"], -1], np.int64))
        table = graph.add("Reshape", [graph.add("Mul", [out, scale]), form])
        table = graph.add("LogSoftmax", [table], axis=2) if spec["belief"] == "uniform" else table
        last = graph.constant(np.array([3], np.int64))
        graph.add("ReduceLogSumExp", [table, last], out=name, keepdims=0)
    else:
        graph.add("Mul", [out, scale], out=name)
    outputs = [name]
    if gaussian:
        # Its own for each step of the batch, as the mean is.
        zeros = graph.add("Sub", [name, name])
        graph.add("Add", [zeros, graph.constant(arrays["log_std"].astype(np.float32))], out="log_std")
        outputs.append("log_std")
    helper, float32 = onnx.helper, onnx.TensorProto.FLOAT
    made = helper.make_graph(
        graph.nodes,
        "policy",
        inputs,
        [helper.make_tensor_value_info(n, float32, ["batch", agents, None]) for n in outputs],
        graph.constants,
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="mairl")
    model.ir_version = IR
    facts = {k: spec[k] for k in ("agents", "head", "low", "high") if k in spec}
    helper.set_model_props(model, {k: json.dumps(v) for k, v in facts.items()})
    onnx.checker.check_model(model, full_check=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())


def _name(place) -> str:
    return "obs" + "".join(f".{getattr(p, 'key', getattr(p, 'idx', p))}" for p in place)


class _Graph:
    """Nodes and constants of a graph under construction. Values are named; all are `[batch, agent, ...]`."""

    def __init__(self, onnx: Any, spec: dict[str, Any], arrays: dict[str, np.ndarray]):
        self.onnx, self.agents, self.shared = onnx, spec["agents"], spec["shared"]
        # Shared parameters once for every agent, so that all have an agent axis.
        repeat = {
            k: np.repeat(v[None], self.agents, 0) if self.shared else v for k, v in arrays.items() if k != "log_std"
        }
        self.arrays = {k: v.astype(np.float32) for k, v in repeat.items()}
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.count = 0

    def input(self, name: str, leaf: jax.ShapeDtypeStruct) -> Any:
        kind = self.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(leaf.dtype))
        return self.onnx.helper.make_tensor_value_info(name, kind, ["batch", self.agents, *leaf.shape])

    def add(self, operation: str, inputs: list[str], out: str | None = None, **attributes) -> str:
        self.count += 1
        out = out or f"x{self.count}"
        self.nodes.append(self.onnx.helper.make_node(operation, inputs, [out], **attributes))
        return out

    def constant(self, value: Any) -> str:
        self.count += 1
        name = f"c{self.count}"
        self.constants.append(self.onnx.numpy_helper.from_array(np.asarray(value), name))
        return name

    def shape(self, value: str, *shape: int) -> str:
        """Reshaped; the batch stays free."""
        return self.add("Reshape", [value, self.constant(np.array([-1, *shape], np.int64))])

    def floats(self, value: str) -> str:
        return self.add("Cast", [value], to=self.onnx.TensorProto.FLOAT)

    def activate(self, value: str, kind: str) -> str:
        if kind == "silu":
            return self.add("Mul", [value, self.add("Sigmoid", [value])])
        if kind == "leaky_relu":
            return self.add("LeakyRelu", [value], alpha=0.01)
        return self.add({"elu": "Elu", "relu": "Relu", "tanh": "Tanh"}[kind], [value])

    def mlp(self, spec: dict[str, Any], value: str) -> str:
        """Dense layers on `[batch, agent, rows, feature]`."""
        for k in range(spec["layers"]):
            weight, bias = self.arrays[f"{spec['name']}.{k}.weight"], self.arrays[f"{spec['name']}.{k}.bias"]
            value = self.add("MatMul", [value, self.constant(weight)])
            value = self.add("Add", [value, self.constant(bias[:, None])])
            value = self.activate(value, spec["activation"]) if k < spec["layers"] - 1 else value
        return value

    def network(self, spec: dict[str, Any], names: list[str], shapes: list[tuple[int, ...]]) -> str:
        """`[batch, agent, out]` from the observation's leaves."""
        agents = self.agents
        if spec["kind"] == "table":
            # Of actions that are never played there is no infinity times 0.
            table = self.constant(np.maximum(self.arrays["table"], -1e9))
            return self.add("Einsum", [self.floats(names[0]), table], equation="bas,asn->ban")
        if spec["kind"] == "flat":
            sizes = [int(np.prod(s)) for s in shapes]
            parts = [self.shape(self.floats(n), agents, 1, size) for n, size in zip(names, sizes)]
            out = self.mlp(spec["mlp"], self.add("Concat", parts, axis=-1))
        elif spec["kind"] == "cnn":
            out = self.mlp(spec["head"], self.convolutions(spec, names[0], shapes[0]))
        else:
            leaves = dict(zip((n.removeprefix("obs.") for n in names), zip(names, shapes)))
            out = self.mlp(spec["head"], self.entities(spec, leaves))
        return self.add("Squeeze", [out, self.constant(np.array([2], np.int64))])

    def convolutions(self, spec: dict[str, Any], name: str, shape: tuple[int, ...]) -> str:
        """Each agent's convolutions as one, in groups; `[batch, agent, 1, feature]` as the head expects."""
        agents = self.agents
        height, width, channels = shape
        value = self.add("Transpose", [self.floats(name)], perm=[0, 1, 4, 2, 3])
        value = self.shape(value, agents * channels, height, width)
        for k, stride in enumerate(spec["strides"]):
            weight, bias = self.arrays[f"conv.{k}.weight"], self.arrays[f"conv.{k}.bias"]
            kernel = weight.reshape(agents, 3, 3, channels, -1).transpose(0, 4, 3, 1, 2)
            inputs = [value, self.constant(kernel.reshape(-1, channels, 3, 3)), self.constant(bias.reshape(-1))]
            value = self.add(
                "Conv", inputs, group=agents, kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[stride, stride]
            )
            value = self.activate(value, spec["activation"])
            channels, height, width = kernel.shape[1], -(-height // stride), -(-width // stride)
        value = self.shape(value, agents, channels, height * width)
        return self.shape(self.add("Transpose", [value], perm=[0, 1, 3, 2]), agents, 1, height * width * channels)

    def entities(self, spec: dict[str, Any], leaves: dict[str, tuple[str, tuple[int, ...]]]) -> str:
        """The largest and the mean code of the entities that are present, beside the ego; as the head expects."""
        agents, count = self.agents, leaves["entities"][1][0]
        size = leaves["ego"][1][0]
        ego = self.shape(self.floats(leaves["ego"][0]), agents, 1, size)
        beside = self.add("Mul", [ego, self.constant(np.ones((1, 1, count, 1), np.float32))])
        paired = self.add("Concat", [self.floats(leaves["entities"][0]), beside], axis=-1)
        codes = self.mlp(spec["encoder"], paired)
        seen = self.shape(self.floats(leaves["mask"][0]), agents, count, 1)
        present = self.add("Greater", [seen, self.constant(np.float32(0))])
        axis = self.constant(np.array([2], np.int64))
        top = self.add("ReduceMax", [self.add("Where", [present, codes, self.constant(np.float32(-1e9))]), axis])
        anyone = self.add("Greater", [self.add("ReduceMax", [seen, axis]), self.constant(np.float32(0))])
        top = self.add("Where", [anyone, top, self.constant(np.float32(0))])
        kept = self.add("Where", [present, codes, self.constant(np.float32(0))])
        mean = self.add("Div", [self.add("ReduceSum", [kept, axis]), self.constant(np.float32(count))])
        return self.add("Concat", [ego, top, mean], axis=-1)
