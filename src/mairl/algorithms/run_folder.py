"""A run on disk: it appears when complete; until then its progress lives in a `.partial` sibling.

    RUN.partial/settings.json                    what was asked for
    RUN.partial/chunks/00003/metrics.parquet     one part per evaluation
    RUN.partial/chunks/00003/state/              newest checkpoint (Orbax); older ones are deleted
    RUN.partial/tensorboard/                     as far as it got, if a writer is installed
    RUN.partial/result/                          being written, once all chunks are there
    RUN/run.json  metrics.parquet  learned/      once complete

A chunk is written under a temporary name and renamed, so its metrics and its checkpoint appear together or not at all.
Where several processes train together, the first one writes; all of them call, and see the same file system.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import shutil
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mairl.algorithms.settings import check_same
from mairl.algorithms.together import wait_for_all
from mairl.core.errors import InvalidData
from mairl.core.learned import Learned


class RunFolder:
    """Writes one run; see the module's docstring for the layout.

    Args:
        settings: what is asked for; see `mairl.algorithms.settings`.

    Raises:
        InvalidData: `out` exists and may not be overwritten, or unfinished work exists and neither `resume` nor
            `overwrite` was asked for, or it was begun with other settings.
    """

    def __init__(self, out: Path, settings: dict[str, Any], *, resume: bool, overwrite: bool):
        out = out.absolute()  # Orbax takes no other.
        self.out = out
        self.partial = out.with_name(out.name + ".partial")
        self.chunks = self.partial / "chunks"
        self.overwrite = overwrite
        self.first = jax.process_index() == 0
        if out.exists() and not overwrite:
            raise InvalidData(f"{out} exists: choose another folder, or overwrite it on purpose (--overwrite)")
        if self.partial.exists() and not resume:
            if not overwrite:
                raise InvalidData(
                    f"{self.partial} holds an unfinished run: go on with --resume, or start anew with --overwrite"
                )
            if self.first:
                shutil.rmtree(self.partial)
        wait_for_all("run folder looked at")
        asked = self.partial / "settings.json"
        if asked.exists():
            check_same(
                asked,
                settings,
                f"the unfinished run in {self.partial}",
                "start anew with --overwrite, without --resume",
            )
        wait_for_all("settings compared")
        if self.first:
            self.chunks.mkdir(parents=True, exist_ok=True)
            temporary = asked.with_suffix(".partial")
            temporary.write_text(json.dumps(settings, indent=1))
            temporary.replace(asked)
        wait_for_all("run folder ready")

    def restore(self, like: dict[str, Any]):
        """The newest checkpoint: (chunks done, their rows, arrays, extra arrays), or None. Later parts are dropped."""
        if self.first:
            self._drop_unfinished()
        wait_for_all("unfinished chunks dropped")
        parts = sorted(p for p in self.chunks.iterdir() if p.is_dir())
        if not parts:
            return None
        newest = parts[-1]
        import orbax.checkpoint as ocp

        with ocp.PyTreeCheckpointer() as checkpointer:
            saved = checkpointer.restore(newest / "state")
        arrays = saved["arrays"]
        have = {k: (tuple(np.shape(v)), str(v.dtype)) for k, v in arrays.items()}
        want = {k: (tuple(v.shape), str(v.dtype)) for k, v in like.items()}
        if have != want:
            raise InvalidData(
                f"{newest} was written with another configuration, game or number of seeds: resume with the same "
                "command, or start anew with --overwrite"
            )
        rows = [row for p in parts for row in pq.read_table(p / "metrics.parquet").to_pylist()]
        return int(newest.name) + 1, rows, arrays, saved.get("extra") or {}

    def _drop_unfinished(self) -> None:
        """Whatever is younger than the newest checkpoint."""
        for unfinished in self.chunks.glob("*.partial"):
            shutil.rmtree(unfinished)
        parts = sorted(p for p in self.chunks.iterdir() if p.is_dir())
        newest = max((p.name for p in parts if (p / "state").is_dir()), default="")
        for part in parts:
            if part.name > newest:
                shutil.rmtree(part)

    def write_chunk(self, chunk: int, rows: list[dict], checkpoint: tuple[dict, dict] | None) -> None:
        """Writes one part, with a checkpoint if given; older checkpoints are deleted once the new one is in place."""
        final = self.chunks / f"{chunk:05d}"
        temporary = final.with_name(final.name + ".partial")
        if self.first:
            temporary.mkdir()
            write_rows(rows, temporary / "metrics.parquet")
        wait_for_all("chunk begun")
        if checkpoint is not None:
            import orbax.checkpoint as ocp

            arrays, extra = checkpoint
            host = {"arrays": {k: np.asarray(v) for k, v in arrays.items()}}
            if extra:
                host["extra"] = {k: np.asarray(v) for k, v in extra.items()}
            with ocp.PyTreeCheckpointer() as checkpointer:
                checkpointer.save(temporary / "state", host)
        if not self.first:
            return
        os.rename(temporary, final)
        write_tensorboard(rows, self.partial / "tensorboard", f".{final.name}")
        if checkpoint is not None:
            for older in self.chunks.iterdir():
                if older.name < final.name and (older / "state").exists():
                    shutil.rmtree(older / "state")

    def finish(self, learned: Learned, rows: list[dict], facts: dict[str, Any]) -> None:
        """Writes the result and lets the run appear. Checkpoints go last: killed here, a run resumes here."""
        if self.first:
            self._finish(learned, rows, facts)
        wait_for_all("run finished")

    def _finish(self, learned: Learned, rows: list[dict], facts: dict[str, Any]) -> None:
        result = self.partial / "result"
        if result.exists():
            shutil.rmtree(result)
        learned.save(result / "learned")
        write_rows(rows, result / "metrics.parquet")
        (result / "run.json").write_text(json.dumps({**provenance(), **facts}, indent=1))
        write_tensorboard(rows, result / "tensorboard")
        if self.out.exists() and self.overwrite:
            shutil.rmtree(self.out)
        os.rename(result, self.out)
        shutil.rmtree(self.partial)


def write_rows(rows: list[dict], path: Path) -> None:
    """Rows as zstd-compressed Parquet; a column per name that any row has."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    pq.write_table(pa.table({n: [row.get(n) for row in rows] for n in names}), path, compression="zstd")


