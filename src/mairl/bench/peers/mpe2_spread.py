"""Random play in mpe2's simple_spread_v3, one process: parallel steps with restarts."""

import json
import sys
import time

import mpe2
import numpy as np
from mpe2 import simple_spread_v3


def rate(steps: int, repeats: int = 3) -> dict:
    """Joint steps a second, the median of `repeats`."""
    env = simple_spread_v3.parallel_env(N=3, local_ratio=0.5, max_cycles=25)
    rng = np.random.default_rng(0)
    env.reset(seed=0)
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        for _ in range(steps):
            env.step({agent: int(rng.integers(5)) for agent in env.agents})
            if not env.agents:
                env.reset()
        seconds.append(time.perf_counter() - start)
    return {"per_s": steps / sorted(seconds)[repeats // 2], "version": getattr(mpe2, "__version__", "")}


if __name__ == "__main__":
    print(json.dumps(rate(int(sys.argv[1]))))
