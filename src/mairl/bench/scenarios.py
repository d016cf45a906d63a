"""`mairl bench scenarios`: what importing the Waymo Open Motion Dataset costs, in time and on disk."""

from __future__ import annotations

import itertools
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mairl.bench.womd_records import record
from mairl.core.errors import InvalidData
from mairl.scenarios import store, tfrecord
from mairl.scenarios.generate import KINDS, generate
from mairl.scenarios.importing import import_scenarios
from mairl.scenarios.waymo_wire import MESSAGES

WOMD_SCENES = 487_000
"""Scenes of 9 s in the dataset's training split."""

TARGET = 20.0
"""Scenes a second and core: the whole dataset in less than seven hours of one."""


def bench_scenarios(data: Path | None = None, scenes: int = 64, repeats: int = 3) -> dict[str, Any]:
    """Imports scenes in this process, `repeats` times: read, checked, lane graph and widths, compressed, written.

    Args:
        data: a TFRecord file of the dataset; None: made-up scenes as such records, of all kinds in turn.
        scenes: in each import. Where `data` holds fewer they are repeated under other ids; of more, the first are used.

    Raises:
        InvalidData: `data` is no such file, or holds no scene that can be read.
    """
    distinct = _made(scenes) if data is None else _given(data, scenes)
    records = list(itertools.islice(_repeated(distinct), scenes))
    with tempfile.TemporaryDirectory(prefix="mairl-bench-") as folder:
        source, out = Path(folder) / "scenes.tfrecord", Path(folder) / "store"
        source.write_bytes(b"".join(map(tfrecord.frame, records)))
        wall, cpu = [], []
        for _ in range(repeats):
            started, used = time.perf_counter(), time.process_time()
            facts = import_scenarios([source], "waymo", out, workers=1, overwrite=True)
            wall.append(time.perf_counter() - started)
            cpu.append(time.process_time() - used)
        size = sum(shard["bytes"] for shard in facts["shards"])
        points = store.open(out).metadata["num_map_points"].to_numpy().sum()
        source_bytes = source.stat().st_size / scenes
    per_core = scenes / statistics.median(cpu)
    per_scene = size / scenes
    return {
        "data": "made up, as records of WOMD" if data is None else "records of WOMD",
        "scenes": scenes,
        "distinct_scenes": len(distinct),
        "agents_a_scene": facts["agents"] / scenes,
        "valid_agent_steps_a_scene": facts["valid_agent_steps"] / scenes,
        "map_points_a_scene": float(points) / scenes,
        "source_bytes_a_scene": source_bytes,
        "bytes_a_scene": per_scene,
        "scenes_per_core_s": per_core,
        "scenes_per_core_s_range": [scenes / max(cpu), scenes / min(cpu)],
        "scenes_per_s": scenes / statistics.median(wall),
        "repeats": repeats,
        "target_scenes_per_core_s": TARGET,
        "whole_dataset": {
            "scenes": WOMD_SCENES,
            "gigabytes": WOMD_SCENES * per_scene / 1e9,
            "core_hours": WOMD_SCENES / per_core / 3600,
        },
    }


def _made(count: int) -> list[bytes]:
    return [record(generate(seed, kind)) for seed, kind in zip(range(count), itertools.cycle(KINDS), strict=False)]


def _given(data: Path, most: int) -> list[bytes]:
    found = list(itertools.islice(tfrecord.payloads(data), most))
    for payload in found:
        if isinstance(payload, InvalidData):
            raise payload
    return [payload for payload in found if isinstance(payload, bytes)]


def _repeated(records: Sequence[bytes]) -> Iterator[bytes]:
    """The records, then again and again under other ids, which are unique in a store."""
    yield from records
    for turn in itertools.count(1):
        for payload in records:
            message = MESSAGES["Scenario"].FromString(payload)
            message.scenario_id += f" {turn}".encode()
            yield message.SerializeToString()
