"""Names for the words of a NamedTuple's array: `pace.goal += 8` where `pace.fields[3] += 8` was.

    @record("limit", "goal")            pace = Pace(words(Pace, goal=4096))
    class Pace(NamedTuple):             pace.goal ◄──► pace.fields[1]
        fields: np.ndarray

A scalar of a heap's state has to outlive a kernel's call, so it is a word of an array. A named word
compiles to one load or store at an offset known to the compiler, as an index does: the address of
the array is still all that is passed (`bare`). Interpreted, it is a property.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from heapwright.compiler.compiled import INTERPRETED

T = TypeVar("T", bound=type)


def record(*names: str, array: str = "fields") -> Callable[[T], T]:
    """Class decorator: the words of the int64 `array` have these names, in this order."""

    def named(cls: T) -> T:
        taken = [name for name in names if hasattr(cls, name)]
        assert not taken, f"{cls.__name__} has {', '.join(taken)} already"
        assert array in cls._fields, f"{cls.__name__} has no array {array}"
        cls.WORDS, cls.WORDS_ARRAY = names, array
        for index, name in enumerate(names):
            setattr(cls, name, _word(cls._fields.index(array), index))
        if not INTERPRETED:
            _compiled(names)
        return cls

    return named


def words(cls: Any, **values: int) -> np.ndarray:
    """The array of such a record: these values, and 0 where none is given."""
    array = np.zeros(len(cls.WORDS), np.int64)
    for name, value in values.items():
        assert name in cls.WORDS, f"{cls.__name__} has no word {name}"
        array[cls.WORDS.index(name)] = value
    return array


def _word(member: int, index: int) -> property:
    def read(self: Any) -> Any:
        return self[member][index]

    def write(self: Any, value: Any) -> None:
        self[member][index] = value

    return property(read, write)


if not INTERPRETED:
    from llvmlite import ir
    from numba import types
    from numba.core.typing.templates import AttributeTemplate, infer_getattr
    from numba.extending import lower_getattr, lower_setattr

    from heapwright.compiler.bared import member
    from heapwright.compiler.elements import WORD, data

    _lowered: set[str] = set()

    @infer_getattr
    class _Words(AttributeTemplate):
        key = types.BaseNamedTuple

        def generic_resolve(self, kind: Any, name: str) -> Any:
            """int64 of a named word; of other attributes Numba knows better."""
            return types.int64 if name in getattr(kind.instance_class, "WORDS", ()) else None

    def _place(context: Any, builder: Any, kind: Any, value: Any, name: str) -> Any:
        cls = kind.instance_class
        index = kind.fields.index(cls.WORDS_ARRAY)
        first = data(context, builder, kind[index], member(builder, kind, value, index))
        offset = ir.Constant(WORD, cls.WORDS.index(name))
        return builder.gep(first, [offset], source_etype=WORD)

    def _compiled(names: tuple[str, ...]) -> None:
        """Let Numba lower these; an attribute of a class that has one as a member, as ever."""
        for name in names:
            if name not in _lowered:
                _lowered.add(name)
                lower_getattr(types.BaseNamedTuple, name)(_reading(name))
                lower_setattr(types.BaseNamedTuple, name)(_writing(name))

    def _reading(name: str) -> Any:
        def read(context: Any, builder: Any, kind: Any, value: Any) -> Any:
            if name in kind.fields:
                return member(builder, kind, value, kind.fields.index(name))
            return builder.load(_place(context, builder, kind, value, name), typ=WORD)

        return read

    def _writing(name: str) -> Any:
        def write(context: Any, builder: Any, signature: Any, arguments: Any) -> None:
            target, value = arguments
            given = context.cast(builder, value, signature.args[1], types.int64)
            builder.store(given, _place(context, builder, signature.args[0], target, name))

        return write
