"""Put an agent into a Java program that is to be recorded.

    java OPTIONS Main ─► the agent, built once against the headers of a JDK
                      ─► a JVM with the same OPTIONS is asked whether it takes the agent
                      ─► java AGENT OPTIONS Main

An agent that is refused, and options that contradict each other, are told in a sentence before the
program runs.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from heapwright.errors import HeapwrightError
from heapwright.trace.recorder.build import library

LEAST_RELEASE = 11  # whose tool interface tells of each allocation
FOLDERS = ("/usr/lib/jvm", "/usr/java", "/opt/java", "/opt/jdk")
PROBE_SECONDS = 60
# Options that choose the JVM, its heap and its collector; others may open ports or write files.
_OF_THE_HEAP = re.compile(
    r"-(?:X(?:mx|ms|mn|ss|int|comp)|XX:(?!.*(?:=.*/|Start|OnError|OnOut))"
    r"|client$|server$|minimal$|zero$)"
)


def is_java(program: str) -> bool:
    """Whether a command is the launcher of a JVM."""
    return Path(program).name == "java"


def with_agent(command: Sequence[str], agent: Path, log: Path) -> list[str]:
    """The command with the agent, and a log of its collections."""
    ours = [f"-agentpath:{agent}", f'-Xlog:gc*:file="{log}":uptime,level,tags:filecount=0']
    return [command[0], *ours, *command[1:]]


def java_agent(program: str, command: Sequence[str]) -> Path:
    """The agent's library, which the JVM of `command` takes; HeapwrightError, in a sentence, where
    there are no headers to build it with or it is refused."""
    agent = library("java", ("graph_log.c",), headers(program))
    asked = _asked([program, *heap_options(command), f"-agentpath:{agent}=probe", "-version"])
    if asked.returncode == 0:
        return agent
    plain = _asked([program, *heap_options(command), "-version"])
    lines = [line.strip() for line in (asked.stderr + asked.stdout).splitlines() if line.strip()]
    why = next((line for line in lines if line.startswith("heapwright: ")), "")
    if plain.returncode:
        said = [line for line in lines if not line.startswith("Error: Could not create")]
        said = [line for line in said if "fatal exception" not in line]
        told = next((line for line in said if "initialization of VM" not in line), "no word")
        raise HeapwrightError(f"cannot record {command[0]}: java refuses its options: {told}")
    release = re.search(r'version "(?:1\.)?(\d+)', plain.stderr)
    if release and int(release[1]) < LEAST_RELEASE:
        raise HeapwrightError(
            f"cannot record the objects of Java {release[1]}: it tells no agent of each "
            f"allocation; run the program on Java {LEAST_RELEASE} or later, or leave out --graph "
            "for what the JVM asks of malloc"
        )
    why = why.removeprefix("heapwright: ") or next(iter(lines), f"status {asked.returncode}")
    raise HeapwrightError(
        f"cannot record the objects of {command[0]}: {why}; record them on an OpenJDK from "
        f"{LEAST_RELEASE} on, or leave out --graph for what the JVM asks of malloc"
    )


def headers(program: str) -> list[Path]:
    """The folders of jvmti.h: of the JVM that runs, or of any other JDK here, as it is the same
    interface."""
    homes = [Path(program).resolve().parent.parent]
    if named := os.environ.get("JAVA_HOME"):
        homes.append(Path(named))
    if compiler := shutil.which("javac"):
        homes.append(Path(compiler).resolve().parent.parent)
    for folder in FOLDERS:
        if Path(folder).is_dir():
            homes += sorted(each for each in Path(folder).iterdir() if each.is_dir())
    for home in homes:
        if (home / "include" / "jvmti.h").is_file():
            return [home / "include", home / "include" / "linux"]
    raise HeapwrightError(
        "cannot record Java objects: no JDK here has include/jvmti.h to build the agent with; "
        "install one, apt install openjdk-17-jdk-headless, or name its folder in JAVA_HOME"
    )


def heap_options(command: Sequence[str]) -> list[str]:
    """Those of the command's options that say which JVM, heap and collector."""
    found: list[str] = []
    for each in command[1:]:
        if not each.startswith("-") or each in ("-jar", "-m", "--module"):
            if found and found[-1] in ("-cp", "-classpath"):
                continue
            break
        found.append(each)
    return [each for each in found if _OF_THE_HEAP.match(each)]


def _asked(command: list[str]) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(
            command, capture_output=True, text=True, timeout=PROBE_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HeapwrightError(f"cannot ask {command[0]} what it is: {error}") from None
