"""Attention from one vehicle to the others (Leurent and Mercat 2019, arXiv:1911.12250).

    e_0 = f_ego(ego),   e_j = f(entity_j)                            embeddings
    q = e_0 W_q,   k_j = e_j W_k,   v_j = e_j W_v                    per head, the ego's query alone
    w = softmax_j(q · k_j / √d_k)                                    over the ego and the entities that are present
    out = decoder(e_0 + W_o concat_heads(Σ_j w_j v_j))

The order of entities does not matter, any number of them will do, and `w` says whom the decision looks at.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from mairl.networks.mlp import ACTIVATIONS, MLP, Linear


class SocialAttention(eqx.Module):
    """Observations `{"ego": [f], "entities": [n, g], "mask": [n]}` to a vector, through the ego's attention.

    Attributes:
        ego_encoder, encoder: of the ego, and of any other entity.
        query, key, value: projections of embeddings `[width]` to `[head × width / head]`.
        combine: the heads together, back to an embedding.
        decoder: from the ego's embedding and what it gathered to the output.
        heads: how many; each attends on its own.
    """

    ego_encoder: MLP
    encoder: MLP
    query: Linear
    key: Linear
    value: Linear
    combine: Linear
    decoder: MLP
    heads: int = eqx.field(static=True, default=2)

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
        heads: int = 2,
    ) -> SocialAttention:
        """A fresh network for `ego` and `entity` features.

        Args:
            width: of embeddings and hidden layers, a multiple of `heads`.
            depth: hidden layers of the decoder.

        Raises:
            ValueError: a width that the heads cannot share.
        """
        if width % heads:
            raise ValueError(f"{heads} heads cannot share a width of {width}: use a multiple of {heads}")
        keys = jax.random.split(key, 7)
        return cls(
            MLP.new(ego, width, width=width, depth=1, key=keys[0], activation=activation),
            MLP.new(entity, width, width=width, depth=1, key=keys[1], activation=activation),
            *(Linear.new(width, width, k, scale=1.0) for k in keys[2:6]),
            decoder=MLP.new(
                width,
                size_out,
                width=width,
                depth=depth,
                key=keys[6],
                activation=activation,
                dropout=dropout,
                out_scale=out_scale,
            ),
            heads=heads,
        )

    def __call__(self, obs: PyTree[Array], key: Key[Array, ""] | None = None) -> Array:
        """Applies the network; without a key, without dropout."""
        own, everyone, weights = self._attend(obs)
        values = jax.vmap(self.value)(everyone).reshape(-1, self.heads, own.shape[0] // self.heads)
        gathered = jnp.einsum("hn,nhd->hd", weights, values).reshape(-1)
        return self.decoder(own + self.combine(gathered), key)

    def weights(self, obs: PyTree[Array]) -> Float[Array, "head 1+entity"]:
        """Whom each head looks at: the ego itself first, then the entities. Rows sum to 1; absent ones have 0."""
        return self._attend(obs)[2]

    def _attend(self, obs: PyTree[Array]) -> tuple[Array, Array, Array]:
        """The ego's embedding `[width]`, everyone's `[1+entity, width]`, and the weights."""
        act = ACTIVATIONS[self.decoder.activation]
        own = act(self.ego_encoder(obs["ego"]))
        everyone = jnp.concatenate([own[None], act(jax.vmap(self.encoder)(obs["entities"]))])
        size = own.shape[0] // self.heads
        query = self.query(own).reshape(self.heads, size)
        keys = jax.vmap(self.key)(everyone).reshape(-1, self.heads, size)
        scores = jnp.einsum("hd,nhd->hn", query, keys) / size**0.5
        present = jnp.concatenate([jnp.ones(1, bool), obs["mask"]])
        return own, everyone, jax.nn.softmax(jnp.where(present, scores, -jnp.inf), axis=-1)
