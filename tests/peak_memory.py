"""How much memory a process of a test has held at most, for code that runs in one of its own.

Not getrusage's ru_maxrss: that begins with what the process held that began this one, a worker of
the suite, so that a growth below it would not show.
"""

PEAK_KIB = """
import re
def peak_kib():
    with open("/proc/self/status") as status:
        return int(re.search(r"VmHWM:\\s+(\\d+)", status.read())[1])
"""
