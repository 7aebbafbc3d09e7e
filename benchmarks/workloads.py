# ruff: noqa: E501  programs in other languages keep their lines
"""Real programs that allocate a lot; their inputs are generated here, always the same.

    python benchmarks/workloads.py OUT [--scale small|full] [--only lua,perl]

records each as OUT/NAME.heap.parquet. Small scale makes about 50 to 300 thousand events, for
tests; full makes millions. A workload whose program is not installed is left out.
"""

import argparse
import json
import os
import random
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple


class Workload(NamedTuple):
    """A program to run: `subprocess.run(command, env={**os.environ, **environment})`."""

    name: str
    command: list[str]
    environment: dict[str, str]


def _sqlite3(folder: Path, scale: int) -> list[str]:
    script = folder / "mix.sql"
    rows = 1200 * scale
    script.write_text(
        "create table item(id integer primary key, name text, price real, tag text);\n"
        "create index by_tag on item(tag);\n"
        "begin;\n"
        + "".join(
            f"insert into item values({i}, 'item {i * 7919 % rows}', {i % 97}.5, 't{i % 211}');\n"
            for i in range(rows)
        )
        + "commit;\n"
        + "".join(
            f"select count(*), avg(price), max(name) from item where tag = 't{i % 211}' and id > {i};\n"
            f"update item set price = price + 1 where id = {i * 31 % rows};\n"
            for i in range(rows // 4)
        )
        + "select tag, group_concat(name) from item group by tag order by length(tag), tag limit 5;\n"
        "delete from item where id % 3 = 0;\n"
    )
    return ["sqlite3", ":memory:", "-init", "/dev/null", f".read {script}"]


def _lua(folder: Path, scale: int) -> list[str]:
    script = folder / "trees.lua"
    script.write_text(
        f"local rounds = {2 * scale}\n"
        """
local function tree(depth)
  if depth == 0 then return {value = 1} end
  return {left = tree(depth - 1), right = tree(depth - 1), name = "node" .. depth}
end
local function count(t) return t.left and 1 + count(t.left) + count(t.right) or 1 end
local kept, words = {}, {}
for round = 1, rounds do
  local t = tree(9)
  if round % 4 == 0 then kept[#kept + 1] = t end
  if round % 16 == 0 then kept[#kept // 2 + 1] = nil end
  for i = 1, 400 do words[i .. ":" .. round] = string.rep("x", i % 60) end
  if round % 8 == 0 then words = {} end
  assert(count(t) == 1023)
end
"""
    )
    return ["lua5.4", str(script)]


def _perl(folder: Path, scale: int) -> list[str]:
    script = folder / "words.pl"
    script.write_text(
        f"my $rounds = {2 * scale};\n"
        """
use strict;
my %index; my @kept; my $seed = 42;
sub draw { $seed = ($seed * 1103515245 + 12345) % 2147483648; return $seed % $_[0]; }
for my $round (1 .. $rounds) {
  my @words = map { join "", map { chr(97 + draw(26)) } 1 .. 3 + draw(12) } 1 .. 300;
  push @{$index{substr($_, 0, 2)}}, { word => $_, round => $round } for @words;
  my $text = join " ", sort @words;
  $text =~ s/(\\w+)e/<$1>/g;
  push @kept, $text if $round % 3 == 0;
  if ($round % 50 == 0) { delete $index{$_} for (sort keys %index)[0 .. 99]; splice @kept, 0, 8; }
}
print scalar(keys %index) > 0 ? "ok\\n" : "empty\\n";
"""
    )
    return ["perl", str(script)]


def _git(folder: Path, scale: int) -> list[str]:
    repository = folder / "repository"
    shutil.rmtree(repository, ignore_errors=True)
    draw = random.Random(5)
    stream = []
    lines = {f"src/file{n}.c": [f"int value{n}_{i} = {i};" for i in range(60)] for n in range(40)}
    for commit in range(12 * scale):
        text = f"Change {commit}\n"
        stream.append(
            "commit refs/heads/main\n"
            f"committer A <a@example.org> {1600000000 + commit * 600} +0000\ndata {len(text)}\n{text}"
        )
        for _ in range(2):
            path = draw.choice(sorted(lines))
            body = lines[path]
            body[draw.randrange(len(body))] = f"int changed{commit} = {draw.randrange(10**6)};"
            body.insert(draw.randrange(len(body)), f"/* {draw.random()} */")
            data = "\n".join(body) + "\n"
            stream.append(f"M 100644 inline {path}\ndata {len(data)}\n{data}\n")
    subprocess.run(["git", "init", "-q", "-b", "main", str(repository)], check=True)
    subprocess.run(
        ["git", "-C", str(repository), "fast-import", "--quiet"],
        input="".join(stream).encode(),
        check=True,
    )
    return ["git", "--no-pager", "-C", str(repository), "log", "-p", "--stat", "-M", "main"]


def _c_source(folder: Path, functions: int) -> Path:
    source = folder / "generated.c"
    draw = random.Random(11)
    parts = [
        "typedef struct node { struct node *next; long key; double weight; char name[24]; } node;\n"
    ]
    for n in range(functions):
        parts.append(
            f"static long work{n}(node *list, long a, long b) {{\n"
            f"  long sum = {draw.randrange(1000)};\n"
            f"  for (node *p = list; p; p = p->next) {{\n"
            f"    switch ((p->key + a) % 7) {{\n"
            f"      case 0: sum += p->key * {draw.randrange(2, 99)}; break;\n"
            f"      case 1: sum ^= (long)(p->weight * {draw.random()}); break;\n"
            f"      case 2: for (int i = 0; i < b; i++) sum += p->name[i % 24] << (i & {draw.randrange(1, 31)}); break;\n"
            f"      default: sum -= a * b + {draw.randrange(1000)};\n"
            f"    }}\n"
            f"    if (sum > {draw.randrange(10**6)}) sum = sum / 3 + {f'work{n - 1}(p->next, b, a)' if n else '1'};\n"
            f"  }}\n  return sum;\n}}\n"
        )
    parts.append(f"long entry(node *list) {{ return work{functions - 1}(list, 3, 9); }}\n")
    source.write_text("".join(parts))
    return source


def _compiler_proper(driver: str, source: Path) -> list[str]:
    """The command of `cc1` or `cc1plus`, the process that compiles; the driver only starts it."""
    if not shutil.which(driver):
        return [driver]
    asked = [driver, "-O2", "-S", "-###", str(source), "-o", str(source.with_suffix(".s"))]
    done = subprocess.run(asked, capture_output=True, text=True, check=True)
    return shlex.split(
        next(line for line in done.stderr.splitlines() if "/cc1" in line.split(" -")[0])
    )


def _gcc(folder: Path, scale: int) -> list[str]:
    return _compiler_proper("gcc", _c_source(folder, scale))


def _gxx(folder: Path, scale: int) -> list[str]:
    source = folder / "generated.cpp"
    large = scale > 20
    headers = ["vector", "map", "string", "algorithm", "regex"] if large else ["utility"]
    parts = [f"#include <{header}>\n" for header in headers]
    for n in range(scale):
        parts.append(
            f"template <int N> struct row{n} {{ std::pair<int, long> p[N]; "
            f"long sum() const {{ long s = {n}; for (auto &q : p) s += q.first * q.second; return s; }} }};\n"
            f"long use{n}() {{ row{n}<{n + 2}> a{{}}; row{n}<{n + 3}> b{{}}; return a.sum() + b.sum(); }}\n"
        )
        if large:
            parts.append(
                f"struct less{n} {{ bool operator()(long a, long b) const {{ return a % {n + 2} < b % {n + 2}; }} }};\n"
                f"std::map<std::string, std::vector<long>, std::less<>> m{n};\n"
                f"void fill{n}(const std::string &s) {{ auto &v = m{n}[s]; v.push_back({n}); "
                f"std::sort(v.begin(), v.end(), less{n}()); }}\n"
            )
    if large:
        parts.append(
            'bool hit(const std::string &s) { return std::regex_match(s, std::regex("[a-z]+")); }\n'
        )
    source.write_text("".join(parts))
    return _compiler_proper("g++", source)


def _python(folder: Path, scale: int) -> list[str]:
    script = folder / "documents.py"
    script.write_text(
        f"rounds, people = {scale}, {100 if scale < 20 else 2000}\n"
        """
import json, random
draw = random.Random(1)
users = [{"id": i, "name": f"user{i}", "scores": [draw.random() for _ in range(6)],
          "tags": {f"t{draw.randrange(50)}": str(draw.random()) for _ in range(4)}} for i in range(people)]
kept = []
for round in range(rounds):
    users[round % people]["name"] += "'"
    document = json.loads(json.dumps(users[: people // 2 + draw.randrange(people // 2)]))
    if draw.random() < 0.25:
        kept.append(document)
    if len(kept) > 12:
        del kept[draw.randrange(len(kept))]
"""
    )
    return [sys.executable, "-S", str(script)]


def _ruby(folder: Path, scale: int) -> list[str]:
    script = folder / "words.rb"
    script.write_text(
        f"rounds = {scale}\n"
        """
draw = Random.new(3)
index = Hash.new { |h, k| h[k] = [] }
kept = []
rounds.times do |round|
  words = Array.new(600) { Array.new(4 + draw.rand(40)) { (97 + draw.rand(26)).chr }.join }
  words.each { |w| index[w[0, 2]] << { word: w, at: round } }
  text = words.sort.join(" ").gsub(/(\\w+)e/) { "<#{$1}>" }
  kept << text if round % 3 == 0
  index.keys.first(90).each { |k| index.delete(k) } if round % 20 == 19
  kept.shift if kept.size > 40
end
"""
    )
    return ["ruby", "--disable-gems", str(script)]


# name: (maker, environment, scale factor of small, of full)
_TABLE: dict[str, tuple[Callable[[Path, int], list[str]], dict[str, str], int, int]] = {
    "sqlite3": (_sqlite3, {}, 2, 60),
    "lua": (_lua, {}, 12, 500),
    "perl": (_perl, {}, 20, 600),
    "git": (_git, {"GIT_CONFIG_NOSYSTEM": "1", "HOME": "/nonexistent"}, 20, 400),
    "gcc": (_gcc, {}, 6, 140),
    "g++": (_gxx, {}, 8, 50),
    "python": (_python, {"PYTHONMALLOC": "malloc", "PYTHONHASHSEED": "0"}, 18, 60),
    "ruby": (_ruby, {}, 12, 1600),
}
NAMES = tuple(_TABLE)


def workload(name: str, folder: Path, scale: str = "small") -> Workload | None:
    """The workload `name` with its inputs written to `folder`; None where its program is missing.

    `scale` is "small" or "full".
    """
    maker, environment, small, full = _TABLE[name]
    folder.mkdir(parents=True, exist_ok=True)
    if name == "git" and not shutil.which("git"):
        return None
    command = maker(folder, small if scale == "small" else full)
    program = shutil.which(command[0])
    return Workload(name, [program, *command[1:]], environment) if program else None


def main() -> None:
    """Record the workloads; print a JSON object with a row for each."""
    from heapwright.trace.recorder.session import record

    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--scale", choices=("small", "full"), default="small")
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(NAMES))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    rows = {}
    for name in options.only:
        chosen = workload(name, options.out / "inputs" / name, options.scale)
        if chosen is None:
            continue
        out = options.out / f"{name}.heap.parquet"
        silent = ["sh", "-c", 'exec "$0" "$@" >/dev/null', *chosen.command]
        status, traces = record(silent, out, environment={**os.environ, **chosen.environment})
        rows[name] = {
            "status": status,
            "events": traces[0].events,
            "unmatched_frees": traces[0].unmatched_frees,
            "bytes": out.stat().st_size,
        }
        print(name, rows[name], file=sys.stderr)
    print(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
