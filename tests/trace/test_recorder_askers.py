"""Who asked, without whole stacks: the program's own function, not operator new or strdup."""

import shutil
import subprocess
from collections import Counter

import pytest

import recorded

PROGRAM = r"""
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
static std::map<int, std::string> kept;
extern "C" __attribute__((noinline)) void fill_the_cache(int i) {
    kept[i] = "a string that is too long to be kept inside " + std::to_string(i);
}
extern "C" __attribute__((noinline)) void name_it(char **into) {
    *into = strdup("a name");
    strcpy(*into, "other");
}
OWN
int main() {
    char *name;
    for (int i = 0; i < 100; i++) fill_the_cache(i), name_it(&name);
    return 0;
}
"""
OWN_NEW = """
#include <new>
static void *volatile noted;
__attribute__((noinline)) void *operator new(std::size_t bytes) { return noted = malloc(bytes); }
void operator delete(void *p) noexcept { free(p); }
void operator delete(void *p, std::size_t) noexcept { free(p); }
"""


@pytest.mark.skipif(not shutil.which("c++"), reason="no C++ compiler")
@pytest.mark.parametrize("own", ["", OWN_NEW], ids=["the library's new", "its own"])
def test_the_programs_own_function_asked(tmp_path, own):
    source, program = tmp_path / "p.cpp", tmp_path / "p"
    source.write_text(PROGRAM.replace("OWN", own))
    subprocess.run(["c++", "-O2", "-g", "-o", program, source], check=True)
    _, trace = recorded.run(tmp_path, program)
    sites = recorded.all_events(trace).site
    names = trace.sites()
    asked = Counter(names[row].partition("(")[0].strip() for row in sites[sites >= 0].tolist())
    assert asked["name_it"] == 100
    assert asked["fill_the_cache"] >= 200, asked
    assert not [name for name in asked if "operator new" in name or "strdup" in name], asked
