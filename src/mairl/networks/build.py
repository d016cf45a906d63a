"""From a game's observation to a network: one place that chooses the kind and the sizes."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from mairl.networks.cnn import CNN
from mairl.networks.entity_encoder import EntityEncoder
from mairl.networks.mlp import MLP
from mairl.networks.set_encoder import SetEncoder, set_names
from mairl.networks.social_attention import SocialAttention


@dataclasses.dataclass(frozen=True)
class NetworkConfig:
    """Sizes of a network.

    Attributes:
        kind: "auto" takes what fits the observation: a CNN for one image, an entity encoder for
            `{"ego", "entities", "mask"}`, a set encoder for several sets with masks (see `mairl.networks.set_encoder`),
            else an MLP on everything flattened. "attention" reads one set through the ego's attention (see
            `mairl.networks.social_attention`).
        width: units of each hidden layer.
        depth: number of hidden layers (of the head, for CNNs and readers of sets).
        activation: see `mairl.networks.mlp.ACTIVATIONS`.
        dropout: probability of dropping a hidden unit while training.
        channels: of each convolution.
        convolutions: how many.
        shared: one set of parameters for all agents, instead of one set each.
    """

    kind: Literal["auto", "mlp", "cnn", "entities", "attention", "sets"] = "auto"
    width: int = 128
    depth: int = 2
    activation: str = "elu"
    dropout: float = 0.0
    channels: int = 16
    convolutions: int = 3
    shared: bool = False


class Flat(eqx.Module):
    """An MLP on any observation, flattened and joined (integers and booleans become floats)."""

    mlp: MLP

    def __call__(self, obs: PyTree[Array], key: Key[Array, ""] | None = None) -> Array:
        """Applies the network."""
        return self.mlp(flatten(obs), key)


class WithVector(eqx.Module):
    """An MLP on a flattened observation and a further vector, such as everybody's actions."""

    mlp: MLP

    def __call__(self, obs: PyTree[Array], vector: Array, key: Key[Array, ""] | None = None) -> Array:
        """Applies the network."""
        return self.mlp(jnp.concatenate([flatten(obs), vector]), key)


class PerAgent(eqx.Module):
    """One network per agent: parameters stacked on a first axis, or one set shared by all.

    `net(obs, ...)` sees one agent's observation; calling this sees all agents' (leaves `[agent, ...]`).
    """

    net: eqx.Module
    shared: bool = eqx.field(static=True, default=False)

    @classmethod
    def new(cls, make, num_agents: int, key: Key[Array, ""], shared: bool = False) -> PerAgent:
        """Builds `make(key)` once per agent, or once for all."""
        if shared:
            return cls(make(key), True)
        return cls(eqx.filter_vmap(make)(jax.random.split(key, num_agents)), False)

    def __call__(self, *inputs: PyTree[Array], key: Key[Array, ""] | None = None) -> Float[Array, "agent out"]:
        """Applies each agent's network to its own inputs; with a key, with dropout."""
        axis = None if self.shared else eqx.if_array(0)
        if key is None:
            return eqx.filter_vmap(lambda n, x: n(*x), in_axes=(axis, 0))(self.net, inputs)
        keys = jax.random.split(key, jax.tree.leaves(inputs)[0].shape[0])
        return eqx.filter_vmap(lambda n, x, k: n(*x, key=k), in_axes=(axis, 0, 0))(self.net, inputs, keys)

    def on_batch(self, obs: PyTree[Array], key: Key[Array, ""] | None = None) -> Float[Array, "batch agent out"]:
        """The same as `jax.vmap(self)` on observations with leaves `[batch, agent, ...]`, with cheaper gradients.

        Gradients of weights are sums over the batch. With the agents outside of it, or in it where all share one
        network, each is one matrix product; with the batch outside XLA transposes and copies the operands first.
        """
        batch, agents = jax.tree.leaves(obs)[0].shape[:2]
        keys = None if key is None else jax.random.split(key, batch * agents)

        def on(net, obs, keys):
            return jax.vmap(lambda x, k: net(x) if k is None else net(x, key=k))(obs, keys)

        if self.shared:
            out = on(self.net, jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), obs), keys)
            return out.reshape(batch, agents, *out.shape[1:])
        by_agent = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), obs)
        keys = None if keys is None else keys.reshape(agents, batch)
        return jnp.swapaxes(eqx.filter_vmap(on)(self.net, by_agent, keys), 0, 1)


def flatten(obs: PyTree[Array]) -> Float[Array, " feature"]:
    """All leaves of one agent's observation as one float32 vector."""
    return jnp.concatenate([jnp.ravel(x).astype(jnp.float32) for x in jax.tree.leaves(obs)])


def flat_size(spec: PyTree[jax.ShapeDtypeStruct]) -> int:
    """Length of `flatten`'s result for one agent's observation."""
    return sum(math.prod(s.shape) for s in jax.tree.leaves(spec))


def make_network(
    spec: PyTree[jax.ShapeDtypeStruct],
    size_out: int,
    config: NetworkConfig,
    key: Key[Array, ""],
    out_scale: float = 1.0,
) -> eqx.Module:
    """A fresh network from one agent's observation (a game's `observation_spec`) to `size_out` numbers."""
    sizes = {
        "width": config.width,
        "depth": config.depth,
        "activation": config.activation,
        "dropout": config.dropout,
        "out_scale": out_scale,
        "key": key,
    }
    leaves = jax.tree.leaves(spec)
    is_set = isinstance(spec, dict) and {"ego", "entities", "mask"} == set(spec)
    is_image = len(leaves) == 1 and len(leaves[0].shape) == 3
    sets = () if is_set else set_names(spec)
    fitting = "entities" if is_set else "sets" if sets else "cnn" if is_image else "mlp"
    kind = config.kind if config.kind != "auto" else fitting
    if kind == "sets":
        if not sets:
            raise ValueError(f"kind='sets' needs {{'ego', 'NAME', 'NAME_mask', ...}}, the observation is {spec}")
        return SetEncoder.new(spec, size_out, **sizes)
    if kind in ("entities", "attention"):
        if not is_set:
            raise ValueError(f"kind={kind!r} needs {{'ego', 'entities', 'mask'}}, the observation is {spec}")
        reader = EntityEncoder if kind == "entities" else SocialAttention
        return reader.new(spec["ego"].shape[0], spec["entities"].shape[1], size_out, **sizes)
    if kind == "cnn":
        if not is_image:
            raise ValueError(f"a CNN needs one image [height, width, channel], the observation is {spec}")
        return CNN.new(leaves[0].shape, size_out, channels=config.channels, layers=config.convolutions, **sizes)
    return Flat(MLP.new(flat_size(spec), size_out, **sizes))


def per_agent_network(
    game, size_out: int, config: NetworkConfig, key: Key[Array, ""], out_scale: float = 1.0
) -> PerAgent:
    """A network for every agent of `game`, from its own observation to `size_out` numbers."""
    return _per_agent(game.observation_spec, game.num_agents, size_out, config, key, out_scale)


@eqx.filter_jit
def _per_agent(spec, num_agents: int, size_out: int, config: NetworkConfig, key, out_scale: float) -> PerAgent:
    # One program, rather than several for each layer.
    return PerAgent.new(lambda k: make_network(spec, size_out, config, k, out_scale), num_agents, key, config.shared)
