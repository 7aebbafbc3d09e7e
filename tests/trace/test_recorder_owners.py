"""Whose malloc and operator new a program has, as its files tell."""

import shutil
import subprocess
import sys

import pytest

from heapwright.trace.notes import ELSEWHERE, of_kind
from heapwright.trace.recorder.absent import why_absent
from heapwright.trace.recorder.owners import NEW, defined, owners

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ELF"),
    pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler"),
]


def built(folder, name, source, *flags):
    (folder / "source.c").write_text(source)
    subprocess.run(["cc", "-O0", *flags, "-o", folder / name, folder / "source.c"], check=True)
    return str(folder / name)


def mapped(*paths):
    return "\n".join(
        f"{i + 1}000-{i + 2}000 r-xp 00000000 fe:00 1 {path}" for i, path in enumerate(paths)
    )


def test_what_files_define(tmp_path):
    pool = "static char pool[99999]; void *{}(unsigned long n) {{ return pool + n; }}\n"
    main = "int main(void) { return !malloc(10); }\n"
    own = built(tmp_path, "own", pool.format("malloc") + main, "-rdynamic", "-fno-builtin")
    plain = built(tmp_path, "plain", "#include <stdlib.h>\n" + main)
    library = built(tmp_path, "libown.so", pool.format("malloc"), "-shared", "-fPIC")
    news = built(tmp_path, "libnew.so", pool.format(NEW), "-shared", "-fPIC")
    assert defined(own, ("malloc", NEW)) == defined(library, ("malloc", NEW)) == {"malloc"}
    assert defined(plain, ("malloc", NEW)) == set()  # it asks for malloc, and defines none
    assert defined(news, ("malloc", NEW)) == {NEW}
    (tmp_path / "text").write_text("no program")
    assert defined(str(tmp_path / "text"), ("malloc",)) == defined("/nowhere", ("malloc",)) == set()
    told = owners(mapped(own, library, news, plain, "/usr/lib/libstdc++.so.6"), own)
    assert [note.split(" defines ")[0] for note in told] == ["own", "libown.so", "libnew.so"]
    assert of_kind(told, ELSEWHERE) == told
    assert "recorded on glibc's malloc instead" in told[1]
    assert why_absent(own) == "own defines malloc itself, so that nothing of it asks glibc"
