"""Numbers by which the compiled loops know operations and statistics."""

from __future__ import annotations

from typing import Final

# What a step of a program does.
ADD: Final = 0
SUBTRACT: Final = 1
MULTIPLY: Final = 2
DIVIDE: Final = 3
FILL: Final = 4
NEGATE: Final = 5
ABSOLUTE: Final = 6
FLOOR_DIVIDE: Final = 7
MODULO: Final = 8

# What is taken of a list.
MEAN: Final = 0
MIN: Final = 1
MAX: Final = 2
SUM: Final = 3
