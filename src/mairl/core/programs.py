"""Compiled programs that a process holds."""

from __future__ import annotations

import gc
from pathlib import Path

import jax

MANY = 20_000
"""Memory mappings. Linux grants a process 65,530; one training adds up to a few thousand."""


def drop_if_many(limit: int = MANY) -> bool:
    """Drops all compiled programs of a process that has more memory mappings than `limit`; whether it did.

    A program takes about ten mappings, for good: a loop over some hundred configurations would end in "Cannot allocate
    memory" or a segmentation fault inside XLA. What is used again is compiled again. Nothing happens where the system
    does not say how many there are (it is Linux that limits them).
    """
    mappings = Path("/proc/self/maps")
    if not mappings.exists() or mappings.read_bytes().count(b"\n") <= limit:
        return False
    jax.clear_caches()
    gc.collect()
    return True
