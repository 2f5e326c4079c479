"""Arrays that processes map: the same values, private where written, and room to grow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from recsys.features.growable import Growable
from recsys.features.mapped import map_arrays, write_arrays

ARRAYS = {
    "empty": np.zeros((0, 3), dtype=np.int16),
    "one": np.array([7], dtype=np.uint8),
    "large": np.arange(50_000, dtype=np.int64),
    "wide": np.arange(90_000, dtype=np.float32).reshape(-1, 3),
    "transposed": np.arange(12.0).reshape(3, 4).T,
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "arrays"


def test_what_was_written_is_mapped_aligned_and_whole(path) -> None:
    found = map_arrays(path, write_arrays(path, ARRAYS))
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype
        assert found[name].flags.aligned
        assert found[name].flags.c_contiguous
    assert all(len(array) == 0 for array in map_arrays(*_written_nothing(path)).values())


def _written_nothing(path: Path):
    other = path.with_name("nothing")
    return other, write_arrays(other, {"nothing": np.zeros(0)})


def test_what_one_writes_nobody_else_sees(path) -> None:
    stored = write_arrays(path, ARRAYS)
    one, other = map_arrays(path, stored), map_arrays(path, stored)
    one["large"][:] = -1
    np.testing.assert_array_equal(other["large"], ARRAYS["large"])
    np.testing.assert_array_equal(map_arrays(path, stored)["large"], ARRAYS["large"])


@pytest.mark.parametrize("fill", [0, -1])
def test_an_array_grows_where_it_lies_as_long_as_there_is_room(path, fill) -> None:
    arrays = map_arrays(path, write_arrays(path, ARRAYS))
    grown = Growable(np.int64, fill)
    grown.restore(arrays, "large")
    grown.resize(55_000)
    assert np.shares_memory(grown.rows, arrays["large"])
    np.testing.assert_array_equal(grown.rows[:50_000], ARRAYS["large"])
    assert (grown.rows[50_000:] == fill).all()
    grown.resize(60_000)
    assert not np.shares_memory(grown.rows, arrays["large"])
    np.testing.assert_array_equal(grown.rows[:50_000], ARRAYS["large"])
    assert (grown.rows[50_000:] == fill).all()


def test_the_room_takes_no_place_on_disk(path) -> None:
    write_arrays(path, {"zeros": np.ones(8_000_000, dtype=np.int8)})
    status = path.stat()
    assert status.st_size == 9_000_000
    assert status.st_blocks * 512 < 8_200_000
