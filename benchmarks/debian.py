"""Packages of Debian's suites, fetched into a folder; nothing is installed.

Each folder gets a sources list and an index of its own, so that this machine's apt knows nothing of
them.
"""

import subprocess
from pathlib import Path

MIRROR = "http://deb.debian.org/debian"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


def fetch(suite: str, folder: Path, command: list[str], *, source: bool = False) -> str:
    """Run an `apt-get` command of a suite, whose files come to `folder`/package; "" or why that was
    not possible. With `source` the suite's sources are known, else its binary packages."""
    apt = folder.absolute()
    for part in ("lists/partial", "cache/archives/partial", "package"):
        (apt / part).mkdir(parents=True, exist_ok=True)
    signed = f"[signed-by={KEYRING}] " if KEYRING.exists() else ""
    kind = "deb-src" if source else "deb"
    (apt / "sources.list").write_text(f"{kind} {signed}{MIRROR} {suite} main\n")
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
    for each in (["update"], command):
        if why := run(["apt-get", "-qq", *options, *each], apt / "package"):
            return why
    return ""


def unpack(suite: str, packages: list[str], target: Path) -> str:
    """Fetch a suite's packages and unpack them into `target`, unless it is there; "" or why that
    was not possible."""
    if target.exists():
        return ""
    apt = target.absolute().parent / f".{target.name}"
    if why := fetch(suite, apt, ["download", *packages]):
        return why
    beside = target.absolute().parent / f".{target.name}.partial"
    for package in packages:
        files = sorted((apt / "package").glob(f"{package}_*.deb"))
        if not files:
            return f"apt-get downloaded no {package}"
        if why := run(["dpkg", "-x", str(files[-1]), str(beside)], apt):
            return why
    beside.rename(target)
    return ""


def run(command: list[str], folder: Path) -> str:
    """Run it there; "" or its last words."""
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    except OSError as error:
        return f"{command[0]}: {error.strerror}"
    lines = [line for line in done.stderr.splitlines() if line.startswith("E:")]
    return (lines or [f"{command[0]} ended with status {done.returncode}"])[0] * bool(
        done.returncode
    )
