"""How many buckets the types and the ages of past events fall into."""

from __future__ import annotations

from typing import Final

#: Ages fall into buckets by powers of two seconds; the last one starts after 34 years.
N_AGES: Final = 31
N_TYPES: Final = 64
