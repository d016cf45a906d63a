"""An episode as pictures: frames, GIF, PNG, MP4."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import jax
import numpy as np
from PIL import Image

from mairl.core.errors import InvalidData, MissingPackage
from mairl.core.game import MarkovGame
from mairl.core.policy import Policy
from mairl.data.collect import play_compiled


def episode_states(game: MarkovGame, policy: Policy, seed: int = 0, greedy: bool = False):
    """One episode's states `[time+1, ...]` and the rewards `[time, agent]` of its steps, on the host."""
    played = play_compiled(game, policy, jax.random.key(seed), 1, greedy)
    length = int(played.lengths[0])
    first = jax.tree.map(lambda x: np.asarray(x[:length, 0]), played.steps.state)
    last = jax.tree.map(lambda x: np.asarray(x[length - 1 : length, 0]), played.steps.next_state)
    states = jax.tree.map(lambda a, b: np.concatenate([a, b]), first, last)
    return states, np.asarray(played.steps.reward)[:length, 0]


def frames(game: MarkovGame, states) -> list[np.ndarray]:
    """A picture of each state."""
    count = jax.tree.leaves(states)[0].shape[0]
    return [game.render(jax.tree.map(lambda x, k=k: x[k], states)) for k in range(count)]


def as_data_url(picture: np.ndarray) -> str:
    """A PNG inside a URL."""
    buffer = io.BytesIO()
    image = Image.fromarray(picture).convert("P", palette=Image.Palette.ADAPTIVE, colors=64)
    image.save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def write_animation(pictures: list[np.ndarray], path: Path, fps: float = 6.0) -> None:
    """Writes GIF, PNG (frames side by side in rows) or MP4, by the file's ending.

    Raises:
        InvalidData: another ending.
        MissingPackage: MP4 without an encoder.
    """
    kind = path.suffix.lower()
    if not 0.02 <= fps <= 1000:
        raise InvalidData(f"fps is {fps:g}, expected 0.02 to 1000 pictures a second")
    if kind == ".gif":
        images = [Image.fromarray(p) for p in pictures]
        images[0].save(path, save_all=True, append_images=images[1:], duration=round(1000 / fps), loop=0)
    elif kind == ".png":
        columns = min(5, len(pictures))
        height, width, _ = pictures[0].shape
        rows = -(-len(pictures) // columns)
        sheet = np.full((rows * (height + 6), columns * (width + 6), 3), 255, np.uint8)
        for k, picture in enumerate(pictures):
            y, x = divmod(k, columns)
            sheet[y * (height + 6) : y * (height + 6) + height, x * (width + 6) : x * (width + 6) + width] = picture
        Image.fromarray(sheet).save(path)
    elif kind == ".mp4":
        from matplotlib.animation import FFMpegWriter

        if not FFMpegWriter.isAvailable():
            raise MissingPackage("an MP4 needs the program ffmpeg: install it, or write a .gif or .html instead")
        _write_mp4(pictures, path, fps)
    else:
        raise InvalidData(f"cannot write {path.name}: use .html, .gif, .png or .mp4")


def _write_mp4(pictures, path: Path, fps: float) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.animation import FFMpegWriter

    height, width, _ = pictures[0].shape
    figure = plt.figure(figsize=(width / 100, height / 100), dpi=100)
    shown = figure.figimage(pictures[0])
    writer = FFMpegWriter(fps=round(fps))
    with writer.saving(figure, str(path), 100):
        for picture in pictures:
            shown.set_array(picture)
            writer.grab_frame()
    plt.close(figure)
