"""A compiler: each phase makes a structure from that of the phase before, which is dropped.

    live  ┤        ╱╲tree
          │ tokens╱  ╲   ╱╲ instructions      unit after unit, of different lengths
          │  ╱╲  ╱    ╲ ╱  ╲__
          ┤─╱──╲╱──────╳──────╲─── names and exported symbols, to the end

    tokens        a list; each refers to its name, which lives to the end of the compilation
    tree          nodes of one to three children, made bottom up in recursive calls
    instructions  a list in which each refers to those whose results it takes; two passes replace
                  and remove some, and whatever still refers to a replaced one is rewritten
    code          a buffer that doubles; written out, so dropped with its unit

A unit holds the present structure of each kind in a field, and drops it at the end of the phase.

Source     the "phases" of Wilson et al. 1995, section 2.4, as a graph
Omits      types; separate scopes; threads
"""

from typing import NamedTuple

from heapwright.errors import HeapwrightError
from heapwright.trace.mutator import Mutator
from heapwright.trace.programs.draws import Dice

SUMMARY = "a compiler: tokens, trees and instructions that live for a phase, names that stay"
SITES = (
    *("names", "name", "unit", "token", "tree", "instruction", "replacement", "code"),
    *("symbols", "symbol"),
)
TOKENS, TREE, INSTRUCTIONS, CODE = range(4)  # fields of a unit
NEXT, LEFT, RIGHT = range(3)  # fields of an instruction; of a token NEXT and its name
PASSES = 2
OBJECTS_PER_TOKEN = 2  # about
WORD = 8  # bytes of a reference


class Parameters(NamedTuple):
    """What may be chosen."""

    objects: int = 1_000_000  # about
    seed: int = 1
    names: int = 2_000  # different ones in all units
    least_tokens: int = 300  # of a unit
    most_tokens: int = 30_000


LIMITS = {
    "objects": (1 << 10, 1 << 32),
    "seed": (0, (1 << 63) - 1),
    "names": (1, 1 << 24),
    "least_tokens": (1, 1 << 24),
    "most_tokens": (1, 1 << 24),
}


class Instruction:
    """What the program knows of one; `obj` is the object."""

    __slots__ = ("obj", "takes")

    def __init__(self, obj: int, takes: list["Instruction"]) -> None:
        self.obj, self.takes = obj, takes


class Compilation(NamedTuple):
    """What lives to the end."""

    m: Mutator
    dice: Dice
    names: int  # the object that refers to all names
    known: dict[int, int]  # the object of each name met so far
    size: int  # names there are


def run(m: Mutator, parameters: Parameters) -> None:
    """The program."""
    if parameters.least_tokens > parameters.most_tokens:
        raise HeapwrightError("compiler: least_tokens is larger than most_tokens.")
    names = m.root(m.new(WORD * parameters.names, parameters.names, 0))
    compilation = Compilation(m, Dice(parameters.seed), names, {}, parameters.names)
    exported, newest = m.root(m.new(WORD, 1, 8)), -1
    while m.objects < parameters.objects:
        tokens = compilation.dice.size(parameters.least_tokens, parameters.most_tokens)
        tokens = min(tokens, 1 + (parameters.objects - m.objects) // OBJECTS_PER_TOKEN)
        with m.frame():
            _compile(compilation, tokens)
            symbol = m.new(40, 1, 9)
            m.write(symbol, 0, newest)
            m.write(exported, 0, symbol)
            newest = symbol


def _compile(c: Compilation, tokens: int) -> None:
    """One unit."""
    unit = c.m.new(4 * WORD + 24, 4, 2)
    _scan(c, unit, tokens)
    with c.m.frame():
        tree, shape = _parse(c, tokens // 2 + 1)
        c.m.write(unit, TREE, tree)
    c.m.write(unit, TOKENS)
    code = _lower(c, unit, shape)
    c.m.write(unit, TREE)
    for _ in range(PASSES):
        code = _rewrite(c, unit, code)
    _emit(c, unit, len(code))


def _scan(c: Compilation, unit: int, count: int) -> None:
    last, field = unit, TOKENS
    for _ in range(count):
        with c.m.frame():
            token = c.m.new(4 * WORD, 2, 3)
            c.m.write(token, 1, _name(c))
            c.m.write(last, field, token)
            last, field = token, NEXT


def _name(c: Compilation) -> int:
    """A name's object, made when it is met first; a few names are most of the text."""
    number = c.dice.size(1, c.size) - 1
    name = c.known.get(number, -1)
    if name < 0:
        name = c.known[number] = c.m.new(24 + c.dice.size(1, 32), 0, 1)
        c.m.write(c.names, number, name)
    return name


def _parse(c: Compilation, nodes: int) -> tuple[int, list]:
    """A tree of about so many nodes, and its shape: nested lists."""
    c.m.push()
    count = min(1 + c.dice.below(3), nodes - 1)
    kids = [_parse(c, (nodes - 1) // count) for _ in range(count)]
    node = c.m.new(WORD * (count + 1) + 16, count + 1, 4)
    c.m.write(node, count, _name(c))
    for i, (kid, _) in enumerate(kids):
        c.m.write(node, i, kid)
    return c.m.pop(node), [shape for _, shape in kids]


def _lower(c: Compilation, unit: int, shape: list) -> list[Instruction]:
    """The instructions of a tree, those of its children first."""
    code: list[Instruction] = []

    def visit(kids: list) -> Instruction:
        takes = [visit(kid) for kid in kids[:2]]
        for kid in kids[2:]:
            visit(kid)
        with c.m.frame():
            obj = c.m.new(5 * WORD, 3, 5)
            for field, taken in enumerate(takes, LEFT):
                c.m.write(obj, field, taken.obj)
            _append(c, unit, code, obj)
        code.append(Instruction(obj, takes))
        return code[-1]

    visit(shape)
    return code


def _append(c: Compilation, unit: int, code: list[Instruction], obj: int) -> None:
    if code:
        c.m.write(code[-1].obj, NEXT, obj)
    else:
        c.m.write(unit, INSTRUCTIONS, obj)


def _rewrite(c: Compilation, unit: int, code: list[Instruction]) -> list[Instruction]:
    """The list after a pass: of ten instructions one is replaced and one, if unused, removed."""
    used = {id(taken) for instruction in code for taken in instruction.takes}
    became: dict[int, Instruction] = {}
    kept: list[Instruction] = []
    for i, old in enumerate(code):
        following = code[i + 1].obj if i + 1 < len(code) else -1
        for field, taken in enumerate(old.takes, LEFT):
            if id(taken) in became:
                old.takes[field - LEFT] = became[id(taken)]
                c.m.write(old.obj, field, became[id(taken)].obj)
        choice = c.dice.below(10)
        if choice == 0 and id(old) not in used and kept:
            c.m.write(kept[-1].obj, NEXT, following)
            continue
        if choice == 1:
            new = Instruction(-1, old.takes)
            with c.m.frame():
                new.obj = c.m.new(5 * WORD, 3, 6)
                for field, taken in enumerate(new.takes, LEFT):
                    c.m.write(new.obj, field, taken.obj)
                c.m.write(new.obj, NEXT, following)
                _append(c, unit, kept, new.obj)
            became[id(old)] = new
            kept.append(new)
        else:
            kept.append(old)
    return kept


def _emit(c: Compilation, unit: int, instructions: int) -> None:
    """The code, four bytes an instruction, in a buffer that doubles."""
    room = 64
    while True:
        with c.m.frame():
            c.m.write(unit, CODE, c.m.new(room, 0, 7))
        if room >= 4 * instructions:
            return
        room *= 2
