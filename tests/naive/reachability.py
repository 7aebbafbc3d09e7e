"""Which objects are reachable, found anew after every event: the oracle of graph traces."""

import contextlib

from heapwright.trace.schema import FINALISABLE


class Reachability:
    """Has the calls of `Mutator`; `calls` lists (op, ...) and, after each, who died of it."""

    def __init__(self):
        self.calls, self.deaths = [], []
        self.fields, self.globals, self.frames = [], set(), [[]]
        self.alive = set()

    @property
    def objects(self):
        return len(self.fields)

    def reachable(self):
        pending = [obj for frame in self.frames for obj in frame] + list(self.globals)
        found = set()
        while pending:
            obj = pending.pop()
            if obj not in found:
                found.add(obj)
                pending += [target for target in self.fields[obj] if target >= 0]
        return found

    def _tell(self, *call, uses=()):
        for obj in uses:
            assert obj < 0 or obj in self.alive, f"call {len(self.calls)} uses {obj}: {call}"

    def _end(self, *call):
        now = self.reachable()
        self.calls.append(call)
        self.deaths.append(self.alive - now)
        self.alive = now

    def new(self, size, fields=0, site=-1, kind=-1):
        self.fields.append([-1] * fields)
        self.frames[-1].append(self.objects - 1)
        self._end("new", self.objects - 1, size, fields)
        return self.objects - 1

    def write(self, obj, field, target=-1):
        self._tell("write", obj, field, target, uses=(obj, target))
        self.fields[obj][field] = target
        self._end("write", obj, field, target)

    def hold(self, obj):
        self._tell("hold", obj, uses=(obj,))
        self.frames[-1].append(obj)
        self._end("hold", obj)
        return obj

    def root(self, obj):
        self._tell("root", obj, uses=(obj,))
        assert obj not in self.globals
        self.globals.add(obj)
        self._end("root", obj)
        return obj

    def unroot(self, obj):
        self._tell("unroot", obj, uses=(obj,))
        self.globals.remove(obj)
        self._end("unroot", obj)

    def steer(self, operand):
        self._end("steer", operand)

    def track(self, obj, on):
        self._tell("track", obj, on, uses=(obj,))
        self._end("track", obj, on)

    def refer(self, kind, target, size, fields=1, site=-1):
        made = self.new(size, fields)
        self._tell("refer", made, kind, target, uses=(target,))
        self._end("refer", made, kind, target)
        return made

    def finalisable(self, size, fields=0, site=-1):
        return self.refer(FINALISABLE, -1, size, fields)

    def get(self, reference):
        self._tell("get", reference, uses=(reference,))
        self._end("get", reference)

    def push(self):
        self.frames.append([])
        self._end("push")

    def pop(self, returning=-1):
        self._tell("pop", returning, uses=(returning,))
        self.frames.pop()
        if returning >= 0:
            self.frames[-1].append(returning)
        self._end("pop", returning)
        return returning

    @contextlib.contextmanager
    def frame(self):
        self.push()
        yield
        self.pop()
