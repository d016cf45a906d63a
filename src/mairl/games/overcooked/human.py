"""Human play in Overcooked: the trials that the package `overcooked-ai` 1.1.0 ships (Carroll et al. 2019).

They are found in the installed package without importing it, and read as data: of the names in them only the few
constructors of an old pandas table are known, and none is run. Their licence is unclear, so they stay where they are.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import importlib.util
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mairl.core.errors import InvalidData
from mairl.data.demonstrations import Demonstrations, Metadata, demonstrations
from mairl.data.restricted_pickle import NUMPY, Inert, loads
from mairl.games.overcooked.game import Overcooked
from mairl.games.overcooked.layout import ALIASES
from mairl.games.overcooked.types import DISH, NOTHING, ONION, SOUP, OvercookedState

FILES = {"train": "clean_train_trials.pickle", "test": "clean_test_trials.pickle"}
INSTALL = "pip install --no-deps overcooked-ai==1.1.0"
OBJECTS = {"onion": ONION, "dish": DISH}
FACING = {(0, -1): 0, (0, 1): 1, (1, 0): 2, (-1, 0): 3}
POINTS_PER_UNIT = 4.0
"""The experiment paid 5 a soup, the game counts 20."""


@dataclasses.dataclass(frozen=True)
class Trial:
    """One pair of people in one kitchen.

    Attributes:
        layout: name of the kitchen.
        trial: the recording's number of it.
        split: "train" or "test".
        states: of every recorded step, leaves `[step, ...]`.
        actions: `[step, 2]`.
        reward: `[step]` points for the pair.
    """

    layout: str
    trial: str
    split: str
    states: OvercookedState
    actions: np.ndarray
    reward: np.ndarray


def find_files(path: str | Path | None = None) -> dict[str, Path]:
    """Where the recordings are: below `path`, or in the installed package.

    Raises:
        InvalidData: they are not there, with how to get them.
    """
    if path is None:
        spec = importlib.util.find_spec("overcooked_ai_py")
        if spec is None or not spec.submodule_search_locations:
            raise InvalidData(f"overcooked-ai is not installed and no path was given: {INSTALL}, or name a folder")
        root = Path(next(iter(spec.submodule_search_locations)))
    else:
        root = Path(path)
        if root.is_file():
            split = next((s for s, n in FILES.items() if n == root.name), "train")
            return {split: root}
    found = {split: hit for split, name in FILES.items() if (hit := next(iter(sorted(root.rglob(name))), None))}
    if not found:
        raise InvalidData(f"no {' or '.join(FILES.values())} below {root}: {INSTALL}, or name the folder that has them")
    return found


_ALLOWED = {
    **NUMPY,
    ("pandas.core.frame", "DataFrame"): Inert,
    ("pandas.core.internals.managers", "BlockManager"): Inert,
    ("pandas.core.internals", "BlockManager"): Inert,
    ("pandas.core.indexes.base", "_new_Index"): Inert,
    ("pandas.core.indexes.base", "Index"): Inert,
    ("pandas.core.indexes.numeric", "Int64Index"): Inert,
    ("pandas.core.indexes.range", "RangeIndex"): Inert,
    ("builtins", "slice"): slice,
}
"""The constructors of an old pandas table, none of which is run."""


def read_table(file: Path) -> dict[str, np.ndarray]:
    """The columns of a pickled table, `[row]` each.

    Raises:
        InvalidData: a cut, damaged or hostile file. Nothing in it is executed.
    """
    try:
        frame = loads(file.read_bytes(), _ALLOWED)
        _, blocks, places = frame.state["_data"].state[:3]
        columns: dict[str, np.ndarray] = {}
        for block, place in zip(blocks, places):
            labels = place.arguments[1]["data"].items
            columns |= {str(label): row for label, row in zip(labels, np.atleast_2d(block.items))}
        missing = {"state", "next_state", "joint_action", "reward", "layout", "layout_name", "workerid_num"} - set(
            columns
        )
    except InvalidData as error:
        raise InvalidData(f"{file}: {error}") from error
    except Exception as error:  # any byte may be wrong, so any exception may come
        raise InvalidData(
            f"{file} is cut or damaged ({type(error).__name__}: {error}): install it again ({INSTALL})"
        ) from error
    if missing:
        raise InvalidData(
            f"{file} lacks the columns {', '.join(sorted(missing))}: it was not made by overcooked-ai 1.1.0"
        )
    return columns


def read_trials(path: str | Path | None = None) -> list[Trial]:
    """All trials, in the order of the files. Where a record's state does not follow from the one before it, a new
    trial begins.

    Raises:
        InvalidData: files that are missing or damaged, or kitchens that are not the classic ones.
    """
    trials = []
    for split, file in find_files(path).items():
        columns = read_table(file)
        try:
            trials += list(_trials(columns, split))
        except (ValueError, SyntaxError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise InvalidData(
                f"{file} holds a record that cannot be read ({type(error).__name__}: {error}): {INSTALL}"
            ) from error
    return trials


def _trials(columns: dict[str, np.ndarray], split: str) -> Iterator[Trial]:
    keys = list(zip(map(str, columns["layout_name"]), map(int, columns["workerid_num"])))
    for key in dict.fromkeys(keys):
        rows = np.array([k for k, other in enumerate(keys) if other == key])
        layout = ALIASES.get(key[0], key[0])
        game = Overcooked(layout=layout)
        _check_kitchen(game, str(columns["layout"][rows[0]]))
        before = [_read_state(game, str(columns["state"][r])) for r in rows]
        after = [_read_state(game, str(columns["next_state"][r])) for r in rows]
        actions = np.array([_read_actions(str(columns["joint_action"][r])) for r in rows], np.int32)
        reward = np.array([columns["reward"][r] for r in rows], np.float32) * POINTS_PER_UNIT
        follows = [_same(a, b) for a, b in zip(after[:-1], before[1:])]
        cuts = [0, *(k + 1 for k, f in enumerate(follows) if not f), len(rows)]
        for part, (start, stop) in enumerate(itertools.pairwise(cuts)):
            chain = [*before[start:stop], after[stop - 1]]
            leaves: list[Any] = [np.stack([s[k] for s in chain]) for k in range(6)]
            leaves.append(np.arange(len(chain), dtype=np.int16))
            states = OvercookedState(*leaves)
            yield Trial(
                layout,
                f"{key[1]}" + (f".{part}" if part else ""),
                split,
                states,
                actions[start:stop],
                reward[start:stop],
            )


def _check_kitchen(game: Overcooked, text: str) -> None:
    """The recorded kitchen must be ours, start digits aside."""
    from mairl.games.overcooked.layout import LAYOUTS

    rows = tuple(ast.literal_eval(text))
    plain = ["".join(" " if c.isdigit() else c for c in row) for row in rows]
    ours = ["".join(" " if c.isdigit() else c for c in row) for row in LAYOUTS[game.layout]]
    if plain != ours:
        raise InvalidData(f"the recorded kitchen {game.layout} is {rows}, not the classic one")


def _same(a, b) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a, b))


@functools.lru_cache(maxsize=200_000)
def _read_state(game: Overcooked, text: str):
    """A recorded state as the leaves of ours, but for the time."""
    record, kitchen = ast.literal_eval(text), game.kitchen
    position = np.array([p["position"] for p in record["players"]], np.int8)
    facing = np.array([FACING[tuple(p["orientation"])] for p in record["players"]], np.int8)
    held = np.array([_read_object(p.get("held_object")) for p in record["players"]], np.int8)
    counters = np.zeros(len(kitchen.counters), np.int8)
    onions = np.zeros(len(kitchen.pots), np.int8)
    cooking = np.full(len(kitchen.pots), -1, np.int8)
    for thing in record["objects"].values():
        x, y = thing["position"]
        cell = y * kitchen.width + x
        if cell in kitchen.pots:
            _, count, cooked = thing["state"]
            pot = kitchen.pots.index(cell)
            onions[pot] = count
            cooking[pot] = min(int(cooked), game.cook_time) if count == 3 else -1
        else:
            counters[kitchen.counters.index(cell)] = _read_object(thing)
    return position, facing, held, counters, onions, cooking


def _read_object(thing) -> int:
    if thing is None:
        return NOTHING
    return SOUP + int(thing["state"][1]) - 1 if thing["name"] == "soup" else OBJECTS[thing["name"]]


@functools.cache
def _read_actions(text: str) -> tuple[int, ...]:
    names: dict[tuple, int] = {(0, -1): 0, (0, 1): 1, (1, 0): 2, (-1, 0): 3, (0, 0): 4}
    actions = ast.literal_eval(text)
    return tuple(5 if isinstance(a, str) and a.lower() == "interact" else names[tuple(a)] for a in actions)


def verify(trials: list[Trial]) -> dict[str, Any]:
    """Plays every recorded joint action from its recorded state with the old dynamics.

    Returns:
        "transitions"; "exact": those whose next state (time aside) and reward are the recorded ones; "trials"; and
        the same counts by kitchen.
    """
    kitchens: dict[str, dict[str, int]] = {}
    for layout in dict.fromkeys(trial.layout for trial in trials):
        here = [trial for trial in trials if trial.layout == layout]
        # All trials of a kitchen at once: one program for all their lengths.
        before, theirs = (
            jax.tree.map(lambda *x, s=steps: np.concatenate([each[s] for each in x]), *[t.states for t in here])
            for steps in (slice(None, -1), slice(1, None))
        )
        after, reward = _stepper(Overcooked(layout=layout))(before, np.concatenate([t.actions for t in here]))
        right = np.asarray(reward).sum(-1) == np.concatenate([t.reward for t in here])
        for name in ("position", "facing", "held", "counters", "onions", "cooking"):
            same = np.asarray(getattr(after, name)) == getattr(theirs, name)
            right &= same.reshape(len(right), -1).all(-1)
        kitchens[layout] = {"transitions": len(right), "exact": int(right.sum()), "trials": len(here)}
    total = {k: sum(c[k] for c in kitchens.values()) for k in ("transitions", "exact", "trials")}
    return {**total, "layouts": kitchens}


@functools.cache
def _stepper(game: Overcooked):
    def one(state, actions):
        after, step = game.step(jax.random.key(0), state, actions)
        return after, step.reward

    return jax.jit(jax.vmap(one))


def human_demonstrations(trials: list[Trial], layout: str, split: str) -> Demonstrations:
    """The trials of one kitchen and split as a recording: one episode a trial.

    Every episode ends as cut by time. The game's id asks for a long horizon and no clock: people saw none.

    Raises:
        InvalidData: there are none.
    """
    chosen = [t for t in trials if t.layout == layout and t.split == split]
    if not chosen:
        have = sorted({(t.layout, t.split) for t in trials})
        raise InvalidData(f"there are no {split} trials of {layout!r}; there are {have}")
    time = max(len(t.actions) for t in chosen)

    def padded(parts, extra):
        return np.stack([np.concatenate([p, np.repeat(p[-1:], time + extra - len(p), 0)]) for p in parts])

    lengths = np.array([len(t.actions) for t in chosen])
    truncated = np.arange(time)[None] == lengths[:, None] - 1
    reward = padded([t.reward for t in chosen], 0)[..., None] / 2
    return demonstrations(
        actions=padded([t.actions for t in chosen], 0),
        lengths=lengths,
        terminated=np.zeros((len(chosen), time, 2), bool),
        truncated=truncated,
        state=jax.tree.map(lambda *x: padded(x, 1), *[t.states for t in chosen]),
        true_reward=np.repeat(reward, 2, -1) * (np.arange(time)[None] < lengths[:, None])[..., None],
        metadata=Metadata.of(
            f"overcooked:layout={layout},horizon=1200,observe_time=False",
            "people",
            "as the package overcooked-ai 1.1.0, from which it was read",
            layout=layout,
            split=split,
            trials=[t.trial for t in chosen],
        ),
        action_space=Overcooked(layout=layout).action_space,
    )
