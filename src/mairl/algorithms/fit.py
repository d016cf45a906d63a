"""The only training loop: collect, update, evaluate, checkpoint — on the device, for all seeds at once.

    carry = init(key[seed])                                   vmap over seeds
    for chunk in chunks:                                      host: log, evaluate, select, checkpoint
        for iteration in chunk:                               device: scan, for all seeds (on CPUs one after the other)
            rollout = play(game, behaviour(state))
            state, metrics = update(key, state, game, data, rollout)

Every key is derived from (seed, iteration), so that a run resumed from a checkpoint repeats the uninterrupted one bit
for bit on the same machine, device count and versions.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from mairl.algorithms.base import Algorithm
from mairl.algorithms.checkpoint import arrays_of, with_arrays
from mairl.algorithms.device_loop import initial, metric_names, one_by_one, results, run_chunk, update_one
from mairl.algorithms.host_loop import HostLoop, with_masks
from mairl.algorithms.progress import Progress
from mairl.algorithms.recorder import Recorder
from mairl.algorithms.run_folder import RunFolder
from mairl.algorithms.scores import evaluate_all, measure
from mairl.algorithms.select import Best
from mairl.algorithms.settings import check_ranges, digest, settings
from mairl.algorithms.spread import gather, seed_mesh, spread
from mairl.algorithms.together import Together
from mairl.core.errors import Unsupported
from mairl.core.game import MarkovGame
from mairl.core.host import HostGame
from mairl.core.learned import Learned
from mairl.core.programs import drop_if_many
from mairl.core.stacked import one_of
from mairl.data.demonstrations import Demonstrations

Row = dict[str, float | int | None]


@dataclasses.dataclass(frozen=True)
class Failure:
    """A seed that was frozen because a number was no longer finite.

    Attributes:
        seed: which.
        step: environment steps (offline: updates) done before the failing iteration.
        quantity: the first metric that was not finite, or "state" for a parameter.
    """

    seed: int
    step: int
    quantity: str


@dataclasses.dataclass(frozen=True)
class Fit:
    """What `fit` returns.

    Attributes:
        learned: all seeds stacked on a first axis; selected as asked.
        rows: one per seed and evaluation: step, updates, episodes, wall_s, metrics, returns, held-out likelihood.
        failures: seeds that were frozen.
        seeds: in the order of the seed axis.
        compile_s: seconds until the first chunk had been compiled.
        state: the learner's last states, stacked; see `start` of `fit`.
    """

    learned: Learned
    rows: list[Row]
    failures: list[Failure]
    seeds: tuple[int, ...]
    compile_s: float
    state: Any = None

    def one(self, index: int = 0) -> Learned:
        """One seed's result.

        Raises:
            Unsupported: that seed was frozen; the message says when and over what.
        """
        for failure in self.failures:
            if failure.seed == self.seeds[index]:
                raise Unsupported(
                    f"training stopped at step {failure.step:,}, as {failure.quantity} was no longer finite (seed "
                    f"{failure.seed}): lower the learning rate, or choose another seed"
                )
        return one_of(self.learned, index)


def fit(
    algorithm: Algorithm,
    game: MarkovGame,
    data: Demonstrations | None = None,
    *,
    budget: int,
    seeds: int | Sequence[int] = 1,
    evaluations: int = 20,
    episodes: int = 64,
    held_out: float | Demonstrations | None = 0.1,
    select: Literal["heldout", "last"] = "heldout",
    patience: int | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    checkpoint_seconds: float = 30.0,
    measures: Mapping[str, Callable[[Learned], Array]] | None = None,
    start: Any = None,
    workers: int | None = None,
    recorder: Recorder | None = None,
    apart: Literal["seeds", "games"] = "seeds",
    describe: dict[str, Any] | None = None,
    progress: bool = False,
) -> Fit:
    """Trains `algorithm` on `game` (and `data`) for several seeds at once.

    Args:
        budget: environment steps per seed; for offline learners, calls of `update` (each of the learner's `updates`
            gradient steps).
        seeds: how many (0 … n-1), or which. They are spread over this host's devices where their number allows. One
            seed's result does not depend on the others on CPUs; elsewhere, and between devices, rounding differs (last
            bits at first, which long training amplifies), so that the same bits need the same seeds and devices.
        evaluations: how often to evaluate, evenly spread; also how often metrics are written.
        episodes: played for each evaluation and seed with sampled actions (0: none, as when the game cannot be played).
        held_out: share of the episodes kept from learning to measure likelihood, or a recording to measure it on.
        select: "heldout" keeps each seed's result with the highest held-out likelihood, "last" the last one. The true
            reward is never used to select.
        patience: stop early once no seed's held-out likelihood has improved for this many evaluations.
        out: run folder; appears when complete, progress lives in `{out}.partial`.
        resume: go on from `{out}.partial` if it exists; refused if it was begun with other settings.
        overwrite: replace an existing `out`.
        checkpoint_seconds: least time between two checkpoints.
        measures: further columns, by name: functions of one seed's result to a scalar, compiled and computed at every
            evaluation. They may use the truth; nothing is selected by them.
        start: states to begin with instead of fresh ones: another result's `state`, of the same learner and seeds, as
            when training goes on in a game with other options.
        workers: processes that step a host game; default: one per core. 0: this one. The result is the same.
        recorder: keeps how the policies change; see `mairl.algorithms.recorder`.
        apart: what several devices share out. "seeds": each device trains its own. "games": all devices, of
            all processes of `jax.distributed`, train every seed together, each in its share of the games; the
            processes make the same call, and `out` is on a file system that they share.
        describe: facts to record in `run.json` (command, game id, …).
        progress: show a progress line.

    Raises:
        InvalidGame, InvalidData, Unsupported: what cannot work, before anything is compiled.
    """
    drop_if_many()
    seeds = tuple(range(seeds)) if isinstance(seeds, int) else tuple(int(s) for s in seeds)
    if not seeds or len(set(seeds)) != len(seeds) or not all(0 <= s < 2**32 for s in seeds):
        raise Unsupported(f"seeds must be distinct, at least one, and from 0 to 2^32 - 1, got {seeds}")
    if budget < 1 or evaluations < 1:
        raise Unsupported(f"budget and evaluations must be at least 1, got {budget} and {evaluations}")
    if isinstance(held_out, float | int) and not 0 <= held_out < 1:
        raise Unsupported(f"held_out is the share of episodes kept to measure likelihood, below 1, got {held_out}")
    if episodes < 0 or (patience is not None and patience < 1):
        raise Unsupported(f"episodes must be at least 0 and patience at least 1, got {episodes} and {patience}")
    check_ranges(algorithm)
    if data is not None:
        data.check_fits(game)
    algorithm.check(game, data)
    if recorder is not None:
        recorder.check(algorithm, game, apart)
    asked: dict[str, Any] = {}
    if out is not None:  # Digests read every number of the game and the recording.
        asked = settings(
            algorithm,
            game,
            data,
            **{"seeds": list(seeds), "budget": budget, "evaluations": evaluations, "episodes": episodes},
            **{"select": select, "patience": patience},
            held_out=digest(held_out) if isinstance(held_out, Demonstrations) else held_out,
        )
    data, held = _split(data, held_out)
    if data is not None:
        data = data.observed(game)
    if held is not None:
        held = held.observed(game)
    collection = algorithm.collection(game)
    host = HostLoop(game, len(seeds), workers) if isinstance(game, HostGame) else None
    if isinstance(game, HostGame):
        data, held = (None if d is None else with_masks(game, d) for d in (data, held))
    elif not game.pure:
        if collection is not None:
            raise Unsupported(
                f"{type(algorithm).__name__} plays while it learns, and {type(game).__name__} cannot be played on the "
                "device: learn offline (offline=True, or bc)"
            )
        episodes = 0
    if apart == "games" and host is not None:
        raise Unsupported('apart="games" deals out games on devices; host games are dealt out to processes (workers)')
    if apart == "seeds" and jax.process_count() > 1:
        raise Unsupported(
            f'{jax.process_count()} processes of jax.distributed would train the same seeds: choose apart="games", or '
            "start them on their own, each with other seeds"
        )
    together = Together.of(collection) if apart == "games" else Together()
    in_turn = apart == "seeds" and one_by_one()
    per_iteration = collection.size if collection is not None else 1
    iterations = max(1, math.ceil(budget / per_iteration))
    evaluations = min(evaluations, iterations)
    edges = np.linspace(0, iterations, evaluations + 1).round().astype(int)

    device_keys = jax.vmap(lambda s: jax.random.split(jax.random.key(s), 3))(jnp.asarray(seeds, jnp.uint32))
    key_init, key_loop, key_eval = device_keys[:, 0], device_keys[:, 1], device_keys[:, 2]
    names = metric_names(algorithm, game, data, collection)
    carry = initial(algorithm, game, data, collection, key_init)
    if start is not None:
        # A copy: the loop reuses the memory of what it starts from.
        carry = eqx.tree_at(
            lambda c: c.state, carry, jax.tree.map(lambda x: jnp.copy(x) if eqx.is_array(x) else x, start)
        )
    if host is not None and collection is not None:
        carry = dataclasses.replace(carry, env=host.nothing_played(collection))
    best = Best(select, held is not None)

    folder = RunFolder(Path(out), asked, resume=resume, overwrite=overwrite) if out is not None else None
    rows: list[Row] = []
    done = 0
    spent = 0.0
    if folder is not None:
        saved = folder.restore(arrays_of(carry))
        if saved is not None:
            done, rows, arrays, extra = saved
            carry = with_arrays(carry, arrays)
            best.restore(extra, lambda: results(algorithm, carry))
            spent = rows[-1]["wall_s"] if rows else 0.0
    mesh = seed_mesh(len(seeds)) if host is None and together.mesh is None else None
    carry, key_loop, key_eval = spread((carry, key_loop, key_eval), mesh)
    carry, key_loop, common = together.place(carry), together.copied(key_loop), together.copied((game, data))
    bar = Progress(progress, iterations * per_iteration, "updates" if collection is None else "steps")
    start, last_saved, compile_s = time.perf_counter() - float(spent or 0.0), time.perf_counter(), 0.0
    patience = patience if held is not None else None
    try:
        if host is not None and collection is not None and done < evaluations:
            carry = dataclasses.replace(carry, env=host.begin(carry.env, key_loop))
        for chunk in range(done, evaluations):
            if _ended(patience, best, carry):
                break
            before = time.perf_counter()
            first, last = int(edges[chunk]), int(edges[chunk + 1])
            if host is not None and collection is not None:
                carry, metrics = host.run_chunk(
                    algorithm, data, key_loop, carry, first, last - first, names, update_one, recorder
                )
            elif recorder is not None:
                carry, metrics = recorder.run_chunk(
                    algorithm, game, data, key_loop, carry, first, last - first, names, update_one
                )
            else:
                shared = (algorithm, *common, key_loop, together.copied(jnp.asarray([first, last])))
                with together.context():
                    carry, metrics = run_chunk(shared, carry, names, mesh, in_turn=in_turn)
            metrics = {k: np.asarray(v) for k, v in metrics.items()}
            if chunk == done:
                compile_s = time.perf_counter() - before
            learned = together.whole(results(algorithm, carry))
            measured = evaluate_all(learned, game, held, key_eval, chunk, episodes, mesh, host)
            learned = gather(learned, mesh)
            measured |= {name: np.asarray(measure(f, learned)) for name, f in (measures or {}).items()}
            best.offer(learned, measured.get("heldout_log_likelihood"), np.asarray(carry.alive))
            part = _rows(
                seeds, chunk, last, per_iteration, collection, carry, metrics, measured, time.perf_counter() - start
            )
            rows += part
            bar.show(last * per_iteration, part)
            final = chunk == evaluations - 1 or _ended(patience, best, carry)
            if folder is not None:
                due = together.agree(final or time.perf_counter() - last_saved >= checkpoint_seconds)
                folder.write_chunk(chunk, part, (arrays_of(together.whole(carry)), best.extra()) if due else None)
                last_saved = time.perf_counter() if due else last_saved
    finally:
        bar.close()
        if host is not None:
            host.close()
    failures = _failures(seeds, carry, names, per_iteration)
    carry = together.whole(gather(carry, mesh))
    result = Fit(best.result(results(algorithm, carry)), rows, failures, seeds, compile_s, carry.state)
    if folder is not None:
        facts = {
            **asked,
            "game": data.metadata.game if data is not None else "",
            "env_steps": 0 if collection is None else int(rows[-1]["step"] or 0),
            "failures": [dataclasses.asdict(f) for f in failures],
            "select": best.rule,
            "held_out": held_out if isinstance(held_out, float) else None,
            **(describe or {}),
        }
        folder.finish(result.learned, rows, facts)
    return result


def _ended(patience: int | None, best: Best, carry) -> bool:
    """Nothing is to come: no seed improves any more, or all are frozen."""
    return (patience is not None and best.stale >= patience) or not np.asarray(carry.alive).any()


def _split(data, held_out):
    if data is None:
        return None, None
    if isinstance(held_out, Demonstrations):
        return data, held_out
    if not held_out or data.num_episodes < 2:
        return data, None
    return data.split(held_out)


def _rows(seeds, chunk, last, per_iteration, collection, carry, metrics, measured, wall) -> list[Row]:
    step = last * per_iteration
    rows: list[Row] = []
    for i, seed in enumerate(seeds):
        row: Row = {
            "seed": seed,
            "evaluation": chunk,
            "step": step if collection is not None else 0,
            "updates": last,
            "episodes": int(np.asarray(carry.episodes)[i]),
            "wall_s": wall,
        }
        for name, values in {**metrics, **measured}.items():
            row[name] = float(values[i]) if np.isfinite(values[i]) else None
        rows.append(row)
    return rows


def _failures(seeds, carry, names, per_iteration) -> list[Failure]:
    at, what = np.asarray(carry.failed_at), np.asarray(carry.failed_quantity)
    quantities = (*names, "state")
    return [
        Failure(seed, int(at[i]) * per_iteration, quantities[int(what[i])])
        for i, seed in enumerate(seeds)
        if at[i] >= 0
    ]
