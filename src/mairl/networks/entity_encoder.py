"""Sets of entities with masks: encode each, pool, decide (Zaheer et al. 2017)."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree

from mairl.networks.mlp import MLP


class EntityEncoder(eqx.Module):
    """Observations `{"ego": [f], "entities": [n, g], "mask": [n]}`: each entity is encoded together with the ego's
    features, max- and sum-pooled over the present ones, and passed with the ego to an MLP. The order of entities
    does not matter."""

    encoder: MLP
    head: MLP

    @classmethod
    def new(
        cls,
        ego: int,
        entity: int,
        size_out: int,
        *,
        width: int,
        depth: int,
        key: Key[Array, ""],
        activation: str = "elu",
        dropout: float = 0.0,
        out_scale: float = 1.0,
    ) -> EntityEncoder:
        """A fresh network for `ego` and `entity` features."""
        key_encoder, key_head = jax.random.split(key)
        code = width // 2
        encoder = MLP.new(ego + entity, code, width=width, depth=1, key=key_encoder, activation=activation)
        head = MLP.new(
            ego + 2 * code,
            size_out,
            width=width,
            depth=depth,
            key=key_head,
            activation=activation,
            dropout=dropout,
            out_scale=out_scale,
        )
        return cls(encoder, head)

    def __call__(self, obs: PyTree[Array], key: Key[Array, ""] | None = None) -> Array:
        """Applies the network; without a key, without dropout."""
        ego, entities, present = obs["ego"], obs["entities"], obs["mask"][:, None]
        paired = jnp.concatenate([entities, jnp.broadcast_to(ego, (entities.shape[0], ego.shape[0]))], axis=-1)
        codes = jax.vmap(self.encoder)(paired)
        top = jnp.max(jnp.where(present, codes, -1e9), axis=0, initial=-1e9)
        top = jnp.where(jnp.any(present), top, 0.0)
        total = jnp.sum(jnp.where(present, codes, 0.0), axis=0) / entities.shape[0]
        return self.head(jnp.concatenate([ego, top, total]), key)
