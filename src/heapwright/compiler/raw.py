"""Bytes of the machine's words, by their offset: what lies inside blocks.

`words` is int64[...] of the machine; offsets and lengths are bytes, an offset of a word a multiple
of 8. In flight the words are the process's own memory; in the tunnel, reserved memory that stands
for it. With bounds checks a word is an array's element and its index is checked.
"""

from heapwright.compiler.bare import CHECKED
from heapwright.compiler.compiled import INTERPRETED, kernel, unsigned

if INTERPRETED or CHECKED:

    @kernel(inline=True)
    def word_at(words, offset):
        """The word at byte `offset`."""
        return words[unsigned(offset) >> unsigned(3)]

    @kernel(inline=True)
    def set_word_at(words, offset, value):
        """Write the word at byte `offset`."""
        words[unsigned(offset) >> unsigned(3)] = value


if INTERPRETED:
    import ctypes

    def real_address(words):
        """Where in this process's memory the first word lies."""
        return words.ctypes.data

    def real_word(place, number):
        """A word of those that begin at a real address."""
        return ctypes.c_int64.from_address(int(place + 8 * number)).value

    def set_real_word(place, number, value):
        """Write it."""
        ctypes.c_int64.from_address(int(place + 8 * number)).value = int(value)

    def copy_bytes(words, target, source, length):
        """Copy `length` bytes; the ranges do not overlap."""
        first = words.ctypes.data
        ctypes.memmove(first + int(target), first + int(source), int(length))

    def clear_bytes(words, start, length):
        """Write `length` zero bytes."""
        ctypes.memset(words.ctypes.data + int(start), 0, int(length))

else:
    from llvmlite import ir
    from numba import types
    from numba.core import cgutils
    from numba.extending import intrinsic

    from heapwright.compiler.elements import WORD, data

    _BYTE = ir.IntType(8)
    _ADDRESS = _BYTE.as_pointer()

    def _byte(context, builder, kind, words, offset):
        first = builder.bitcast(data(context, builder, kind, words), _ADDRESS)
        return builder.gep(first, [offset], source_etype=_BYTE)

    if not CHECKED:

        @intrinsic
        def word_at(typing_context, words, offset):
            """The word at byte `offset`."""

            def generate(context, builder, signature, arguments):
                place = _byte(context, builder, signature.args[0], *arguments)
                return builder.load(builder.bitcast(place, WORD.as_pointer()), align=8, typ=WORD)

            return types.int64(words, types.int64), generate

        @intrinsic
        def set_word_at(typing_context, words, offset, value):
            """Write the word at byte `offset`."""

            def generate(context, builder, signature, arguments):
                place = _byte(context, builder, signature.args[0], *arguments[:2])
                builder.store(arguments[2], builder.bitcast(place, WORD.as_pointer()), align=8)
                return context.get_dummy_value()

            return types.void(words, types.int64, types.int64), generate

    @intrinsic
    def real_address(typing_context, words):
        """Where in this process's memory the first word lies."""

        def generate(context, builder, signature, arguments):
            return builder.ptrtoint(data(context, builder, words, arguments[0]), WORD)

        return types.int64(words), generate

    def _real(builder, place, number):
        first = builder.inttoptr(place, WORD.as_pointer())
        return builder.gep(first, [number], source_etype=WORD)

    @intrinsic
    def real_word(typing_context, place, number):
        """A word of those that begin at a real address."""

        def generate(context, builder, signature, arguments):
            return builder.load(_real(builder, *arguments), align=8, typ=WORD)

        return types.int64(types.int64, types.int64), generate

    @intrinsic
    def set_real_word(typing_context, place, number, value):
        """Write it."""

        def generate(context, builder, signature, arguments):
            builder.store(arguments[2], _real(builder, *arguments[:2]), align=8)
            return context.get_dummy_value()

        return types.void(types.int64, types.int64, types.int64), generate

    @intrinsic
    def copy_bytes(typing_context, words, target, source, length):
        """Copy `length` bytes; the ranges do not overlap."""

        def generate(context, builder, signature, arguments):
            memory, target_offset, source_offset, count = arguments
            to = _byte(context, builder, signature.args[0], memory, target_offset)
            start = _byte(context, builder, signature.args[0], memory, source_offset)
            kind = ir.FunctionType(_ADDRESS, [_ADDRESS, _ADDRESS, WORD])
            function = cgutils.get_or_insert_function(builder.module, kind, "memcpy")
            builder.call(function, [to, start, count])
            return context.get_dummy_value()

        return types.void(words, types.int64, types.int64, types.int64), generate

    @intrinsic
    def clear_bytes(typing_context, words, start, length):
        """Write `length` zero bytes."""

        def generate(context, builder, signature, arguments):
            memory, offset, count = arguments
            to = _byte(context, builder, signature.args[0], memory, offset)
            kind = ir.FunctionType(_ADDRESS, [_ADDRESS, ir.IntType(32), WORD])
            function = cgutils.get_or_insert_function(builder.module, kind, "memset")
            builder.call(function, [to, ir.Constant(ir.IntType(32), 0), count])
            return context.get_dummy_value()

        return types.void(words, types.int64, types.int64), generate
