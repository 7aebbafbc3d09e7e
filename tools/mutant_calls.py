"""Which functions a test calls, found by stubs in their place; for `mutant_bench.py`."""

import inspect
import mmap
import types
from collections.abc import Iterator


def codes(code: types.CodeType) -> Iterator[types.CodeType]:
    """What a module compiles to: of its functions, each after those within it."""
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from codes(constant)
            yield constant


def key(code: types.CodeType) -> tuple[str, str, int]:
    """What tells a function from all others."""
    return code.co_filename, code.co_qualname, code.co_firstlineno


class Calls:
    """Which functions were called since the last `clear`: each runs a stub that tells of its first
    call and gives it its own code back, so that what follows takes no longer."""

    of_process: "Calls"

    def __init__(self, living: dict[tuple[str, str, int], list[types.FunctionType]]) -> None:
        self.functions = list(living.values())
        self.codes = [functions[0].__code__ for functions in self.functions]
        alone = [len(functions) == 1 for functions in self.functions]
        self.stubs = [stub(c, at) if alone[at] else None for at, c in enumerate(self.codes)]
        self.seen = mmap.mmap(-1, len(self.codes) + 1)  # children write to it too
        Calls.of_process = self

    def clear(self) -> None:
        """Forget them."""
        self.seen[:] = bytes(len(self.seen))
        for functions, code in zip(self.functions, self.stubs, strict=True):
            if code:
                functions[0].__code__ = code

    def hit(self, number: int) -> types.FunctionType:
        """Tell of a call; the function as it is."""
        self.seen[number] = 1
        (function,) = self.functions[number]
        function.__code__ = self.codes[number]
        return function

    def called(self) -> list[int]:
        """Their numbers, and those of what is never a stub: closures, functions made twice."""
        return [at for at, code in enumerate(self.stubs) if self.seen[at] or not code]


def stub(code: types.CodeType, number: int) -> types.CodeType | None:
    """Code of the same arguments that tells of a call; None for a closure's."""
    count, named = code.co_argcount, code.co_kwonlyargcount
    names = list(code.co_varnames[: count + named])
    taken, given = names[:count], names[:count]
    if code.co_posonlyargcount:
        taken.insert(code.co_posonlyargcount, "/")
    rest = list(code.co_varnames[count + named :])
    if code.co_flags & inspect.CO_VARARGS:
        star = f"*{rest.pop(0)}"
        taken, given = [*taken, star], [*given, star]
    elif named:
        taken.append("*")
    taken += names[count:]
    given += [f"{name}={name}" for name in names[count:]]
    if code.co_flags & inspect.CO_VARKEYWORDS:
        stars = f"**{rest[0]}"
        taken, given = [*taken, stars], [*given, stars]
    if code.co_freevars or not all(name.isidentifier() for name in names):
        return None
    told = f"__import__('mutant_calls').Calls.of_process.hit({number})"
    text = f"def f({', '.join(taken)}):\n    return {told}({', '.join(given)})\n"
    (made,) = codes(compile(text, code.co_filename, "exec"))
    return made.replace(
        co_name=code.co_name, co_qualname=code.co_qualname, co_firstlineno=code.co_firstlineno
    )
