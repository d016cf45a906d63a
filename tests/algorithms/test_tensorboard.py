"""TensorBoard sees a run while it goes on, and the finished run afterwards."""

import struct

import pytest

pytest.importorskip("tensorboardX")
from tensorboardX.proto.event_pb2 import Event

from mairl.algorithms.run_folder import RunFolder, write_tensorboard


def scalars(folder):
    """(seed's folder, name, step) to value, from all event files: records of length, checksum, event, checksum."""
    found = {}
    for path in folder.rglob("events*"):
        raw = path.read_bytes()
        while raw:
            (length,) = struct.unpack("<Q", raw[:8])
            event = Event.FromString(raw[12 : 12 + length])
            raw = raw[16 + length :]
            found |= {(path.parent.name, v.tag, event.step): v.simple_value for v in event.summary.value}
    return found


def rows_at(step):
    return [{"seed": s, "step": step, "updates": 1, "wall_s": 9.0, "return/agent_mean": step + s / 2} for s in (3, 4)]


def test_each_evaluation_is_there_at_once(tmp_path):
    run = RunFolder(tmp_path / "run", {}, resume=False, overwrite=False)
    for chunk, step in enumerate((10, 20)):
        run.write_chunk(chunk, rows_at(step), None)
        live = scalars(run.partial / "tensorboard")
        assert live["seed_4", "return/agent_mean", step] == step + 2
    assert len(live) == 4, "two seeds, two evaluations, and no wall clock"


def test_updates_count_where_there_are_no_steps(tmp_path):
    write_tensorboard([{**row, "step": 0} for row in rows_at(5)], tmp_path)
    assert {step for _, _, step in scalars(tmp_path)} == {1}
