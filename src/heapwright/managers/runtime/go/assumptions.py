"""What a replay assumes of time, which the real collector has and a replay has not.

The real workers mark while the program runs; how much it allocates meanwhile is born black and
counts as live until the next cycle, and what a cycle finds live sets the goal of the next. So the
speed of the workers decides when every later collection falls, and on a program whose live heap
rises and falls a cycle a moment sooner may set a goal of half or double: two runs of the real
system differ as much.
"""

OTHER_SPEEDS = (0, 10, 20, 50, 200, 400, 1000)  # of the knob `workers_work`


def courses(settings):
    """Settings with other speeds of the workers, from none, where allocation does all the marking,
    to one that marks at once; none where the settings choose a speed."""
    if settings.get("gcstoptheworld") or "workers_work" in settings:
        return []
    others = [{"workers_work": work} for work in OTHER_SPEEDS]
    return [{**settings, **other} for other in [*others, {"gcstoptheworld": 1}]]


def notes(heap):
    """What a reader of its figures must know."""
    if heap.stop_the_world:
        return []
    work = int(heap.workers_work) / 100
    return [
        f"Assumes that its workers scan {work:g} bytes while the program allocates one: in the "
        "real system time decides, and two runs of one program differ."
    ]
