"""One live line while a run goes on."""

from __future__ import annotations

import time

import numpy as np


class Progress:
    """One live line on standard error: done, rate, time left, and the latest return or likelihood."""

    def __init__(self, on: bool, total: int, unit: str):
        self.bar = None
        if on:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = ("[progress.description]{task.description}", BarColumn(), MofNCompleteColumn())
            self.bar = Progress(
                *[TextColumn(c) if isinstance(c, str) else c for c in columns],
                TextColumn(unit),
                TextColumn("{task.fields[rate]}"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[latest]}"),
                console=Console(stderr=True),
            )
            self.task = self.bar.add_task("fit", total=total, rate="compiling", latest="")
            self.began: tuple[float, int] | None = None
            self.unit = unit
            self.bar.start()

    def show(self, done: int, rows: list[dict]) -> None:
        """Brings the line up to date after an evaluation; `rows` are its, one per seed."""
        if self.bar is None:
            return
        now = time.perf_counter()
        rate = "compiled"
        if self.began is None:
            self.began = (now, done)
        elif now > self.began[0]:
            rate = f"{(done - self.began[1]) * len(rows) / (now - self.began[0]):,.0f} {self.unit}/s"
        shown = []
        for name, label in (("return/agent_mean", "return"), ("heldout_log_likelihood", "held-out")):
            values = [float(v) for r in rows if (v := r.get(name)) is not None]
            if values:
                shown.append(f"{label} {np.mean(values):.3f}")
        self.bar.update(self.task, completed=done, rate=rate, latest=", ".join(shown))

    def close(self) -> None:
        """Leaves the line as it is."""
        if self.bar is not None:
            self.bar.stop()
