"""Boot real Linux kernels and have them write down what their allocators hold: the full samples.

    python -m benchmarks.linux_boot build/linux [--only scripted,reclaim]

    Debian's packages ─► kernel, headers, source, busybox      benchmarks/linux/record.c ─► module
    Debian's kernel in an emulated machine  ─► scripted, boot, pages, slab, swap, reclaim, malloc
    a user-mode kernel built from the source ─► scripted
    mm/memblock.c                            ─► memblock.so

The samples lie in FOLDER/samples, as `make agreement-linux` and `benchmarks.linux_keys` read them.
It needs Debian's apt, a C compiler, make, flex, bison, bc and libelf-dev, and qemu-system-x86 for
the emulated machine. All of the kernel is built in place, in FOLDER: its text is under the GPL, and
none of it is in this repository. What is there already is not made again. About ten minutes.
"""

import argparse
import gzip
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from heapwright.trace.exports import export
from heapwright.trace.programs import synthesise
from heapwright.trace.store import Trace

PROGRAM = "log-uniform"  # whose mallocs are run under a limit
HERE = Path(__file__).parent / "linux"
USUAL = "slab_nomerge init_on_alloc=0 page_alloc.shuffle=0 transparent_hugepage=never"
SAME = "norandmaps random.trust_cpu=off random.trust_bootloader=off"  # the same bits at every boot
COUNTED = ("-icount", "shift=0,sleep=off", "-rtc", "base=2024-01-01,clock=vm", "-cpu", "qemu64")
KMEM = ("mm_page_alloc", "mm_page_free", "mm_page_free_batched", "kmalloc", "kfree")
TRACED = ",".join(f"kmem:{each}" for each in (*KMEM, "kmem_cache_alloc", "kmem_cache_free"))
JOBS = {  # of the emulated machine: its memory, its command line
    "scripted": ("256M", "quiet"),
    "boot": ("256M", f"memblock=debug trace_event={TRACED} trace_buf_size=32M"),
    "pages": ("256M", "quiet"),
    "slab": ("256M", "quiet"),
    "swap": ("192M", "quiet"),
    "reclaim": ("256M", "quiet"),
    "malloc": ("512M", "quiet"),
}
DISK = ("virtio", "virtio_ring", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci")
SECONDS = 1500  # for a boot


def say(text: str) -> None:
    """Progress, on stderr."""
    print(text, file=sys.stderr, flush=True)


def run(*words: str | Path, cwd: Path | None = None, log: Path | None = None) -> None:
    """Run a command to its end; its output into `log` or nowhere."""
    out = log.open("ab") if log else subprocess.DEVNULL
    subprocess.run([str(word) for word in words], cwd=cwd, check=True, stdout=out, stderr=out)


class Kernels:
    """What is fetched and built, in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.log = self.folder / "log"
        self.samples = self.folder / "samples"
        for name in ("packages", "samples"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)

    def fetch(self) -> None:
        """Debian's packages, unpacked and not installed."""
        if (self.folder / "root").is_dir():
            return
        told = subprocess.run(
            ["apt-cache", "depends", "linux-image-amd64"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        found = re.findall(r"linux-image-(6\.1\.0-\d+)-amd64", told)
        if not found:
            sys.exit("apt knows no linux-image-6.1.0-N-amd64: this needs Debian 12's packages.")
        names = [f"linux-image-{found[-1]}-amd64", f"linux-headers-{found[-1]}-amd64"]
        names += [f"linux-headers-{found[-1]}-common", "linux-kbuild-6.1", "linux-source-6.1"]
        say("fetching Debian's kernel")
        packages, beside = self.folder / "packages", self.folder / "root.partial"
        run("apt-get", "download", *names, "busybox-static", cwd=packages, log=self.log)
        for package in packages.glob("*.deb"):
            run("dpkg", "-x", package, beside, log=self.log)
        run("tar", "xf", beside / "usr/src/linux-source-6.1.tar.xz", "-C", beside, log=self.log)
        beside.rename(self.folder / "root")

    @property
    def root(self) -> Path:
        """Where the packages are unpacked."""
        return self.folder / "root"

    @property
    def source(self) -> Path:
        """The kernel's source."""
        return self.root / "linux-source-6.1"

    @property
    def image(self) -> Path:
        """Debian's kernel."""
        return next((self.root / "boot").glob("vmlinuz-*"))

    @property
    def version(self) -> str:
        """As 6.1.192: of the package."""
        package = next((self.folder / "packages").glob("linux-source-6.1_*"))
        return package.name.split("_")[1].split("-")[0]

    def driver(self, name: str) -> Path:
        """A module of Debian's kernel."""
        return next((self.root / "lib/modules").glob(f"*/kernel/drivers/**/{name}.ko"))

    def module(self, kernel: str) -> Path:
        """The recording module, for "debian" or "um"."""
        folder = self.folder / f"module-{kernel}"
        made = folder / "record.ko"
        if made.is_file() and made.stat().st_mtime > (HERE / "record.c").stat().st_mtime:
            return made
        say(f"building the module for {kernel}")
        folder.mkdir(exist_ok=True)
        for name in ("record.c", "scripts.h"):
            shutil.copy(HERE / name, folder)
        (folder / "Makefile").write_text("obj-m := record.o\nccflags-y := -g0\n")
        if kernel == "um":
            run(
                "make",
                "-C",
                self.user_mode().parent,
                "ARCH=um",
                f"M={folder}",
                "modules",
                log=self.log,
            )
            return made
        headers = next((self.root / "usr/src").glob("linux-headers-*-amd64"))
        makefile = (
            headers / "Makefile"
        )  # it names the folder that the package would be installed in
        own = "include $(dir $(realpath $(lastword $(MAKEFILE_LIST))))../"
        makefile.write_text(makefile.read_text().replace("include /usr/src/", own))
        run("make", "-C", headers, f"M={folder}", "modules", log=self.log)
        return made

    def user_mode(self) -> Path:
        """A kernel that is a process, built from the source: four minutes of processor time."""
        build = self.folder / "um"
        if (build / "Module.symvers").is_file():
            return build / "linux"
        say("building a user-mode kernel")
        registers = self.source / "arch/x86/um/os-Linux/registers.c"
        text = registers.read_text()  # its buffer is too small for what new processors save
        registers.write_text(text.replace("have_xstate_support = 1;", "have_xstate_support = 0;"))
        build.mkdir(exist_ok=True)
        parts = [self.source / f"kernel/configs/{name}.config" for name in ("tiny-base", "tiny")]
        chosen = self.folder / "um.config"
        chosen.write_text("".join(part.read_text() for part in [*parts, HERE / "um.config"]))
        um = ("make", "-C", build, "ARCH=um")
        first = ("make", "-C", self.source, f"O={build}", "ARCH=um", f"KCONFIG_ALLCONFIG={chosen}")
        run(*first, "allnoconfig", log=self.log)
        run(*um, "-j2", "linux", log=self.log)
        run(*um, "modules_prepare", log=self.log)
        shutil.copy(build / "vmlinux.symvers", build / "Module.symvers")
        return build / "linux"

    def program(self, name: str) -> Path:
        """A program of benchmarks/linux/, that needs nothing beside it."""
        made = self.folder / name
        run("gcc", "-Os", "-static", "-o", made, HERE / f"{name}.c", log=self.log)
        return made

    def recording(self) -> Path:
        """The mallocs of a synthetic program, as text."""
        trace, text = self.folder / "program.heap.parquet", self.folder / "program.rep"
        if not text.is_file():
            synthesise(PROGRAM, trace, {}, lambda made: None)
            export(Trace.open(trace), "csapp", text)
        return text

    def initrd(self, job: str, module: Path) -> Path:
        """The files of a guest that runs a job."""
        files: dict[str, Path | None] = dict.fromkeys(("bin", "proc", "sys", "dev", "tmp"))
        files |= {"h": None, "m": None, "init": HERE / "init.sh", "job": HERE / f"{job}.job"}
        files |= {"bin/busybox": self.root / "bin/busybox", "record.ko": module}
        if job in ("swap", "reclaim"):
            files["pages"] = self.program("pages")
            for name in ("brd", "virtio_blk", *DISK):
                files[f"m/{name}.ko"] = self.driver(name)
        if job == "malloc":
            files |= {"replay": self.program("replay"), "trace.rep": self.recording()}
            files["m/brd.ko"] = self.driver("brd")
        path = self.folder / f"{job}-{module.parent.name}.gz"
        with path.open("wb") as raw, gzip.GzipFile("", "wb", 1, raw, mtime=0) as packed:
            packed.write(archive(files))
        return path

    def emulated(self, job: str) -> None:
        """Boot Debian's kernel in an emulated machine and keep what it told of a job."""
        memory, line = JOBS[job]
        guest = self.initrd(job, self.module("debian"))
        folder = self.folder / f"boot-{job}"
        folder.mkdir(exist_ok=True)
        say(f"booting Debian's kernel: {job}")
        words = ["qemu-system-x86_64", "-accel", "tcg", "-M", "pc", "-m", memory, "-smp", "1"]
        words += ["-nodefaults", "-display", "none", "-no-reboot"]
        words += ["-serial", f"file:{folder / 'console'}", "-serial", f"file:{folder / 'ttyS1'}"]
        words += ["-debugcon", f"file:{folder / 'debugcon'}"]
        if job != "swap":  # a disk's time is the host's: it is never the same bits again
            words += COUNTED
        else:
            disk = folder / "disk"
            disk.write_bytes(b"")
            subprocess.run(["truncate", "-s", "512M", str(disk)], check=True)
            words += ["-drive", f"file={disk},if=none,id=s,format=raw"]
            words += ["-device", "virtio-blk-pci,drive=s"]
        words += ["-kernel", str(self.image), "-initrd", str(guest), "-append"]
        words.append(
            f"console=ttyS0 panic=-1 no_timer_check nokaslr mitigations=off {USUAL} {SAME} {line}"
        )
        subprocess.run(words, check=True, timeout=SECONDS, stdin=subprocess.DEVNULL)
        self.keep(job, folder)

    def keep(self, job: str, folder: Path) -> None:
        """Pack what a guest told into the samples."""
        if job == "scripted":
            packed(folder / "debugcon", self.samples / "scripted" / "debian.dump.gz")
            return
        there = self.samples / f"debian-{self.version}-{job}"
        if job in ("reclaim", "malloc"):
            packed(folder / "ttyS1", there / f"{job}.gz")
            return
        for name in ("ttyS1", "debugcon", *(["console"] if job == "boot" else [])):
            packed(folder / name, there / f"{name}.gz")

    def as_process(self) -> None:
        """Boot the user-mode kernel with the scripts: a fifth of a second."""
        kernel = self.user_mode()
        guest = self.initrd("scripted", self.module("um"))
        folder = self.folder / "boot-um"
        folder.mkdir(exist_ok=True)
        say("booting the user-mode kernel: scripted")
        plain = "GLIBC_TUNABLES=glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX512BW,-AVX2,-AVX"
        words = [
            "setarch",
            "-R",
            str(kernel),
            "mem=64M",
            f"initrd={guest}",
            "rdinit=/init",
            "con=null",
        ]
        words += [
            "con0=null,fd:1",
            "ssl=null",
            f"HOSTDIR={folder}",
            plain,
            "slab_nomerge",
            "norandmaps",
        ]
        with self.log.open("ab") as log:
            subprocess.run(
                [*words, "time-travel=inf-cpu"],
                check=False,  # it has no way to say how it ended: its file does
                timeout=SECONDS,
                stdin=subprocess.DEVNULL,
                stdout=log,
            )
        packed(folder / "twin", self.samples / "scripted" / "uml.dump.gz")

    def memblock(self) -> Path:
        """The real mm/memblock.c as a library."""
        made = self.folder / "memblock.so"
        if not made.is_file():
            say("building memblock as a library")
            run("sh", HERE / "memblock.sh", self.source, made, log=self.log)
        return made


def packed(path: Path, into: Path) -> None:
    """A guest's file among the samples; what it did not write is an error."""
    if not path.is_file() or not path.stat().st_size:
        sys.exit(f"{path} was not written: see what the guest said beside it, and the log.")
    into.parent.mkdir(parents=True, exist_ok=True)
    with path.open("rb") as told, gzip.GzipFile(into, "wb", 9, mtime=0) as out:
        shutil.copyfileobj(told, out)


def archive(files: dict[str, Path | None]) -> bytes:
    """A cpio archive (newc) of these files by their names in it; None is a folder."""
    found = bytearray()
    for number, (name, path) in enumerate([*files.items(), ("TRAILER!!!", HERE / "init.sh")], 1):
        last = name == "TRAILER!!!"
        data = b"" if path is None or last else path.read_bytes()
        mode = 0 if last else 0o40755 if path is None else 0o100755
        fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
        found += b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
        found += bytes(-len(found) % 4) + data
        found += bytes(-len(found) % 4)
    return bytes(found)


def missing(names: Sequence[str]) -> list[str]:
    """Of these programs, what is not installed."""
    return [name for name in names if not shutil.which(name)]


def main() -> int:
    """Fetch, build, boot, keep."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default="", help=f"of {', '.join([*JOBS, 'um', 'memblock'])}")
    chosen = parser.parse_args()
    wanted = chosen.only.split(",") if chosen.only else [*JOBS, "um", "memblock"]
    if unknown := [each for each in wanted if each not in (*JOBS, "um", "memblock")]:
        sys.exit(f"--only {unknown[0]}: there are {', '.join([*JOBS, 'um', 'memblock'])}.")
    needed = ["apt-get", "dpkg", "gcc", "make", "bc", "flex", "bison"]
    if lacking := missing([*needed, *(["qemu-system-x86_64"] if set(wanted) & set(JOBS) else [])]):
        sys.exit(
            f"not installed: {', '.join(lacking)} (of qemu-system-x86, else of such packages)."
        )
    kernels = Kernels(chosen.folder)
    kernels.fetch()
    for job in wanted:
        if job == "um":
            kernels.as_process()
        elif job == "memblock":
            kernels.memblock()
        else:
            kernels.emulated(job)
    print(kernels.samples)
    return 0


if __name__ == "__main__":
    sys.exit(main())
