"""Colours of driving pictures: for light and for dark surroundings."""

from __future__ import annotations

PALETTE = {
    "page": ("#f6f8fa", "#12181f"),
    "card": ("#ffffff", "#1b232c"),
    "ink": ("#1b2430", "#e8edf2"),
    "soft": ("#5b6673", "#a3afbb"),
    "rule": ("#dfe4ea", "#33404d"),
    "mark": ("#0b7285", "#3bc9db"),
    "ground": ("#f3f5f7", "#141b22"),
    "road": ("#e1e5ea", "#222c36"),
    "lane": ("#bcc5ce", "#3a4754"),
    "white": ("#8a96a3", "#c3ccd5"),
    "yellow": ("#d19a00", "#d8b23c"),
    "edge": ("#495057", "#8795a3"),
    "crosswalk": ("#b9c7d6", "#3b4c5e"),
    "bump": ("#d8b98a", "#6b5738"),
    "driveway": ("#e8e0cf", "#2d2a22"),
    "vehicle": ("#0b7285", "#3bc9db"),
    "pedestrian": ("#5f3dc4", "#b197fc"),
    "cyclist": ("#2b8a3e", "#8ce99a"),
    "other": ("#868e96", "#adb5bd"),
    "sdc": ("#c2255c", "#f783ac"),
    "simulated": ("#e8590c", "#ffa94d"),
    "stop": ("#e03131", "#ff6b6b"),
    "caution": ("#f08c00", "#ffd43b"),
    "go": ("#2f9e44", "#51cf66"),
    "unlit": ("#868e96", "#868e96"),
    "collision": ("#e03131", "#ff6b6b"),
    "offroad": ("#ae3ec9", "#e599f7"),
    "goal": ("#2f9e44", "#51cf66"),
}
"""What is drawn, to its colour in light and in dark."""

AGENTS = ("other", "vehicle", "pedestrian", "cyclist")
"""The palette's names, by `AgentType`."""

SIGNALS = ("unlit", "stop", "caution", "go", "stop", "caution", "stop", "caution", "go")
"""The palette's names, by `SignalState`."""

FLAGS = {"collision": "collision", "offroad": "off-road", "goal": "goal reached"}
"""What may be marked on an agent at a step, to how people call it. Where several hold, the first is drawn."""
