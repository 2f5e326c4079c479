"""A mapped safetensors file has what the library reads."""

from __future__ import annotations

import numpy as np
from safetensors.numpy import load_file, save_file

from recsys.features.growable import Growable
from recsys.features.mapped import ROOM
from recsys.interest.mapped import map_file


def test_mapped_arrays_are_those_that_were_saved(tmp_path) -> None:
    arrays = {
        "floats": np.arange(12, dtype=np.float32).reshape(3, 4),
        "doubles": np.arange(5, dtype=np.float64),
        "bytes": np.arange(7, dtype=np.uint8),
        "none": np.zeros((0, 4), dtype=np.float32),
        "whole": np.arange(3, dtype=np.int64),
    }
    path = tmp_path / "arrays.safetensors"
    save_file(arrays, path, metadata={"made": "here"})
    found, expected = map_file(path), load_file(path)
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype
        assert found[name].flags.aligned
    found["floats"][:] = -1
    np.testing.assert_array_equal(map_file(path)["floats"], arrays["floats"])


def test_an_array_that_will_grow_has_room_behind_it(tmp_path) -> None:
    arrays = {
        "odd": np.arange(3, dtype=np.uint8),
        "table": np.arange(40_000, dtype=np.float32).reshape(-1, 4),
        "none": np.zeros((0, 4), dtype=np.float32),
        "after": np.arange(3, dtype=np.float32),
    }
    path = tmp_path / "arrays.safetensors"
    save_file(arrays, path)
    found = map_file(path, {"table", "none"})
    assert found.keys() - arrays.keys() <= {"table" + ROOM}
    column = Growable(np.float32, 0.0, (4,))
    column.restore(found, "table")
    before = column.rows
    column.extend(np.full((5_000, 4), 7, dtype=np.float32))
    np.testing.assert_array_equal(before, arrays["table"])
    np.testing.assert_array_equal(column.rows[:10_000], arrays["table"])
    assert (column.rows[10_000:] == 7).all()
    if "table" + ROOM in found:
        assert np.shares_memory(before, column.rows)
    np.testing.assert_array_equal(found["after"], arrays["after"])
    np.testing.assert_array_equal(load_file(path)["table"], arrays["table"])
