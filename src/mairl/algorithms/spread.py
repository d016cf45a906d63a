"""Seeds spread over devices: each device trains its share of them on its own copy of the game and the data.

Nothing is sent between devices, so n of them train n seeds in the time of one. On a CPU, XLA offers several devices if
`XLA_FLAGS=--xla_force_host_platform_device_count=2` is set before JAX starts (the command line does).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

SEEDS = PartitionSpec("seed")


def seed_mesh(num_seeds: int) -> Mesh | None:
    """As many of this host's devices as divide `num_seeds` evenly; None if that is one."""
    devices = jax.local_devices()
    count = max(n for n in range(1, len(devices) + 1) if num_seeds % n == 0)
    return Mesh(np.array(devices[:count]), ("seed",)) if count > 1 else None


def spread(tree: Any, mesh: Mesh | None) -> Any:
    """The same tree with its arrays' first axis, the seeds, spread over the mesh."""
    return tree if mesh is None else _put(tree, NamedSharding(mesh, SEEDS))


def gather(tree: Any, mesh: Mesh | None) -> Any:
    """The inverse of `spread`: everything on the first device."""
    return tree if mesh is None else _put(tree, mesh.devices.flat[0])


def over_seeds(function: Callable[[Any, Any], Any], mesh: Mesh | None) -> Callable[[Any, Any], Any]:
    """`function(per_seed, shared)` run on each device for its seeds.

    `per_seed` and what is returned have the seeds as the first axis of every array; `shared` is copied to all devices.
    Arrays only (see `eqx.partition`). Call it under `jit`.
    """
    if mesh is None:
        return function
    specs = {"in_specs": (SEEDS, PartitionSpec()), "out_specs": SEEDS}
    # Without communication there is nothing for the check of replicated values to find.
    return jax.shard_map(function, mesh=mesh, check_vma=False, **specs)


def _put(tree, where):
    return jax.tree.map(lambda x: jax.device_put(x, where) if eqx.is_array(x) else x, tree)
