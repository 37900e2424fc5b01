"""Figures of the source that tell how hard it is to move in. usage: figures.py [ROOT]

Counts, from the text of src/: methods on `Proxy`, its functions that recurse across files, files that import each other in a
circle, doc comments whose first word is a pronoun, `bool` fields of two structs, long functions, long files.
"""

import re
import sys
from pathlib import Path

root = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
src = root / "src"

PRONOUN = re.compile(
    r"^(It|Its|They|Them|Their|He|She|Who|Whom|Whoever|Whose|What|Whatever|Which|Where|When|Whether|Why|How|That|Those|These|This"
    r"|None|Nobody|Somebody|Anybody|Such|One|So|The same)\b"
)


def without_tests(text):
    """The text up to the module of tests, which stands last in a file."""
    found = re.search(r"^#\[cfg\(test\)\]\s*\n(?:#\[[^\n]*\]\s*\n)*mod \w+ \{", text, re.MULTILINE)
    return text[: found.start()] if found else text


def blank(text):
    """Comments, strings and characters replaced by spaces, so that braces and names can be counted."""
    pattern = r'//[^\n]*|/\*.*?\*/|b?r#*"(?:.|\n)*?"#*|b?"(?:\\.|[^"\\])*"|b?\'(?:\\(?:x..|u\{[^}]*\}|.)|[^\'\\\n])\''
    return re.sub(pattern, lambda m: re.sub(r"[^\n]", " ", m.group()), text, flags=re.DOTALL)


def functions(text):
    """Name, first line, lines and body of each function."""
    clean = blank(text)
    for match in re.finditer(r"\bfn (\w+)", clean):
        depth, start = 0, None
        for at in range(match.end(), len(clean)):
            char = clean[at]
            if start is None and char == ";" and depth == 0:
                break
            if char in "([":
                depth += start is None
            elif char in ")]":
                depth -= start is None
            elif char == "{":
                if start is None:
                    start, depth = at, 0
                depth += 1
            elif char == "}" and start is not None:
                depth -= 1
                if depth == 0:
                    first = clean.count("\n", 0, match.start())
                    yield match.group(1), first + 1, clean.count("\n", 0, at) - first + 1, clean[start : at + 1]
                    break


def impl_blocks(text, name):
    clean = blank(text)
    for match in re.finditer(rf"^impl(?:<[^>]*>)? {name}(?:<[^>]*>)? \{{", clean, re.MULTILINE):
        end = re.search(r"^\}", clean[match.end() :], re.MULTILINE)
        yield clean[match.start() : match.end() + end.start() + 1]


def components(graph):
    """The strongly connected sets of more than one node."""
    index, low, stack, on, found, count = {}, {}, [], set(), [], [0]

    def visit(node):
        index[node] = low[node] = count[0]
        count[0] += 1
        stack.append(node)
        on.add(node)
        for other in graph.get(node, ()):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in on:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            members = []
            while True:
                top = stack.pop()
                on.discard(top)
                members.append(top)
                if top == node:
                    break
            if len(members) > 1:
                found.append(sorted(members))

    for node in list(graph):
        if node not in index:
            visit(node)
    return found


def module_of(path):
    parts = list(path.relative_to(src).with_suffix("").parts)
    if parts[-1] in ("mod", "lib", "main"):
        parts.pop()
    return tuple(parts)


sys.setrecursionlimit(10_000)
files = {path: path.read_text() for path in sorted(src.rglob("*.rs"))}
code = {path: without_tests(text) for path, text in files.items() if path.stem != "tests"}
modules = {module_of(path): path for path in code}

# Methods on Proxy, and those that call each other in a circle that spans files.
methods, calls = {}, {}
for path, text in code.items():
    for block in impl_blocks(text, "Proxy"):
        for name, _, _, body in functions(block):
            methods[name] = path
            calls[name] = set(re.findall(r"\bself\s*\.\s*(\w+)\(", body))
calls = {name: found & methods.keys() for name, found in calls.items()}
recursive = [group for group in components(calls) if len({methods[name] for name in group}) > 1]

# Files that import each other in a circle.
uses = {}
for path, text in code.items():
    here, clean, found = module_of(path), blank(text), set()
    for statement in re.findall(r"\b((?:crate|super|self)(?:::(?:super|\w+))+(?:::\{[^;]*?\})?)", clean):
        head = re.sub(r"::\{.*", "", statement, flags=re.DOTALL).split("::")
        base = list(here)
        if head[0] == "crate":
            base, head = [], head[1:]
        elif head[0] == "self":
            head = head[1:]
        while head and head[0] == "super":
            base, head = base[:-1], head[1:]
        names = [base + head]
        inner = re.search(r"::\{(.*)\}", statement, re.DOTALL)
        if inner:
            names = [base + head + [word] for word in re.findall(r"\b(\w+)\b", inner.group(1))] + names
        for full in names:
            for length in range(len(full), 0, -1):
                target = modules.get(tuple(full[:length]))
                if target:
                    # A folder's own file holds its parts together: naming it is no import of a sibling.
                    if target != path and not (target.stem == "mod" and length < len(full) and here[: len(full[:length])] == tuple(full[:length])):
                        found.add(target)
                    break
    uses[path] = found
circles = components(uses)


def bools(name, inside):
    for path, text in code.items():
        if not str(path.relative_to(src)).startswith(inside):
            continue
        match = re.search(rf"^pub(?:\([^)]*\))? struct {name}(?:<[^{{]*>)?[^{{;]*\{{(.*?)^\}}", blank(text), re.MULTILINE | re.DOTALL)
        if match:
            return len(re.findall(r":\s*bool\b", match.group(1)))
    return "-"


pronouns = [
    f"{path.relative_to(root)}:{number}"
    for path, text in files.items()
    for lines in [text.split("\n")]
    for number, line in enumerate(lines, 1)
    if (doc := re.match(r"\s*//[/!] (.*)", line))
    and PRONOUN.match(doc.group(1))
    and not re.match(r"\s*//[/!] ", lines[number - 2] if number > 1 else "")
]
long_functions = [
    f"{path.relative_to(root)}:{line} {name} {lines}"
    for path, text in code.items()
    for name, line, lines, _ in functions(text)
    if lines > 70
]
long_files = [f"{path.relative_to(root)} {lines}" for path, text in code.items() if (lines := text.count("\n")) > 400]

rows = [
    ("methods on Proxy", len(methods), []),
    ("functions of Proxy that recurse across files", sum(map(len, recursive)), [" ".join(group) for group in recursive]),
    (
        "files in circles",
        sum(map(len, circles)),
        [" ".join(str(path.relative_to(src)) for path in group) for group in circles],
    ),
    ("doc comments that begin with a pronoun", len(pronouns), pronouns),
    ("bool fields of Exchange", bools("Exchange", "proxy"), []),
    ("bool fields of Connection (net)", bools("Connection", "net"), []),
    ("functions over 70 lines", len(long_functions), long_functions),
    ("files over 400 lines without their tests", len(long_files), long_files),
]
print("| figure | count |\n|---|---|")
for name, count, _ in rows:
    print(f"| {name} | {count} |")
if "--list" in sys.argv:
    for name, _, members in rows:
        if members:
            print(f"\n{name}:")
            for member in members:
                print(f"  {member}")
