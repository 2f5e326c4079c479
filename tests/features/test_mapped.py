"""Arrays that processes map: the same values, private where written, and room to grow."""

from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np
import pytest

from recsys.features import reserved
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


@pytest.fixture(params=["reserved", "copied"])
def growth(request, monkeypatch) -> str:
    """With addresses reserved where the system allows it, and where it does not."""
    if request.param == "copied":
        monkeypatch.setattr(reserved, "_can_reserve", lambda: False)
    elif not reserved._can_reserve():
        pytest.skip("this system reserves no addresses")
    return request.param


@pytest.mark.parametrize("fill", [0, -1])
def test_a_mapped_array_grows(path, growth, fill) -> None:
    arrays = map_arrays(path, write_arrays(path, ARRAYS))
    grown = Growable(np.int64, fill)
    grown.restore(arrays, "large")
    for size in (50_001, 55_000, 900_000):
        grown.resize(size)
        assert np.shares_memory(grown.rows, arrays["large"]) == (growth == "reserved")
        np.testing.assert_array_equal(grown.rows[:50_000], ARRAYS["large"])
        assert (grown.rows[50_000:] == fill).all()
    np.testing.assert_array_equal(map_arrays(path, _stored(path))["large"], ARRAYS["large"])


def _stored(path: Path):
    return write_arrays(path.with_name("again"), ARRAYS)


@pytest.mark.parametrize("shape", [(), (3,), (0,)])
@pytest.mark.parametrize("fill", [0, -1])
def test_new_rows_hold_the_fill_and_old_ones_what_was_written(growth, shape, fill) -> None:
    grown, expected = Growable(np.int32, fill, shape), np.zeros((0, *shape), dtype=np.int32)
    for size in (1, 64, 65, 70_000, 70_001, 1_000_000, 1_300_000):
        added = np.full((size - len(expected), *shape), fill, dtype=np.int32)
        grown.resize(size)
        np.testing.assert_array_equal(grown.rows[len(expected) :], added)
        added[-1] = size
        grown.rows[-1] = size
        expected = np.concatenate([expected, added])
    np.testing.assert_array_equal(grown.rows, expected)
    grown.reorder(np.arange(900_000))
    grown.resize(900_100)
    np.testing.assert_array_equal(grown.rows[:900_000], expected[:900_000])
    assert (grown.rows[900_000:] == fill).all()


def test_a_large_array_stays_where_it_is_while_it_grows(growth) -> None:
    grown = Growable(np.float64, np.nan)
    grown.resize(1_000_000)
    before, held = grown.address, grown.buffer
    grown.resize(20_000_000)
    assert (grown.address == before) == (growth == "reserved")
    assert (grown.buffer is held) == (growth == "reserved")


def test_reserved_addresses_take_no_memory() -> None:
    if not reserved._can_reserve():
        pytest.skip("this system reserves no addresses")
    virtual, resident = _pages()
    tables = [reserved.reserve(1 << 24) for _ in range(64)]
    now_virtual, now_resident = _pages()
    assert all(table is not None for table in tables)
    assert (now_virtual - virtual) * mmap.PAGESIZE > 1 << 36
    assert (now_resident - resident) * mmap.PAGESIZE < 1 << 26


def _pages() -> tuple[int, int]:
    virtual, resident, *_ = Path("/proc/self/statm").read_text().split()
    return int(virtual), int(resident)


def test_what_cannot_be_reserved_is_none() -> None:
    assert reserved.reserve(1 << 45) is None
    assert reserved.reserve(1 << 62) is None
