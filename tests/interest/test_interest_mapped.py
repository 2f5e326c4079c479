"""A mapped safetensors file has what the library reads."""

from __future__ import annotations

import numpy as np
from safetensors.numpy import load_file, save_file

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
