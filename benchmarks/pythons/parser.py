"""Python's own library, parsed: a syntax tree of each module, what it defines and uses kept in an
index of names."""

import ast
import sys
import time
import tokenize
from collections import defaultdict
from pathlib import Path

MODULES, TREES = 260, 12

defined, used, trees = defaultdict(list), defaultdict(set), []
library = Path(ast.__file__).parent
for path in sorted(library.glob("*.py"))[:MODULES]:
    try:
        source = path.read_bytes()
        tree = ast.parse(source, str(path))
        with open(path, "rb") as file:
            words = [token.string for token in tokenize.tokenize(file.readline)]
    except (SyntaxError, tokenize.TokenError):
        continue
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            defined[node.name].append((path.name, node.lineno, ast.get_docstring(node)))
        elif isinstance(node, ast.Name):
            used[node.id].add((path.name, node.lineno))
    trees.append((tree, len(words)))
    del trees[:-TREES], tree, words, source
sys.stdout.write(f"{len(defined)} {len(used)}\n")
trees.clear()
time.sleep(1.5)
