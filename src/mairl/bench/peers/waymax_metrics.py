"""Random driving in Waymax with its overlap and off-road metrics: agent-steps a second on all cores.

    python waymax_metrics.py [--worlds 4] [--repeats 3] [ROAD_POINTS ...]

Needs waymo-research/waymax from its repository (PyPI's `waymax` is empty) with JAX, chex, dm_env, flax, dm-tree,
immutabledict, Pillow, matplotlib, mediapy, tqdm and absl-py. TensorFlow reads Waymax's records and is not needed:
worlds are made from arrays here. Both metrics compare all pairs (vehicles; corners and road points), so that their cost
depends on counts only, not on the scene.
"""

import argparse
import importlib.util
import json
import sys
import time
from importlib.metadata import version
from unittest.mock import MagicMock

import jax
import jax.numpy as jnp
import numpy as np

if importlib.util.find_spec("tensorflow") is None:
    sys.modules["tensorflow"] = MagicMock()  # imported by all of Waymax, used by its reader only

from waymax import config, datatypes, dynamics
from waymax.env import MultiAgentEnvironment

OBJECTS, TIMES, WARM_UP, LIGHTS = 32, 91, 11, 16
LANES, LANE_WIDTH, LENGTH = 4, 3.5, 300.0


def world(road_points: int, seed: int):
    """A `SimulatorState`: vehicles of 4.8 m by 1.9 m at constant speeds, in rows on a straight road of four lanes."""
    rng = np.random.default_rng(seed)
    lane, row = np.arange(OBJECTS) % LANES, np.arange(OBJECTS) // LANES
    speed = rng.uniform(5, 15, OBJECTS)
    start = row * LENGTH * LANES / OBJECTS + rng.uniform(0, 10, OBJECTS)
    full = np.ones((OBJECTS, TIMES))
    log = datatypes.Trajectory(
        x=_f32(start[:, None] + speed[:, None] * 0.1 * np.arange(TIMES)),
        y=_f32(full * lane[:, None] * LANE_WIDTH),
        z=_f32(0 * full),
        vel_x=_f32(full * speed[:, None]),
        vel_y=_f32(0 * full),
        yaw=_f32(0 * full),
        valid=jnp.asarray(full, bool),
        timestamp_micros=jnp.asarray(full * np.arange(TIMES) * 100_000, jnp.int32),
        length=_f32(4.8 * full),
        width=_f32(1.9 * full),
        height=_f32(1.6 * full),
    )
    everybody, nobody = jnp.ones(OBJECTS, bool), jnp.zeros(OBJECTS, bool)
    metadata = datatypes.ObjectMetadata(
        ids=jnp.arange(OBJECTS, dtype=jnp.int32),
        object_types=jnp.ones(OBJECTS, jnp.int32),
        is_sdc=jnp.arange(OBJECTS) == 0,
        is_modeled=nobody,
        is_valid=everybody,
        objects_of_interest=nobody,
        is_controlled=everybody,
    )
    place, none = jnp.zeros((LIGHTS, TIMES)), jnp.zeros((LIGHTS, TIMES), jnp.int32)
    lights = datatypes.TrafficLights(x=place, y=place, z=place, state=none, lane_ids=none, valid=none.astype(bool))
    return datatypes.SimulatorState(
        sim_trajectory=log,
        log_trajectory=log,
        log_traffic_light=lights,
        object_metadata=metadata,
        timestep=jnp.asarray(0, jnp.int32),
        roadgraph_points=road(road_points),
    )


def road(count: int):
    """`count` points, half of them on the two edges, half on the lanes' centres. Left of an edge is the road."""
    half_lane = LANE_WIDTH / 2
    edges = [(-half_lane, 1.0), (LANES * LANE_WIDTH - half_lane, -1.0)]
    lines = edges + [(k * LANE_WIDTH, 1.0) for k in range(LANES)]
    counts = [len(part) for part in np.array_split(np.arange(count // 2), 2)]
    counts += [len(part) for part in np.array_split(np.arange(count - count // 2), LANES)]
    ids = np.repeat(np.arange(len(lines)), counts)
    y, direction = np.array(lines)[ids].T
    x = direction * np.concatenate([np.linspace(-2 * LENGTH, 2 * LENGTH, n) for n in counts])
    kinds = datatypes.MapElementIds
    return datatypes.RoadgraphPoints(
        x=_f32(x),
        y=_f32(y),
        z=_f32(0 * x),
        dir_x=_f32(direction),
        dir_y=_f32(0 * x),
        dir_z=_f32(0 * x),
        types=jnp.asarray(np.where(ids < 2, kinds.ROAD_EDGE_BOUNDARY, kinds.LANE_FREEWAY), jnp.int32),
        ids=jnp.asarray(ids, jnp.int32),
        valid=jnp.ones(count, bool),
    )


def _f32(values) -> jax.Array:
    return jnp.asarray(values, jnp.float32)


def rate(road_points: int, worlds: int, steps: int, repeats: int) -> dict:
    """Agent-steps a second of random bicycle actions after the warm-up: the median of `repeats` runs after one that
    compiles."""
    env = MultiAgentEnvironment(
        dynamics.InvertibleBicycleModel(normalize_actions=True),
        config.EnvironmentConfig(
            max_num_objects=OBJECTS,
            init_steps=WARM_UP,
            controlled_object=config.ObjectType.VALID,
            metrics=config.MetricsConfig(metrics_to_run=("overlap", "offroad")),
        ),
    )

    def one(state, key):
        data = jax.random.uniform(key, (OBJECTS, 2), minval=-1.0, maxval=1.0)
        state = env.step(state, datatypes.Action(data=data, valid=jnp.ones((OBJECTS, 1), bool)))
        return state, {name: result.value.mean() for name, result in env.metrics(state).items()}

    @jax.jit
    def play(state, key):
        def tick(state, key):
            return jax.vmap(one)(state, jax.random.split(key, worlds))

        return jax.tree.map(jnp.mean, jax.lax.scan(tick, state, jax.random.split(key, steps))[1])

    state = jax.tree.map(lambda *leaves: jnp.stack(leaves), *[world(road_points, seed) for seed in range(worlds)])
    state = jax.vmap(env.reset)(state)
    seconds, busy = [], []
    for _ in range(repeats + 1):
        start, worked = time.perf_counter(), time.process_time()
        shares = jax.block_until_ready(play(state, jax.random.key(1)))
        seconds.append(time.perf_counter() - start)
        busy.append(time.process_time() - worked)
    ordered, amount = sorted(seconds[1:]), worlds * steps * OBJECTS
    return {
        "road_points": road_points,
        "agent_steps_per_s": amount / ordered[repeats // 2],
        "range": [amount / ordered[-1], amount / ordered[0]],
        "worlds": worlds,
        "objects": OBJECTS,
        "steps": steps,
        "cores_used": sum(busy[1:]) / sum(seconds[1:]),
        "compile_s": seconds[0] - ordered[repeats // 2],
        **{name: float(share) for name, share in shares.items()},
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("road_points", type=int, nargs="*", default=[2_000, 20_000])
    parser.add_argument("--worlds", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    # Episodes have 80 steps after the warm-up; fewer where a step takes long.
    rates = [
        rate(count, given.worlds, max(10, min(80, 160_000 // count)), given.repeats) for count in given.road_points
    ]
    print(json.dumps({"waymax": version("waymo-waymax"), "jax": jax.__version__, "rates": rates}))
