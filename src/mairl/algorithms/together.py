"""One training on several devices: of this process, or of several (`jax.distributed.initialize`).

Each device plays its share of the games and computes the gradients of its share of a minibatch; XLA adds them up. The
numbers are those of one device, but for the order of sums. What is learned lives on every device whole.
"""

from __future__ import annotations

import contextlib
import os
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mairl.algorithms.base import Collection
from mairl.core.errors import Unsupported

GAMES = "games"


class Together:
    """The devices that train together; without any, every method is the identity."""

    def __init__(self, mesh: Mesh | None = None):
        self.mesh = mesh

    @classmethod
    def of(cls, collection: Collection | None) -> Together:
        """All devices of all processes.

        Raises:
            Unsupported: nothing is played, or the games cannot be dealt out evenly.
        """
        if collection is None:
            raise Unsupported('apart="games": this learner plays nothing while it learns; choose apart="seeds"')
        devices, games = jax.devices(), collection.num_envs
        if games % len(devices):
            raise Unsupported(
                f'apart="games": {games} games cannot be dealt out evenly to {len(devices)} devices; choose another '
                "num_envs, or seeds apart"
            )
        return cls(Mesh(np.array(devices), (GAMES,)))

    def place(self, carry: Any) -> Any:
        """A carry whose `env` has axes `[seed, env, ...]`: games are dealt out, all else is copied."""
        if self.mesh is None:
            return carry
        env = _place(carry.env, NamedSharding(self.mesh, PartitionSpec(None, GAMES)))
        rest = self.copied(eqx.tree_at(lambda c: c.env, carry, None))
        return eqx.tree_at(lambda c: c.env, rest, env, is_leaf=lambda x: x is None)

    def copied(self, tree: Any) -> Any:
        """What every device needs whole."""
        return tree if self.mesh is None else _place(tree, NamedSharding(self.mesh, PartitionSpec()))

    def whole(self, tree: Any) -> Any:
        """The inverse of `place`: everything on this process's first device. All processes must ask for it."""
        if self.mesh is None:
            return tree
        arrays, rest = eqx.partition(tree, eqx.is_array)
        copied = jax.jit(lambda x: x, out_shardings=NamedSharding(self.mesh, PartitionSpec()))(arrays)
        return eqx.combine(jax.tree.map(_here, copied), rest)

    def context(self):
        """In which `split_games` knows of the devices."""
        return contextlib.nullcontext() if self.mesh is None else jax.set_mesh(self.mesh)

    def agree(self, value: bool) -> bool:
        """The first process's answer, in all of them."""
        if self.mesh is None or jax.process_count() == 1:
            return value
        return bool(multihost_utils.broadcast_one_to_all(np.asarray(value)))


def split_games(tree: Any, axis: int) -> Any:
    """Asks that arrays be dealt out along `axis` to the devices that train together, if there are any.

    Changes where numbers are computed, not which.
    """
    if GAMES not in jax.sharding.get_abstract_mesh().axis_names:
        return tree
    where = PartitionSpec(*[None] * axis, GAMES)
    return jax.tree.map(lambda x: jax.lax.with_sharding_constraint(x, where), tree)


def join_processes() -> None:
    """Joins the processes that train together, where the environment says that there are some.

    `MAIRL_COORDINATOR` is host:port of the first process, `MAIRL_PROCESSES` how many there are, `MAIRL_PROCESS` which
    one this is, from 0. On Slurm, Kubernetes and the like `MAIRL_COORDINATOR=auto` is enough. Must run before JAX is
    used.

    Raises:
        Unsupported: only some of the three are set, or not as numbers.
    """
    names = ("MAIRL_COORDINATOR", "MAIRL_PROCESSES", "MAIRL_PROCESS")
    coordinator, *numbers = (os.environ.get(name) for name in names)
    if coordinator == "auto":
        jax.distributed.initialize()
    elif coordinator or any(numbers):
        count, which = (n or "" for n in numbers)
        if not (coordinator and count.isdigit() and which.isdigit() and int(which) < int(count)):
            raise Unsupported(
                f"to train in several processes set {', '.join(names)}: host:port, a number, and one from 0 below it"
            )
        jax.distributed.initialize(coordinator, int(count), int(which))


def wait_for_all(what: str) -> None:
    """Returns when every process has come here."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(what)


def _place(tree: Any, where: NamedSharding) -> Any:
    """Arrays that every process has whole, as arrays of all processes."""

    def one(x):
        if not eqx.is_array(x):
            return x
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(one(jax.random.key_data(x)))
        host = np.asarray(x)
        return jax.make_array_from_callback(host.shape, where, lambda index: host[index])

    return jax.tree.map(one, tree)


def _here(x):
    if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(_here(jax.random.key_data(x)))
    return jnp.asarray(np.asarray(x.addressable_data(0)))
