"""System calls without a C library, for code that lies beneath one.

    system_call(MMAP, address, length, 3, 0x22, -1)    what the kernel returns; -errno on failure

Arguments that are left out are 0; the numbers are those of Linux on x86-64.
"""

from heapwright.compiler.compiled import INTERPRETED

WRITE, MMAP, MUNMAP, MREMAP, MINCORE, MADVISE = 1, 9, 11, 25, 27, 28
CLOCK_GETTIME = 228
GETPID, GETPPID, GETTID, FUTEX, TGKILL = 39, 110, 186, 202, 234
CLOSE, EXIT_GROUP, OPENAT, READLINKAT, PRLIMIT = 3, 231, 257, 267, 302

if INTERPRETED:
    import ctypes

    _libc = ctypes.CDLL(None, use_errno=True)
    _libc.syscall.restype = ctypes.c_long

    def system_call(number, a=0, b=0, c=0, d=0, e=0, f=0):  # noqa: PLR0913, PLR0917 Linux has six
        """What the kernel returns."""
        got = _libc.syscall(*(ctypes.c_long(int(word)) for word in (number, a, b, c, d, e, f)))
        return -ctypes.get_errno() if got == -1 else got

else:
    import llvmlite.binding as llvm
    from llvmlite import ir
    from numba import types
    from numba.extending import intrinsic

    llvm.initialize_native_asmparser()
    _WORD = ir.IntType(64)
    _REGISTERS = (
        "={rax},{rax},{rdi},{rsi},{rdx},{r10},{r8},{r9},~{rcx},~{r11},~{memory},"
        "~{dirflag},~{fpsr},~{flags}"
    )

    @intrinsic
    def system_call(typing_context, number, a=0, b=0, c=0, d=0, e=0, f=0):  # noqa: PLR0913, PLR0917
        """What the kernel returns."""

        def generate(context, builder, signature, arguments):
            kind = ir.FunctionType(_WORD, [_WORD] * 7)
            return builder.asm(kind, "syscall", _REGISTERS, list(arguments), True)

        return types.int64(*[types.int64] * 7), generate
