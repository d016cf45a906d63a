"""Several kinds of entities, each a set with a mask: encode, take the maximum, decide (Qi et al. 2017, PointNet)."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key, PyTree

from mairl.networks.mlp import ACTIVATIONS, MLP, Linear

MASK, LINKS = "_mask", "_links"


def set_names(spec: PyTree) -> tuple[str, ...]:
    """The sets of an observation `{"ego": [f], "NAME": [feature, entity], "NAME_mask": [entity], …}`, in order; none if
    it is not of this form. How the entities of a set hang together, `NAME_links` with their mask, is no set."""
    if not isinstance(spec, dict) or "ego" not in spec:
        return ()
    found = {name for name in spec if not name.removesuffix(MASK).endswith(LINKS)}
    names = tuple(sorted(name.removesuffix(MASK) for name in found if name.endswith(MASK)))
    return names if {"ego", *names, *(name + MASK for name in names)} == found else ()


class SetEncoder(eqx.Module):
    """Observations as `set_names` says: each set is encoded by layers of its own and reduced to the largest of each
    code over those present; all of them and the ego go through an MLP. The order within a set does not matter; links
    between its entities are not read. A set over time, `[time, feature, entity]` with the mask `[time, entity]`, is one
    of whole pasts: see `elements`."""

    encoders: dict[str, tuple[Linear, ...]]
    head: MLP
    activation: str = eqx.field(static=True)

    @classmethod
    def new(
        cls,
        spec: PyTree[jax.ShapeDtypeStruct],
        size_out: int,
        *,
        width: int,
        depth: int,
        key: Key[Array, ""],
        activation: str = "elu",
        dropout: float = 0.0,
        out_scale: float = 1.0,
        layers: int = 2,
    ) -> SetEncoder:
        """A fresh network; sets are encoded by `layers` layers of `width` / 4 units."""
        names = set_names(spec)
        code = max(1, width // 4)
        *keys, key_head = jax.random.split(key, len(names) + 1)
        encoders = {}
        for name, k in zip(names, keys, strict=True):
            sizes = [jax.eval_shape(elements, spec[name], spec[name + MASK])[0].shape[1], *[code] * layers]
            encoders[name] = tuple(
                Linear.new(a, b, each)
                for a, b, each in zip(sizes[:-1], sizes[1:], jax.random.split(k, layers), strict=True)
            )
        head = MLP.new(
            spec["ego"].shape[0] + code * len(names),
            size_out,
            width=width,
            depth=depth,
            key=key_head,
            activation=activation,
            dropout=dropout,
            out_scale=out_scale,
        )
        return cls(encoders, head, activation)

    def __call__(self, obs: PyTree[Array], key: Key[Array, ""] | None = None) -> Array:
        """Applies the network; without a key, without dropout (which acts on the head)."""
        act = ACTIVATIONS[self.activation]
        parts = [obs["ego"]]
        for name, layers in self.encoders.items():
            code, present = elements(obs[name], obs[name + MASK])
            for layer in layers:
                code = act(code @ layer.weight + layer.bias)
            # Codes of what is absent, and of empty sets, are zeros.
            parts.append(jnp.max(jnp.where(present[:, None], code, -1e9), axis=0, initial=-1e9))
            parts[-1] = jnp.where(jnp.any(present), parts[-1], 0.0)
        return self.head(jnp.concatenate(parts), key)


def elements(
    features: Float[Array, "*time feature entity"], mask: Bool[Array, "*time entity"]
) -> tuple[Float[Array, "entity number"], Bool[Array, " entity"]]:
    """What is read of each entity, and which are there. Over time: all its steps, each with 1 behind its features where
    it was there and zeros where not; there is who was there at any step."""
    if features.ndim == 2:
        return features.T, mask
    known = jnp.concatenate([features, jnp.ones_like(features[:, :1])], axis=1)
    return jnp.where(mask[:, None], known, 0.0).reshape(-1, features.shape[-1]).T, jnp.any(mask, axis=0)
