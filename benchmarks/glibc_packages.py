"""The versions of glibc that Debian's suites carry, unpacked beside the work; nothing is installed.

    python -m benchmarks.glibc_packages [FOLDER]        build/glibc by default

Each suite gets a sources list and an index of its own in the folder, so that this machine's apt
knows nothing of them. Where a package cannot be had, one line says so and the rest goes on.
"""

import subprocess
import sys
from pathlib import Path

SUITES = {"2.31": "bullseye", "2.36": "bookworm", "2.41": "trixie", "2.43": "unstable"}
MIRROR = "http://deb.debian.org/debian"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
FOLDER = Path("build/glibc")


def unpack(suite: str, folder: Path) -> str:
    """Fetch and unpack a suite's libc6 into `folder`/`suite`; "" or why that was not possible."""
    target = folder.absolute() / suite
    if target.exists():
        return ""
    apt = folder.absolute() / f".{suite}"
    for part in ("lists/partial", "cache/archives/partial", "package"):
        (apt / part).mkdir(parents=True, exist_ok=True)
    signed = f"[signed-by={KEYRING}] " if KEYRING.exists() else ""
    (apt / "sources.list").write_text(f"deb {signed}{MIRROR} {suite} main\n")
    told = {
        "Dir::Etc::SourceList": apt / "sources.list",
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::State::Lists": apt / "lists",
        "Dir::State::Status": "/dev/null",
        "Dir::Cache": apt / "cache",
        "APT::Architecture": "amd64",
        "APT::Sandbox::User": "root",
        "Acquire::Retries": "1",
        "Acquire::http::Timeout": "20",
    }
    options = [f"-o{name}={value}" for name, value in told.items()]
    for command in (["update"], ["download", "libc6"]):
        if why := _run(["apt-get", "-qq", *options, *command], apt / "package"):
            return why
    files = sorted((apt / "package").glob("libc6_*.deb"))
    if not files:
        return "apt-get downloaded nothing"
    beside = folder.absolute() / f".{suite}.partial"
    why = _run(["dpkg", "-x", str(files[-1]), str(beside)], apt)
    if not why:
        beside.rename(target)
    return why


def _run(command: list[str], folder: Path) -> str:
    """Run it there; "" or its last words."""
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    except OSError as error:
        return f"{command[0]}: {error.strerror}"
    lines = [line for line in done.stderr.splitlines() if line.startswith("E:")]
    return (lines or [f"{command[0]} ended with status {done.returncode}"])[0] * bool(
        done.returncode
    )


def unpacked(folder: Path = FOLDER) -> Path:
    """The folder with every suite's glibc that could be had; says on stderr what could not."""
    folder.mkdir(parents=True, exist_ok=True)
    for version, suite in SUITES.items():
        if why := unpack(suite, folder):
            print(f"glibc {version} of Debian's {suite} is left out: {why}", file=sys.stderr)
    return folder


if __name__ == "__main__":
    print(unpacked(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER))
