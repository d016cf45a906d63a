"""One function over many items: every result once, in one process or several, until it is stopped."""

import os

import pytest

from mairl.core.errors import MairlError
from mairl.core.processes import cores, spread


def square(x):
    return x * x


def die_at_three(x):
    if x == 3:
        os._exit(1)
    return x


@pytest.mark.parametrize("workers", [1, 2])
def test_every_result_once(workers):
    assert sorted(spread(square, list(range(7)), workers=workers)) == [(k, k * k) for k in range(7)]


def test_no_items():
    assert list(spread(square, [])) == []


def test_stopped_in_this_process():
    done = []
    for k, _ in spread(square, list(range(9)), workers=1, stopped=lambda: len(done) > 2):
        done.append(k)
    assert done == [0, 1, 2]


def test_what_comes_before_the_last_result_is_still_done():
    done = []
    for k, _ in spread(square, list(range(40)), workers=2, stopped=lambda: len(done) > 4):
        done.append(k)
    assert sorted(done) == list(range(len(done)))
    assert 5 <= len(done) < 40


def test_a_worker_that_dies_is_said():
    with pytest.raises(MairlError, match="a worker process died"):
        list(spread(die_at_three, list(range(6)), workers=2))


def test_there_is_a_core():
    assert 1 <= cores() <= (os.cpu_count() or 1)


@pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")
def test_over_ray():
    ray = pytest.importorskip("ray")
    try:
        paths = [f"folder/{k}" for k in range(6)]
        assert sorted(spread(os.path.basename, paths, ray=True)) == [(k, str(k)) for k in range(6)]
        # A cluster that is there is used again.
        assert list(spread(os.path.basename, ["a/b"], ray=True)) == [(0, "b")]
    finally:
        ray.shutdown()
