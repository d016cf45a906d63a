"""CMA-ES of evosax in a compiled loop, and pycma's where it is installed, on the sphere."""

import json
import sys
import time


def evosax_rate(size: int, population: int, generations: int, repeats: int = 5) -> dict:
    """Generations a second, the median of `repeats` after one that compiles."""
    import evosax
    import jax
    import jax.numpy as jnp
    from evosax.algorithms import CMA_ES

    strategy = CMA_ES(population_size=population, solution=jnp.zeros(size))
    params = strategy.default_params

    @jax.jit
    def run(key):
        key, key_start = jax.random.split(key)
        state = strategy.init(key_start, jnp.ones(size), params)

        def step(state, key):
            key_ask, key_tell = jax.random.split(key)
            points, state = strategy.ask(key_ask, state, params)
            state, _ = strategy.tell(key_tell, points, jnp.sum(points**2, axis=-1), state, params)
            return state, None

        state, _ = jax.lax.scan(step, state, jax.random.split(key, generations))
        return state.mean

    seconds = []
    for k in range(repeats + 1):
        start = time.perf_counter()
        jax.block_until_ready(run(jax.random.key(k)))
        seconds.append(time.perf_counter() - start)
    median = sorted(seconds[1:])[repeats // 2]
    return {"per_s": generations / median, "version": getattr(evosax, "__version__", "")}


def pycma_rate(size: int, population: int, generations: int) -> dict | None:
    """Generations a second of pycma's ask and tell, or None where it is not installed."""
    try:
        import cma
    except ImportError:
        return None
    options = {"popsize": population, "verbose": -9, "tolfun": 0, "tolx": 0, "tolfunhist": 0, "maxiter": 10**9}
    strategy = cma.CMAEvolutionStrategy([1.0] * size, 0.3, options)
    start = time.perf_counter()
    for _ in range(generations):
        points = strategy.ask()
        strategy.tell(points, [float((p**2).sum()) for p in points])
    return {"per_s": generations / (time.perf_counter() - start), "version": cma.__version__}


if __name__ == "__main__":
    size, population, generations = map(int, sys.argv[1:])
    found = {"evosax": evosax_rate(size, population, generations)}
    other = pycma_rate(size, population, min(generations, 300))
    print(json.dumps({**found, **({"pycma": other} if other else {})}))
