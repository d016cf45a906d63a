"""One function over many items, in this process, in worker processes, or over a Ray cluster."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from mairl.core.errors import MairlError, require

Item = TypeVar("Item")
Result = TypeVar("Result")


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def spread(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    workers: int = 0,
    ray: bool = False,
    stopped: Callable[[], bool] = lambda: False,
) -> Iterator[tuple[int, Result]]:
    """Yields (index of an item, what the function made of it) as they are done.

    Items are begun in order.

    Args:
        function: of an importable module; it and the items can be pickled.
        workers: processes; 0: one per core. With one worker, or one item, everything happens in this process.
        ray: over the cluster that Ray finds (`RAY_ADDRESS`), else over one that it starts here.
        stopped: asked after each result; once true, no more items are begun, and those are left out that come after
            every one that is done. What comes before is still yielded.

    Raises:
        MairlError: a worker died; `MissingPackage`: Ray is asked for and absent.
    """
    workers = min(workers or cores(), len(items))
    if ray:
        yield from _over_ray(function, items, stopped)
    elif workers <= 1:
        for k, item in enumerate(items):
            yield k, function(item)
            if stopped():
                return
    else:
        # Spawned, not forked: the caller may hold threads and devices.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, mp_context=context, initializer=_outlive_nobody) as pool:
            yield from _window(lambda item: pool.submit(function, item), items, 4 * workers, stopped)


def _over_ray(function: Callable, items: Sequence, stopped: Callable[[], bool]) -> Iterator[tuple[int, Any]]:
    ray = require("ray", purpose="spread work over a cluster")
    if not ray.is_initialized():
        ray.init(log_to_driver=False)
    task = ray.remote(function)
    window = 4 * int(ray.cluster_resources().get("CPU", 1))
    yield from _window(lambda item: task.remote(item).future(), items, window, stopped)


def _window(
    submit: Callable[[Any], Future], items: Sequence, size: int, stopped: Callable[[], bool]
) -> Iterator[tuple[int, Any]]:
    """At most `size` items are under way at once."""
    waiting: dict[Future, int] = {}
    begun, latest = 0, -1
    try:
        while waiting or (begun < len(items) and not stopped()):
            while len(waiting) < size and begun < len(items) and not stopped():
                waiting[submit(items[begun])] = begun
                begun += 1
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                k = waiting.pop(future)
                latest = max(latest, k)
                yield k, future.result()
            if stopped():
                for future in [f for f, k in waiting.items() if k > latest]:
                    future.cancel()
                    del waiting[future]
    except BrokenProcessPool as error:
        raise MairlError(
            "a worker process died (of too little memory?): go on with --resume, and fewer --workers"
        ) from error
    finally:
        for future in waiting:
            future.cancel()


def _outlive_nobody() -> None:
    """A worker ends when its parent does, however that ends; interrupts are the parent's to handle."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def follow() -> None:
        if parent is not None:
            parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
