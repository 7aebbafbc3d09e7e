"""What a library in a running process can ask for: its thread's own words, errno, the C library.

These stand in objects compiled ahead of time (`ahead`), which define what is declared here. The
interpreted forms serve a heap in the interpreter's own process.
"""

from heapwright.compiler.compiled import INTERPRETED

NEW_THREAD, ENDED_THREAD = -1, -2  # the thread's word before its first call and after its exit

THREAD_GET, THREAD_SET = "heapwright_thread", "heapwright_set_thread"
PLACE_GET, PLACE_SET = "heapwright_place", "heapwright_set_place"
EXIT_HOOK = "heapwright_remember_exit"
ALONE = "heapwright_single_threaded"

if INTERPRETED:
    import ctypes
    import threading

    _own = threading.local()

    def thread_word():
        """This thread's word; NEW_THREAD at first."""
        return getattr(_own, "word", NEW_THREAD)

    def set_thread_word(value):
        """Write this thread's word."""
        _own.word = value

    def thread_place():
        """Where what belongs to this thread lies; before `set_thread_place`, where `object_file`
        was told."""
        return getattr(_own, "place", 0)

    def set_thread_place(place):
        """Say where that is."""
        _own.place = place

    def set_errno(number):
        """Write the C library's errno."""
        ctypes.set_errno(number)

    def is_single_threaded():
        """Whether the process has never had a second thread: then nobody needs a lock."""
        return True

    def remember_thread_exit():
        """Have the object's exit hook called when this thread ends: not for Python's threads."""

    _getenv = ctypes.CDLL(None).getenv
    _getenv.restype, _getenv.argtypes = ctypes.c_void_p, [ctypes.c_void_p]

    def environment_value(name):
        """The real address of the value of an environment variable, 0 if it is not set."""
        return _getenv(name) or 0

else:
    from llvmlite import ir
    from numba import types
    from numba.core import cgutils
    from numba.extending import intrinsic

    _WORD, _INT = ir.IntType(64), ir.IntType(32)

    def _call(builder, name, result, arguments=()):
        kind = ir.FunctionType(result, [argument.type for argument in arguments])
        function = cgutils.get_or_insert_function(builder.module, kind, name)
        return builder.call(function, list(arguments))

    @intrinsic
    def thread_word(typing_context):
        """This thread's word; NEW_THREAD at first."""

        def generate(context, builder, signature, arguments):
            return _call(builder, THREAD_GET, _WORD)

        return types.int64(), generate

    @intrinsic
    def set_thread_word(typing_context, value):
        """Write this thread's word."""

        def generate(context, builder, signature, arguments):
            _call(builder, THREAD_SET, ir.VoidType(), arguments)
            return context.get_dummy_value()

        return types.void(types.int64), generate

    @intrinsic
    def thread_place(typing_context):
        """Where what belongs to this thread lies; before `set_thread_place`, where `object_file`
        was told."""

        def generate(context, builder, signature, arguments):
            return _call(builder, PLACE_GET, _WORD)

        return types.int64(), generate

    @intrinsic
    def set_thread_place(typing_context, place):
        """Say where that is."""

        def generate(context, builder, signature, arguments):
            _call(builder, PLACE_SET, ir.VoidType(), arguments)
            return context.get_dummy_value()

        return types.void(types.int64), generate

    @intrinsic
    def set_errno(typing_context, number):
        """Write the C library's errno."""

        def generate(context, builder, signature, arguments):
            place = _call(builder, "__errno_location", _INT.as_pointer())
            builder.store(builder.trunc(arguments[0], _INT), place)
            return context.get_dummy_value()

        return types.void(types.int64), generate

    @intrinsic
    def is_single_threaded(typing_context):
        """Whether the process has never had a second thread: then nobody needs a lock."""

        def generate(context, builder, signature, arguments):
            return _call(builder, ALONE, ir.IntType(1))

        return types.boolean(), generate

    @intrinsic
    def environment_value(typing_context, name):
        """The real address of the value of an environment variable, 0 if it is not set."""

        def generate(context, builder, signature, arguments):
            return _call(builder, "getenv", _WORD, arguments)

        return types.int64(types.int64), generate

    @intrinsic
    def remember_thread_exit(typing_context):
        """Have the object's exit hook called when this thread ends."""

        def generate(context, builder, signature, arguments):
            _call(builder, EXIT_HOOK, ir.VoidType())
            return context.get_dummy_value()

        return types.void(), generate
