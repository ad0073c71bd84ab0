#!/usr/bin/env python3
"""Files of a crate that import one another in a circle.

    scripts/check/circles.py [--max 2] [FOLDER/src ...]

Reads `crate::` and `super::` paths outside of tests, and prints for each crate its files, its imports, and the largest circle of
files. A module that only declares and re-exports its children belongs to none. Fails when a circle has more than --max files.
"""

import argparse
import pathlib
import re
import sys

PATH = re.compile(r"\b(?:crate|super)(?:::\w+)+")
GROUP = re.compile(r"\b((?:crate|super)(?:::\w+)*)::\{([^{}]*)\}")
TESTS = re.compile(r"#\[cfg\(test\)\]\s*mod \w+ \{.*\Z", re.S)
COMMENT = re.compile(r"//.*")
REEXPORT = re.compile(r"\bpub(?:\(crate\))? use [^;]*;")


def module_of(file, root):
    parts = list(file.relative_to(root).with_suffix("").parts)
    if parts[-1] in ("mod", "lib", "main"):
        parts.pop()
    return tuple(parts)


def paths_in(text):
    """Every path, those of nested braces too."""
    found = []
    while True:
        text, count = GROUP.subn(lambda group: " ".join(f"{group[1]}::{part.strip()}" for part in group[2].split(",")), text)
        if not count:
            break
    for path in PATH.findall(text):
        found.append(path.split("::"))
    return found


def resolve(path, module, modules):
    parts = list(module) if path[0] == "super" else []
    for word in path:
        if word == "super":
            parts = parts[:-1]
        elif word != "crate":
            parts.append(word)
    while parts and tuple(parts) not in modules:
        parts.pop()
    return tuple(parts)


def imports_of(root):
    files = [file for file in sorted(root.rglob("*.rs")) if "tests" not in file.relative_to(root).with_suffix("").parts]
    modules = {module_of(file, root): file for file in files}
    graph = {}
    for module, file in modules.items():
        text = COMMENT.sub("", TESTS.sub("", file.read_text()))
        if file.stem in ("mod", "lib"):
            text = REEXPORT.sub("", text)
        targets = {resolve(path, module, modules) for path in paths_in(text)}
        graph[module] = {target for target in targets if target in modules and target != module}
    return graph


def circles(graph):
    """Strongly connected components, after Tarjan (Depth-first search and linear graph algorithms, 1972)."""
    number, low, stack, found = {}, {}, [], []

    def visit(node):
        number[node] = low[node] = len(number)
        stack.append(node)
        for target in graph[node]:
            if target not in number:
                visit(target)
                low[node] = min(low[node], low[target])
            elif target in stack:
                low[node] = min(low[node], number[target])
        if low[node] == number[node]:
            at = stack.index(node)
            found.append(stack[at:])
            del stack[at:]

    for node in graph:
        if node not in number:
            visit(node)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--max", type=int, default=2)
    parser.add_argument("folders", nargs="*", type=pathlib.Path)
    options = parser.parse_args()
    sys.setrecursionlimit(10_000)

    failed = False
    crates = [manifest.parent / "src" for manifest in sorted(pathlib.Path().glob("*/Cargo.toml"))]
    for root in options.folders or [*crates, pathlib.Path("src")]:
        graph = imports_of(root)
        largest = max(circles(graph), key=len)
        print(f"{root}: {len(graph)} files, {sum(map(len, graph.values()))} imports, largest circle {len(largest)}")
        if len(largest) > options.max:
            failed = True
            print("  " + " ".join("::".join(module) or "(root)" for module in sorted(largest)))
    sys.exit(failed)


if __name__ == "__main__":
    main()
