"""A hint to the processor, for compiled loops: a row of a table will be needed soon.

A loop that jumps about in a table larger than the processor's cache waits for memory at every row,
some 100 ns, unless it says which rows come next while it still works on others.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

from llvmlite import ir  # type: ignore[import-untyped]  # what numba compiles with
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from recsys.features.compiled import inlined

#: Objects of numba's compiler, which has no types.
_Numba: TypeAlias = Any
_cgutils: _Numba = cgutils
#: Bytes that come from memory together.
_LINE: Final = 64
#: As `llvm.prefetch` has them: to be written to, to be kept in all caches, data.
_HINT: Final = (1, 3, 1)


def _typed(_typing: _Numba, array: _Numba, _row: _Numba, _byte: _Numba) -> _Numba:
    return types.void(array, types.intp, types.intp), _generate


def _generate(context: _Numba, builder: _Numba, signature: _Numba, arguments: _Numba) -> _Numba:
    array_type = signature.args[0]
    array = context.make_array(array_type)(context, builder, arguments[0])
    row_bytes = _cgutils.unpack_tuple(builder, array.strides, array_type.ndim)[0]
    offset = builder.add(builder.mul(arguments[1], row_bytes), arguments[2])
    address = builder.add(builder.ptrtoint(array.data, offset.type), offset)
    word = ir.IntType(32)
    kind = ir.FunctionType(ir.VoidType(), [_cgutils.voidptr_t, word, word, word])
    hint = _cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    pointer = builder.inttoptr(address, _cgutils.voidptr_t)
    builder.call(hint, [pointer, *(word(number) for number in _HINT)])
    return context.get_dummy_value()


_fetch: _Numba = intrinsic(_typed)


@inlined
def prefetch(table: NDArray[Any], row: int) -> None:
    """Have a row fetched into the cache; a row that does not exist does no harm."""
    row_bytes = table.strides[0]
    for byte in range(0, row_bytes, _LINE):
        _fetch(table, row, byte)
    _fetch(table, row, row_bytes - 1)
