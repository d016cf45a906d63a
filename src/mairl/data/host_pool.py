"""Many host environments stepped at once, in this process or in worker processes.

Which process steps an environment changes nothing: everything is decided by the seeds and actions handed over.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from mairl.core.errors import InvalidGame, MairlError
from mairl.core.host import HostStep

_FIELDS = len(HostStep._fields)
_UNGUARDED = 97


class HostPool:
    """`size` environments built by `make`, spread over `workers` processes (0: all in this one).

    Use it as a context manager, or call `close`.

    Args:
        make: builds one `HostEnv`; picklable if there are workers.

    Raises:
        InvalidGame: `make` cannot be sent to workers; later, an environment failed or its process died. One line.
    """

    def __init__(self, make: Callable[[], Any], size: int, workers: int = 0, title: str = "the game"):
        self.size, self.title = size, title
        self._workers: list[_Worker] = []
        self._envs: list[Any] = []
        if workers < 1:
            try:
                self._envs = [make() for _ in range(size)]
            except MairlError:
                raise
            except Exception as error:
                raise self._failed(_line(error)) from error
            return
        try:
            recipe = pickle.dumps(make)
        except Exception as error:
            raise InvalidGame(
                f"{title} cannot be built in worker processes ({_line(error)}): make it with a function of an "
                "importable module, or use workers=0"
            ) from error
        shares = np.array_split(np.arange(size), min(workers, size))
        try:
            self._workers = [_Worker(share) for share in shares]
            for worker in self._workers:
                self._send(worker, ("make", recipe, len(worker.share)))
            for worker in self._workers:
                self._receive(worker)
        except BaseException:
            self.close()
            raise

    def reset(self, which: Sequence[int] | np.ndarray, seeds: Sequence[int]) -> list[np.ndarray | None]:
        """Starts new episodes in some environments.

        Returns:
            The fields of `HostStep`, stacked over `which` in the given order.
        """
        return self._run("reset", which, [int(s) for s in seeds])

    def step(self, which: Sequence[int] | np.ndarray, actions: np.ndarray) -> list[np.ndarray | None]:
        """Plays `actions[k]` in environment `which[k]`; returns as `reset` does."""
        return self._run("step", which, np.asarray(actions))

    def replay(
        self, which: Sequence[int] | np.ndarray, episodes: Sequence[tuple[int, np.ndarray]]
    ) -> list[np.ndarray | None]:
        """Plays (seed, actions `[time, ...]`) from the start, as far as it goes; returns the last as `reset` does."""
        return self._run("replay", which, list(episodes))

    def local(self, which: int) -> Any:
        """An environment itself, where there are no workers."""
        return self._envs[which]

    def close(self) -> None:
        """Closes environments and ends workers."""
        for env in self._envs:
            with contextlib.suppress(Exception):
                env.close()
        for worker in self._workers:
            worker.close()
        self._envs, self._workers = [], []

    def __enter__(self) -> HostPool:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def _run(self, what: str, which: Sequence[int] | np.ndarray, inputs: list | np.ndarray) -> list[np.ndarray | None]:
        which = [int(i) for i in which]
        if self._envs:
            try:
                return _stack([_one(self._envs[i], what, x) for i, x in zip(which, inputs)])
            except MairlError:
                raise
            except Exception as error:
                raise self._failed(_line(error)) from error
        parts: list[Any] = []
        for worker in self._workers:
            mine = [k for k, i in enumerate(which) if worker.first <= i < worker.first + len(worker.share)]
            if mine:
                given = inputs[mine] if isinstance(inputs, np.ndarray) else [inputs[k] for k in mine]
                self._send(worker, (what, [which[k] - worker.first for k in mine], given))
                parts.append((worker, mine))
        out: list[Any] = [None] * _FIELDS
        for worker, mine in parts:
            for f, field in enumerate(self._receive(worker)):
                if field is not None:
                    if out[f] is None:
                        out[f] = np.zeros((len(which), *field.shape[1:]), field.dtype)
                    out[f][mine] = field
        return out

    def _send(self, worker: _Worker, message: tuple) -> None:
        try:
            worker.pipe.send(message)
        except (BrokenPipeError, ConnectionError) as error:
            raise self._died(worker) from error

    def _receive(self, worker: _Worker) -> Any:
        try:
            kind, content = worker.pipe.recv()
        except (EOFError, ConnectionError) as error:
            raise self._died(worker) from error
        if kind == "refused":
            raise InvalidGame(content)
        if kind == "failed":
            raise self._failed(content)
        return content

    @contextlib.contextmanager
    def guarded(self) -> Iterator[None]:
        """What an environment of this process raises becomes an `InvalidGame` of one line."""
        try:
            yield
        except MairlError:
            raise
        except Exception as error:
            raise self._failed(_line(error)) from error

    def _failed(self, why: str) -> InvalidGame:
        return InvalidGame(f"{self.title} failed while it was played: {why}")

    def _died(self, worker: _Worker) -> InvalidGame:
        worker.process.join(1.0)
        code = worker.process.exitcode
        if code == _UNGUARDED:
            return InvalidGame(
                "worker processes run your script again: put what it does under `if __name__ == '__main__':`, or use "
                "workers=0"
            )
        how = f"was killed by signal {-code}" if code is not None and code < 0 else f"ended with code {code}"
        return InvalidGame(f"{self.title} failed while it was played: its worker process {how}")


class _Worker:
    """A process that steps its share of the environments, `[first, first + len(share))`."""

    def __init__(self, share: np.ndarray):
        context = multiprocessing.get_context("spawn")
        self.share, self.first = share, int(share[0])
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs,), daemon=True)
        try:
            self.process.start()
        except RuntimeError:
            # A worker that runs its parent's script again, up to here: the script has no guard (see `_died`).
            raise SystemExit(_UNGUARDED) from None
        theirs.close()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.pipe.send(None)
        self.process.join(5.0)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.pipe.close()


def _work(pipe) -> None:
    """A worker's life: builds its environments, then answers until told to stop. It never touches an accelerator."""
    os.environ["JAX_PLATFORMS"] = "cpu"
    envs: list[Any] = []
    try:
        while (message := pipe.recv()) is not None:
            what, which, inputs = message
            try:
                if what == "make":
                    try:
                        make = pickle.loads(which)
                    except (AttributeError, ImportError) as error:
                        raise InvalidGame(
                            f"a worker process cannot import the game ({error}): define it in a module or script "
                            "file, or use workers=0"
                        ) from error
                    envs = [make() for _ in range(inputs)]
                    pipe.send(("done", None))
                else:
                    pipe.send(("done", _stack([_one(envs[i], what, x) for i, x in zip(which, inputs)])))
            except MairlError as error:
                pipe.send(("refused", str(error)))
            except Exception as error:
                pipe.send(("failed", _line(error)))
    except (EOFError, KeyboardInterrupt, ConnectionError):
        pass
    for env in envs:
        with contextlib.suppress(Exception):
            env.close()


def _one(env: Any, what: str, given: Any) -> Any:
    if what == "reset":
        return env.reset(given)
    if what == "step":
        return env.step(given)
    seed, actions = given
    seen = env.reset(seed)
    for joint in actions:
        if seen.over:
            break  # Another episode than the one recorded: the caller compares what was seen.
        seen = env.step(joint)
    return seen


def _stack(steps: list) -> list[np.ndarray | None]:
    return [None if steps[0][f] is None else np.stack([s[f] for s in steps]) for f in range(_FIELDS)]


def _line(error: BaseException) -> str:
    """What went wrong and where, in one line."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({os.path.basename(frames[-1].filename)}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {' '.join(str(error).split())}{where}"
