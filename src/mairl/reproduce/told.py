"""Tables that take long say where they are."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

Item = TypeVar("Item")


def told(what: str, items: Iterable[Item], label: Callable[[Item], Any] = str) -> Iterator[Item]:
    """The items; on stderr, when each is done, its name, how long it took, and how many are done of how many."""
    items = list(items)
    for done, item in enumerate(items, 1):
        start = time.perf_counter()
        yield item
        passed = time.perf_counter() - start
        print(f"{what} {label(item)}: {passed:.0f} s ({done} of {len(items)})", file=sys.stderr, flush=True)
