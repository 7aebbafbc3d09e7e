"""Fuzz every importer: 100,000 inputs each, none may crash, hang or take 200 MB.

    python -m fuzz.run                              all importers, with what is installed
    python -m fuzz.run --formats mtrace --inputs 5000 --engine mutation

atheris    guided by coverage: kernels are interpreted, so that their branches are seen
mutation   compiled with every index checked, inputs mutated from the corpus by a seeded generator

Each importer runs in a process of its own. What fails is written to build/fuzz/.
"""

import argparse
import importlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ENGINES = ("mutation", "atheris")
INPUT_BYTES = 4096
SECONDS_PER_INPUT = 20
ALLOWED_BYTES = 200_000_000  # above the start
FAILURES = Path("build/fuzz")
ODD = (
    b"\n", b"\r\n", b"\0", b" ", b"-1", b"0x", b"0x0", b"(nil)", b"(", b")", b"=", b",", b"#0",
    b"18446744073709551615", b"9" * 40, b"0x" + b"f" * 20, b"4611686018427387904", b"\xff\xfe",
    b"\x28\xb5\x2f\xfd", b"\x1f\x8b", b"PK\x03\x04", b"PAR1",
)  # fmt: skip


class Subject:
    """One importer under test, in this process."""

    def __init__(self, name: str, inputs: int) -> None:
        from fuzz.trial import CORPUS, trial

        self.corpus = CORPUS[name]
        self.name, self.inputs, self.count, self.events = name, inputs, 0, 0
        self._trial = trial
        for content in self.corpus:  # loads and compiles everything before memory is watched
            trial(name, content)
        Path("/proc/self/clear_refs").write_text("5")  # VmHWM begins here
        self.start_bytes = _memory("VmRSS")
        self.started = time.monotonic()
        signal.signal(signal.SIGALRM, _hang)

    def __call__(self, content: bytes) -> None:
        """Try one input; the first that fails is kept and ends the process."""
        signal.alarm(SECONDS_PER_INPUT)
        try:
            self.events += self._trial(self.name, content)
        except BaseException:
            FAILURES.mkdir(parents=True, exist_ok=True)
            (FAILURES / f"{self.name}.failed").write_bytes(content)
            raise
        finally:
            signal.alarm(0)
        self.count += 1
        if self.count == self.inputs:
            print(json.dumps(self.report()), flush=True)

    def report(self) -> dict[str, Any]:
        """Figures of this run."""
        return {
            "importer": self.name,
            "inputs": self.count,
            "events": self.events,
            "seconds": round(time.monotonic() - self.started, 1),
            "grew_bytes": _memory("VmHWM") - self.start_bytes,
        }


def mutated(rng: random.Random, pool: list[bytes]) -> bytes:
    """An input made of one of `pool`: bytes flipped, lines moved, odd words put in, cut."""
    content = bytearray(rng.choice(pool))
    for _ in range(rng.randrange(1, 9)):
        at = rng.randrange(len(content) + 1)
        kind = rng.randrange(7)
        if kind == 0 and at < len(content):
            content[at] = rng.randrange(256)
        elif kind == 1:
            content[at:at] = rng.choice(ODD)
        elif kind == 2:
            del content[at : at + rng.randrange(1, 20)]
        elif kind == 3 and at < len(content):
            content[at] = rng.choice(b"0123456789abcdefx -+<>!=@(),#.\n")
        else:
            lines = bytes(content).splitlines(True) or [b"\n"]
            row = rng.randrange(len(lines))
            other = rng.choice(rng.choice(pool).splitlines(True) or [b"\n"])
            if kind == 4:
                lines.insert(row, other)
            elif kind == 5:
                lines[row : row + 1] = [lines[row]] * rng.randrange(0, 4)
            else:
                lines[row] = other
            content = bytearray(b"".join(lines))
    if rng.random() < 0.1:
        del content[rng.randrange(len(content) + 1) :]
    return bytes(content[:INPUT_BYTES])


