#!/usr/bin/env python3
"""How the code is laid out: files and functions that fit a screen, paragraphs in functions, lines that fit a page.

    scripts/check/prose.py [--figures]

Refuses a function of more than 20 lines whose steps are not set apart by a blank line, unless it is one statement or two, and
any figure that is over its bound. --figures prints the figures, and the longest functions without a paragraph.
"""

import argparse
import pathlib
import re
import subprocess
import sys
from dataclasses import dataclass

ROOT = pathlib.Path(__file__).resolve().parents[2]
FUNCTION = re.compile(r"^( *)(?:pub(?:\([^)]*\))? )?(?:const )?(?:async )?fn (\w+)")
# What goes on with the statement before it.
CONTINUES = re.compile(r"^(\.|\?|&&|\|\||else\b|\}|\)|\]|=>|\+|where\b|\|)")
ASSERTION = re.compile(r"^\s*(?:debug_)?assert(?:_eq|_ne)?!", re.M)
TEXT_ERROR = re.compile(r"\bResult<(?:[^<>;{]|<[^<>]*>)*, String>")
UNIT_TESTS = re.compile(r"#\[cfg\(test\)\]\s*mod \w+ \{.*\Z", re.S)

LINES_OF_FILE_MAX = 420
LINES_OF_FUNCTION_MAX = 70
LINES_WITHOUT_PARAGRAPH_MAX = 20
COLUMNS_MAX = 100
# In percent, and never to be raised.
WIDE_LINES_MAX = 0.5
WITHOUT_PARAGRAPH_MAX = 15.0
ASSERTIONS_MIN = 60


@dataclass
class Function:
    file: str
    name: str
    line: int
    body: list[str]
    indent: int

    @property
    def has_paragraphs(self) -> bool:
        return any(not line.strip() for line in self.body)

    @property
    def statements(self) -> int:
        """Those at the top of the body."""
        count, ended = 0, True
        for line in self.body:
            text = line[self.indent :]
            if line[: self.indent].strip() or not text or text[0] == " ":
                ended = line.rstrip().endswith((";", "}", ","))
                continue
            if text.startswith(("//", "#[")):
                continue
            if ended and not CONTINUES.match(text):
                count += 1
            ended = line.rstrip().endswith((";", "}"))
        return count


def functions(file: str, lines: list[str]) -> list[Function]:
    found = []
    for at, line in enumerate(lines):
        match = FUNCTION.match(line)
        if not match:
            continue
        begin = at
        while begin < len(lines) and not lines[begin].rstrip().endswith(("{", ";", "}")):
            begin += 1
        if begin >= len(lines) or not lines[begin].rstrip().endswith("{"):
            continue
        end = begin + 1
        while end < len(lines) and lines[end] != match[1] + "}":
            end += 1
        found.append(Function(file, match[2], at + 1, lines[begin + 1 : end], len(match[1]) + 4))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--figures", action="store_true", help="print the figures")
    wish = parser.parse_args()
    listed = subprocess.run(["git", "ls-files", "*.rs"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    files = [name for name in listed.split() if (ROOT / name).exists()]

    wrong, all_functions, all_lines, wide, assertions = [], [], 0, 0, 0
    for name in files:
        text = (ROOT / name).read_text()
        lines = text.splitlines()
        all_lines += len(lines)
        wide += sum(len(line) > COLUMNS_MAX for line in lines)
        all_functions += functions(name, lines)
        if len(lines) > LINES_OF_FILE_MAX:
            wrong.append(f"{name}: {len(lines)} lines, at most {LINES_OF_FILE_MAX}")
        is_product = "/src/" in f"/{name}" and "tests" not in name
        if is_product:
            product = UNIT_TESTS.sub("", text)
            assertions += len(ASSERTION.findall(product))
            wrong += [f"{name}: an error that is text: {found}" for found in TEXT_ERROR.findall(product)]

    long = [function for function in all_functions if len(function.body) > 14]
    walls = [function for function in long if not function.has_paragraphs]
    for function in all_functions:
        if len(function.body) + 2 > LINES_OF_FUNCTION_MAX:
            wrong.append(f"{function.file}:{function.line}: {function.name} is longer than {LINES_OF_FUNCTION_MAX} lines")
    for function in walls:
        if len(function.body) > LINES_WITHOUT_PARAGRAPH_MAX and function.statements > 2:
            wrong.append(f"{function.file}:{function.line}: {function.name} has {len(function.body)} lines and no paragraph")

    wide_share, walls_share = 100 * wide / all_lines, 100 * len(walls) / len(long)
    figures = [
        (f"lines over {COLUMNS_MAX} columns", wide_share, WIDE_LINES_MAX, "%"),
        ("functions over 14 lines without a paragraph", walls_share, WITHOUT_PARAGRAPH_MAX, "%"),
        ("missing of the assertions in product code", ASSERTIONS_MIN - assertions, 0, ""),
    ]
    wrong += [f"{what}: {value:.2f}{unit}, at most {most}{unit}" for what, value, most, unit in figures if value > most]
    if wish.figures:
        print(f"{len(files)} files, {len(all_functions)} functions, {len(long)} over 14 lines, {assertions} assertions")
        for what, value, most, unit in figures[:2]:
            print(f"{what}: {value:.2f}{unit} (at most {most}{unit})")
        for function in sorted(walls, key=lambda function: -len(function.body))[:10]:
            print(f"  {len(function.body)} lines, {function.statements} statements: {function.file}:{function.line} {function.name}")
    for problem in wrong:
        print(f"prose: {problem}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
