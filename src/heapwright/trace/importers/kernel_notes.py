"""What a kernel's trace does not tell, or what was guessed: counts that become notes."""

from dataclasses import dataclass

from heapwright.trace.notes import INHERITED, Note


@dataclass
class Losses:
    """Counted while events are put together."""

    unmatched: int = 0  # frees of what was not seen allocated
    reborn: int = 0  # allocations at a place that was still live
    by_site: int = 0  # objects whose cache is their call site's usual one
    unnamed: int = 0  # objects of caches that nothing names
    no_flags: int = 0
    slab_pages: int = 0
    hidden_pages: int = 0
    lost: int = 0  # events that the kernel itself says it lost
    other: int = 0  # lines and events that are none of kmem's
    unsound: int = 0  # events with values that no kernel writes

    def notes(self) -> list[Note]:
        """A sentence for each that happened."""
        told = [
            (self.lost, "The kernel lost {} events: its buffer was full."),
            (
                self.unsound,
                "{} events have values that no kernel writes: they are left out.",
            ),
            (
                self.reborn,
                "{} objects or pages were given out again without a free in between, which was "
                "not recorded (bulk frees are not): they end where the next one begins.",
            ),
            (
                self.by_site,
                "{} objects were never freed by name: their cache is taken to be the one that "
                "others of their call site have.",
            ),
            (
                self.unnamed,
                "{} objects are of a cache that nothing names: it is called by the size of its "
                "objects.",
            ),
            (
                self.no_flags,
                "{} requests do not tell their flags, as the text of some kernels leaves them out: "
                "they are taken for GFP_KERNEL, or what the page's migrate type says. Raw pages of "
                "the ring tell them.",
            ),
            (
                self.slab_pages,
                "{} events of pages are left out, since objects lie in them: a slab allocator's "
                "own frames, which its twin asks for itself.",
            ),
            (
                self.hidden_pages,
                "{} events of pages are left out: the pointers are hashed, so that a slab's own "
                "frames cannot be told from others. `echo nohash-ptr > trace_options` before "
                "recording tells them.",
            ),
            (self.other, "{} lines or events are none of kmem's: they are passed over."),
        ]
        found = [Note(text.format(f"{count:,}"), cases=count) for count, text in told if count]
        found.append(
            Note(
                "The kernel ran before the recording: what it had allocated by then is not known, "
                "and flags are read as Linux 6.1 numbers them.",
                INHERITED,
            )
        )
        return found


def layouts_guessed(caches: int) -> list[Note]:
    """What no trace tells of caches that are named by their objects' events alone."""
    if not caches:
        return []
    text = (
        "Alignment and constructors of the caches that events name, {}, are in no trace: each is "
        "laid out by the sizes of its objects, whether a kernel has one of that name or not."
    )
    return [Note(text.format(f"{caches:,}"), cases=caches)]
