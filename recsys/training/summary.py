"""What a run did, for people: a plain table, and a picture of the losses.

Feature models may leave a `history.jsonl` in any folder below the run's: one line per epoch with
`part`, `epoch`, `loss`, `held_out` and `seconds`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape

import msgspec

HISTORY: Final = "history.jsonl"
SUMMARY: Final = "summary.txt"
CURVES: Final = "curves.svg"

_WIDTH: Final = 720
_HEIGHT: Final = 360
_MARGIN: Final = 60
_COLOURS: Final = {"loss": "#8a8a8a", "held_out": "#c0392b"}


class Epoch(msgspec.Struct):
    """One line of a history.

    Args:
        part: What was fitted.
        epoch: 0: before the first.
        loss: On the examples fitted on; None before the first epoch.
        held_out: On the examples held out.
        seconds: Since the fit began.
    """

    part: str
    epoch: int
    loss: float | None
    held_out: float
    seconds: float


def write_summary(folder: Path) -> None:
    """Write the summary and the picture of a run; nothing where no model left a history."""
    fits = [(path.parent.name, _read(path)) for path in sorted(folder.rglob(HISTORY))]
    fits = sorted(((name, found) for name, found in fits if found), key=_number)
    if not fits:
        return
    lines = [f"{'fit':<16}{'part':<10}{'epoch':>6}{'loss':>10}{'held out':>10}{'seconds':>9}"]
    for name, epochs in fits:
        for e in epochs:
            loss = "" if e.loss is None else f"{e.loss:.4f}"
            lines.append(
                f"{name:<16}{e.part:<10}{e.epoch:>6}{loss:>10}{e.held_out:>10.4f}{e.seconds:>9.1f}"
            )
    (folder / SUMMARY).write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / CURVES).write_text(draw_curves(fits), encoding="utf-8")


def draw_curves(fits: Sequence[tuple[str, Sequence[Epoch]]]) -> str:
    """Draw losses over the epochs of all fits, one after the other.

    Args:
        fits: Name and epochs.

    Returns:
        An SVG.
    """
    epochs = [e for _, found in fits for e in found]
    values = [v for e in epochs for v in (e.loss, e.held_out) if v is not None]
    low, high = min(values), max(values)

    def place(number: int, value: float) -> str:
        x = _MARGIN + (_WIDTH - 2 * _MARGIN) * number / max(1, len(epochs) - 1)
        y = _HEIGHT - _MARGIN - (_HEIGHT - 2 * _MARGIN) * (value - low) / max(high - low, 1e-9)
        return f"{x:.1f},{y:.1f}"

    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        f'<text x="8" y="{_MARGIN}">{high:.4f}</text>',
        f'<text x="8" y="{_HEIGHT - _MARGIN}">{low:.4f}</text>',
    ]
    start = 0
    for name, found in fits:
        for key, colour in _COLOURS.items():
            points = [
                place(start + number, value)
                for number, e in enumerate(found)
                if (value := getattr(e, key)) is not None
            ]
            line = " ".join(points)
            drawn.append(
                f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>'
            )
        x = place(start, low).split(",")[0]
        y = _HEIGHT - _MARGIN + 16
        drawn.append(f'<text x="{x}" y="{y}" transform="rotate(30 {x} {y})">{escape(name)}</text>')
        start += len(found)
    legend = "grey: examples fitted on; red: examples held out"
    drawn.append(f'<text x="{_MARGIN}" y="24">{legend}</text></svg>')
    return "\n".join(drawn) + "\n"


def _read(path: Path) -> list[Epoch]:
    lines = path.read_bytes().splitlines()
    return [msgspec.json.decode(line, type=Epoch) for line in lines]


def _number(fit: tuple[str, list[Epoch]]) -> tuple[int, str]:
    digits = "".join(c for c in fit[0] if c.isdigit())
    return int(digits or 0), fit[0]
