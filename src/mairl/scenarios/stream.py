"""Scenarios of a STORE as an endless, shuffled stream for training, by Grain: for stores larger than memory.

    with Stream(store.open("logs/womd"), seed=0, transform=to_arrays, workers=4) as scenes:
        for scene in scenes:
            ...
            state = scenes.get_state()    # JSON; `set_state` goes on after the scene that came last

What comes, and in which order, depends on the data, the seed and the host alone: not on how many workers read ahead,
and not on whether the stream was resumed. Only the store's index is in memory, and the scenes that are read ahead.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

import numpy as np

from mairl.core.errors import InvalidData, require
from mairl.scenarios.schema import Scenario
from mairl.scenarios.store import Store

Item = TypeVar("Item")


class Stream(Iterator[Item], Generic[Item]):
    """An iterator of what `transform` makes of each scenario, that can say where it is and be put there.

    Every epoch has an order of its own, of the whole store; each host takes its share of it. Every host's epochs have
    the same length, so that hosts that train in step stay in step: what is left over of an epoch, fewer scenarios than
    there are hosts, is left out of it.

    Args:
        data: the scenarios; `store.where(...)` chooses some.
        seed: 0 to 2³² - 1, of the order; None: that of the store.
        epochs: how many; None: without end.
        host, hosts: this host's number from 0, and how many there are (`jax.process_index()`, `jax.process_count()`).
        transform: applied by those who read; can be pickled. None: the scenarios themselves.
        workers: processes that read ahead; 0: threads of this process.
        ahead: items that each worker, or this process, keeps ready; at least 1.

    Raises:
        InvalidData: a number is out of its range, or there are fewer scenarios than hosts.
        MissingPackage: Grain is not installed.
    """

    def __init__(
        self,
        data: Store,
        *,
        seed: int | None = 0,
        epochs: int | None = None,
        host: int = 0,
        hosts: int = 1,
        transform: Callable[[Scenario], Item] | None = None,
        workers: int = 0,
        ahead: int = 4,
    ):
        for name, value, least, most in (
            ("seed", 0 if seed is None else seed, 0, 2**32 - 1),
            ("epochs", 1 if epochs is None else epochs, 1, np.inf),
            ("hosts", hosts, 1, np.inf),
            ("host", host, 0, hosts - 1),
            ("workers", workers, 0, np.inf),
            ("ahead", ahead, 1, np.inf),
        ):
            if not least <= value <= most:
                raise InvalidData(f"{name} is {value}: choose {least} to {most}")
        if len(data) < hosts:
            raise InvalidData(f"{data.path}: {len(data)} scenarios cannot be shared by {hosts} hosts")
        self._grain = require("grain", purpose="stream scenarios from a store")
        self._data, self._seed, self._epochs = data, seed, epochs
        self._host, self._hosts, self._transform = host, hosts, transform
        self._workers, self._ahead = workers, ahead
        self.epoch_length = len(data) // hosts
        """Items of an epoch on each host."""
        self._position = 0
        self._iterator: Any = None

    def __next__(self) -> Item:
        if self._epochs is not None and self._position >= self._epochs * self.epoch_length:
            raise StopIteration
        if self._iterator is None:
            self._iterator = self._begin()
        item = next(self._iterator)
        self._position += 1
        return item

    def _begin(self) -> Any:
        """Grain's iterator from the position on."""
        grain = self._grain
        dataset = grain.MapDataset.source(self._data)
        if self._seed is not None:
            dataset = dataset.shuffle(seed=self._seed)
        dataset = dataset[: self.epoch_length * self._hosts][self._host :: self._hosts]
        # Of a number of epochs, not endless: what is read ahead ends there, too.
        dataset = dataset.repeat(self._epochs)[self._position :]
        if self._transform is not None:
            dataset = dataset.map(self._transform)
        threads = 0 if self._workers else min(self._ahead, 2)
        reading = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=self._ahead)
        stream = dataset.to_iter_dataset(reading)
        if self._workers:
            flags = require("absl.flags", package="absl-py", purpose="start Grain's workers").FLAGS
            if not flags.is_parsed():  # Grain reads flags of its own, which only programs of Abseil parse.
                flags.mark_as_parsed()
            options = grain.MultiprocessingOptions(self._workers, per_worker_buffer_size=self._ahead)
            stream = stream.mp_prefetch(options)
        return iter(stream)

    def get_state(self) -> dict[str, Any]:
        """Where it is, as JSON: how many items came, and of what they were."""
        return {"position": self._position, **self._identity()}

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on after the item that came last before `get_state`, with any number of workers.

        Raises:
            InvalidData: the state is of other scenarios, or of another seed, host or number of hosts.
        """
        ours = self._identity()
        try:
            position = int(state["position"])
            other = {name: (state[name], value) for name, value in ours.items() if state[name] != value}
        except (LookupError, TypeError, ValueError) as error:
            raise InvalidData(f"this is no state of a stream of scenarios: {str(state)[:80]}") from error
        if other or position < 0:
            what = ", ".join(f"{name} {was}, now {now}" for name, (was, now) in other.items()) or f"at {position}"
            raise InvalidData(f"the state is of another stream than this one of {self._data.path}: {what}")
        self.close()
        self._position = position

    def _identity(self) -> dict[str, Any]:
        facts = self._data.facts["index_sha256"], self._data.rows.tobytes()
        data = hashlib.sha256(facts[0].encode() + facts[1]).hexdigest()
        return {"data": data, "seed": self._seed, "host": self._host, "hosts": self._hosts}

    def close(self) -> None:
        """Ends what reads ahead; the next item starts it again."""
        if self._iterator is not None:
            self._iterator.close()
            self._iterator = None

    def __enter__(self) -> Stream[Item]:
        return self

    def __exit__(self, *_) -> None:
        self.close()
