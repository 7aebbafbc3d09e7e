"""Reachability with sets and lists: what a collector must keep, and nothing else."""


class Graph:
    """Objects by slot, each a list of slots or None; roots as a program holds them."""

    def __init__(self):
        self.fields = {}  # slot: list of slots, None for null
        self.size = {}  # slot: bytes asked for
        self.frames = [[]]  # slots held by each frame, the top one last
        self.globals = set()

    def new(self, slot, size, fields):
        """An object is born and held by the frame on top."""
        assert slot not in self.fields
        self.fields[slot], self.size[slot] = [None] * fields, size
        self.frames[-1].append(slot)

    def write(self, slot, field, target):
        """Let a reference refer to `target`, None for nothing."""
        self.fields[slot][field] = target

    def reachable(self):
        """Set of the slots that can be reached from the roots."""
        pending = [slot for frame in self.frames for slot in frame] + list(self.globals)
        found = set()
        while pending:
            slot = pending.pop()
            if slot not in found:
                found.add(slot)
                pending += [target for target in self.fields[slot] if target is not None]
        return found

    def bury(self):
        """Forget the objects that cannot be reached; their slots, which are free again."""
        dead = set(self.fields) - self.reachable()
        for slot in dead:
            del self.fields[slot], self.size[slot]
        return dead