def run_mutation(subject: Subject, seed: int) -> None:
    """Mutate the corpus; inputs that were read become part of what is mutated."""
    rng, pool = random.Random(seed), list(subject.corpus)
    while subject.count < subject.inputs:
        content, before = mutated(rng, pool), subject.events
        subject(content)
        if subject.events > before and rng.random() < 0.05:
            pool.append(content)
            if len(pool) > 500:
                pool.pop(rng.randrange(len(subject.corpus), len(pool)))


def run_atheris(name: str, inputs: int, seed: int) -> None:
    """Let libFuzzer choose the inputs; ends the process."""
    import atheris

    with atheris.instrument_imports(
        include=["heapwright.trace.importers", "heapwright.trace.gc_lines"],
        enable_loader_override=False,
    ):
        import heapwright.trace.importers

        own = () if name == "gc_log" else (name,)  # lies beside the importers
        for format_ in ("lines", "text", "calls", "source", *own):
            importlib.import_module(f"{heapwright.trace.importers.__name__}.{format_}")
    subject = Subject(name, inputs)
    folder = FAILURES / f"corpus-{name}"
    folder.mkdir(parents=True, exist_ok=True)
    for number, content in enumerate(subject.corpus):
        (folder / f"{number}").write_bytes(content)
    limit = (subject.start_bytes + ALLOWED_BYTES) >> 20
    options = [f"-runs={inputs}", f"-max_len={INPUT_BYTES}", f"-rss_limit_mb={limit}"]
    options += [f"-seed={seed}", "-verbosity=0", f"-timeout={SECONDS_PER_INPUT}"]
    atheris.Setup([sys.argv[0], *options, str(folder)], subject)
    atheris.Fuzz()


def main() -> None:
    """Run every importer in turn, each in a process of its own; status 1 if one failed."""
    from fuzz.trial import FORMATS

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--formats", default=",".join(FORMATS))
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--engine", choices=ENGINES, help="default: each that is installed")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.here:
        if chosen.engine == "atheris":
            run_atheris(chosen.formats, chosen.inputs, chosen.seed)
        else:
            run_mutation(Subject(chosen.formats, chosen.inputs), chosen.seed)
        return
    engines = [chosen.engine] if chosen.engine else _installed()
    runs = [(name, engine) for engine in engines for name in chosen.formats.split(",")]
    sound = [_run(name, engine, chosen) for name, engine in runs]
    sys.exit(0 if all(sound) else 1)


def _run(name: str, engine: str, chosen: argparse.Namespace) -> bool:
    """One importer under one engine; prints a line."""
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    environment |= (
        {"HEAPWRIGHT_INTERPRET": "1"} if engine == "atheris" else {"NUMBA_BOUNDSCHECK": "1"}
    )
    command = [sys.executable, "-m", "fuzz.run", "--here", f"--formats={name}"]
    command += [f"--inputs={chosen.inputs}", f"--engine={engine}", f"--seed={chosen.seed}"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    reports = [line for line in done.stdout.splitlines() if line.startswith('{"importer"')]
    if done.returncode or not reports:
        print(
            f"{name}: FAILED, see {FAILURES}\n{done.stdout[-2000:]}{done.stderr[-4000:]}",
            flush=True,
        )
        return False
    report = json.loads(reports[-1])
    small = report["grew_bytes"] <= ALLOWED_BYTES
    print(
        f"{name:<10} {engine}: {report['inputs']:,} inputs, {report['events']:,} events, "
        f"{report['seconds']:.0f} s, memory grew by {report['grew_bytes'] / 1e6:.0f} MB"
        f"{'' if small else ': TOO MUCH'}",
        flush=True,
    )
    return small


def _installed() -> list[str]:
    return [engine for engine in ENGINES if engine == "mutation" or find_spec(engine)]


def _memory(field: str) -> int:
    """A field of /proc/self/status, bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise LookupError(field)


def _hang(signum: int, frame: object) -> None:
    raise TimeoutError(f"one input took more than {SECONDS_PER_INPUT} s")


if __name__ == "__main__":
    main()
