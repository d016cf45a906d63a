"""Compiled programs are dropped where a process holds many."""

from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from mairl.core.programs import drop_if_many


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="the system does not list mappings")
def test_programs_go_when_there_are_many():
    traced = []

    @jax.jit
    def double(x):
        traced.append(1)
        return 2 * x

    double(jnp.ones(3))
    assert not drop_if_many(limit=10**9)
    double(jnp.ones(3))
    assert len(traced) == 1
    assert drop_if_many(limit=0)
    assert double(jnp.ones(3)).tolist() == [2.0, 2.0, 2.0]
    assert len(traced) == 2