def write_tensorboard(rows: list[dict], folder: Path, suffix: str = "") -> None:
    """Scalars for TensorBoard, one run per seed, if a writer is installed; else nothing.

    Args:
        suffix: of the event files' names; they begin with the time in seconds, which need not tell them apart.
    """
    try:
        from tensorboardX import SummaryWriter  # type: ignore[import-not-found]
    except ImportError:
        return
    writers: dict[int, Any] = {}
    for row in rows:
        writer = writers.get(row["seed"])
        if writer is None:
            writer = SummaryWriter(str(folder / f"seed_{row['seed']}"), filename_suffix=suffix)
            writers[row["seed"]] = writer
        for name, value in row.items():
            if isinstance(value, float) and name != "wall_s":
                writer.add_scalar(name, value, row["step"] or row["updates"])
    for writer in writers.values():
        writer.close()


def provenance() -> dict[str, Any]:
    """Where, when and with what a result was made: versions, commit (if in a checkout), machine, date."""
    packages = ("mairl", "jax", "jaxlib", "equinox", "optax", "numpy")
    return {
        "versions": {"python": platform.python_version(), **{p: metadata.version(p) for p in packages}},
        "commit": commit(),
        "machine": machine(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def machine() -> dict[str, Any]:
    """Processor, cores and devices, in words."""
    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as info:
            model = next(line.split(":", 1)[1].strip() for line in info if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return {"cpu": model, "cores": os.cpu_count(), "devices": sorted({d.device_kind for d in jax.devices()})}


def commit() -> str | None:
    """The checkout's commit, "-dirty" appended if source files differ from it; None outside a checkout."""
    root = Path(__file__).resolve().parents[3]

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")) != root:
            return None
        dirty = git("status", "--porcelain", "--untracked-files=no", "--", "src")
        return git("rev-parse", "HEAD") + ("-dirty" if dirty else "")
    except (OSError, subprocess.CalledProcessError):
        return None
