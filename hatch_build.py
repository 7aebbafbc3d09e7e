"""Put the recorder's library into a wheel, for machines that have no C compiler.

Where there is none at build time either, the wheel is for every machine and the recorder says what
to do. See `heapwright/trace/recorder/build.py`.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

RECORDERS = ("recorder", "graph", "attach")


class RecorderHook(BuildHookInterface[Any]):
    """Compiles each recorder before the files of a wheel are collected."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the libraries, and say that the wheel is for this kind of machine."""
        compiler = shutil.which(os.environ.get("CC") or "cc")
        if version == "editable" or not compiler or not sys.platform.startswith("linux"):
            return
        folder = Path(self.root) / "src" / "heapwright" / "trace" / "recorder"
        flags = (folder / "flags.txt").read_text().split()
        for name in RECORDERS:
            built = Path(self.directory) / f"{name}.so"
            built.parent.mkdir(parents=True, exist_ok=True)
            sources = map(str, sorted(folder.glob(f"{name}*.c")))
            command = [compiler, "-o", str(built), *sources, *flags]
            if subprocess.run(command, check=False).returncode:
                return
            # In a folder: `graph.so` beside `graph.py` is what Python would import.
            build_data["force_include"][str(built)] = (
                f"heapwright/trace/recorder/prebuilt/{name}.so"
            )
        build_data["pure_python"] = False
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["tag"] = f"py3-none-{platform}"
