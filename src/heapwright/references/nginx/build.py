"""nginx's ngx_slab.c, found in its sources, and built with a shim for the rest of nginx."""

import os
from pathlib import Path

from heapwright.errors import HeapwrightError
from heapwright.references.c_program import executable

VARIABLE = "HEAPWRIGHT_NGINX"  # names a folder with nginx's sources
SLAB = Path("src/core/ngx_slab.c")
FLAGS = ("-O2", "-std=gnu11", "-w")


def sources() -> Path | None:
    """The folder that the environment names, if nginx's sources are there."""
    folder = Path(os.environ.get(VARIABLE) or "/nowhere")
    return folder if (folder / SLAB).exists() else None


def missing() -> str:
    """What to do so that it can be driven; "" when nothing is missing."""
    if sources():
        return ""
    if named := os.environ.get(VARIABLE):
        return f"{VARIABLE} names {named}, which has no {SLAB}"
    return (
        f"nginx's sources are not here; unpack them, on Debian and Ubuntu by apt source nginx, and "
        f"let {VARIABLE} name the folder"
    )


def version() -> str:
    """What the sources say their version is, as "1.22.1"; "unknown" where they do not."""
    folder = sources()
    header = folder / "src/core/nginx.h" if folder else None
    if header is None or not header.exists():
        return "unknown"
    for line in header.read_text(errors="replace").splitlines():
        if line.startswith("#define NGINX_VERSION"):
            return line.split('"')[1]
    return "unknown"


def driver() -> Path:
    """The executable; HeapwrightError without sources or a compiler."""
    folder = sources()
    if folder is None:
        raise HeapwrightError(f"driving the real nginx-slab: {missing()}.")
    here, core = Path(__file__).parent, (folder / SLAB).parent
    shim = here / "shim"
    headers = [shim / "ngx_config.h", shim / "ngx_core.h", core / "ngx_slab.h"]
    flags = [*FLAGS, f"-I{shim}", f"-I{core}"]
    return executable(
        "nginx's slab", "nginx-slab", [here / "drive.c", folder / SLAB], headers, flags
    )
