"""Words that several threads read and write: atomic steps on one element of an int64 array.

    old = atomic_add(words, i, 1)            the element before the addition
    old = exchange(words, i, 0)              the element before the write
    if compare_and_swap(words, i, old, new)  write `new` if the element is still `old`
    load_acquire, store_release              who loads sees all that was written before the store
    pause()                                  between two looks at a word another thread will change

`words` is a heap's array, bare or not. Each step is sequentially consistent but for the load and
the store. Interpreted, they are plain reads and writes: an interpreted heap serves one thread.
"""

from heapwright.compiler.compiled import INTERPRETED

if INTERPRETED:

    def atomic_add(words, index, value):
        """Add to an element; what it was before."""
        old = words[int(index)]
        words[int(index)] = old + value
        return old

    def exchange(words, index, value):
        """Write an element; what it was before."""
        old = words[int(index)]
        words[int(index)] = value
        return old

    def compare_and_swap(words, index, expected, value):
        """Write `value` if the element is `expected`; whether it was."""
        if words[int(index)] != expected:
            return False
        words[int(index)] = value
        return True

    def load_acquire(words, index):
        """The element, and all that its writer wrote before it with `store_release`."""
        return words[int(index)]

    def store_release(words, index, value):
        """Write an element after all that this thread wrote before."""
        words[int(index)] = value

    def pause():
        """Nothing: there is no other thread to wait for."""

else:
    import platform

    import llvmlite.binding as llvm
    from llvmlite import ir
    from numba import types
    from numba.extending import intrinsic

    from heapwright.compiler.elements import element, is_words

    llvm.initialize_native_asmparser()
    _WORD_BYTES = 8
    _PAUSE = "pause" if platform.machine() in ("x86_64", "AMD64") else "yield"

    def _check(words):
        if not is_words(words):
            raise TypeError("an atomic step needs an int64 array")

    @intrinsic
    def atomic_add(typing_context, words, index, value):
        """Add to an element; what it was before."""
        _check(words)

        def generate(context, builder, signature, arguments):
            place = element(context, builder, signature, arguments)
            return builder.atomic_rmw("add", place, arguments[2], "seq_cst")

        return types.int64(words, index, types.int64), generate

    @intrinsic
    def exchange(typing_context, words, index, value):
        """Write an element; what it was before."""
        _check(words)

        def generate(context, builder, signature, arguments):
            place = element(context, builder, signature, arguments)
            return builder.atomic_rmw("xchg", place, arguments[2], "seq_cst")

        return types.int64(words, index, types.int64), generate

    @intrinsic
    def compare_and_swap(typing_context, words, index, expected, value):
        """Write `value` if the element is `expected`; whether it was."""
        _check(words)

        def generate(context, builder, signature, arguments):
            place = element(context, builder, signature, arguments)
            swapped = builder.cmpxchg(place, arguments[2], arguments[3], "seq_cst", "seq_cst")
            return builder.extract_value(swapped, 1)

        return types.boolean(words, index, types.int64, types.int64), generate

    @intrinsic
    def load_acquire(typing_context, words, index):
        """The element, and all that its writer wrote before it with `store_release`."""
        _check(words)

        def generate(context, builder, signature, arguments):
            place = element(context, builder, signature, arguments)
            return builder.load_atomic(place, "acquire", _WORD_BYTES)

        return types.int64(words, index), generate

    @intrinsic
    def store_release(typing_context, words, index, value):
        """Write an element after all that this thread wrote before."""
        _check(words)

        def generate(context, builder, signature, arguments):
            place = element(context, builder, signature, arguments)
            builder.store_atomic(arguments[2], place, "release", _WORD_BYTES)
            return context.get_dummy_value()

        return types.void(words, index, types.int64), generate

    @intrinsic
    def pause(typing_context):
        """Tell the processor that this thread waits in a loop."""

        def generate(context, builder, signature, arguments):
            nothing = ir.FunctionType(ir.VoidType(), [])
            builder.asm(nothing, _PAUSE, "~{memory}", [], True)
            return context.get_dummy_value()

        return types.void(), generate
