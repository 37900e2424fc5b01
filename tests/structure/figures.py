"""Figures of the source that tell how hard it is to move in. usage: figures.py [ROOT] [--list] [--check]

Counts, from the text of src/: methods on `Proxy`, its functions that recurse across files, files that import each other in a
circle, doc comments whose first word is a pronoun, `bool` fields of two structs, long functions, long files.
"""

import re
import sys
from pathlib import Path

root = Path(next((word for word in sys.argv[1:] if not word.startswith("-")), "."))
src = root / "src"

PRONOUN = re.compile(
    r"^(I|We|Us|Our|You|Your|It|Its|They|Them|Their|He|She|Who|Whom|Whoever|Whose|What|Whatever|Which|Where|When|Whether|Why|How|That|Those|These|This"
    r"|None|Nobody|Somebody|Anybody|Such|One|So|The same)\b"
)


def without_tests(text):
    """The text up to the module of tests, which stands last in a file."""
    found = re.search(r"^#\[cfg\(test\)\]\s*\n(?:#\[[^\n]*\]\s*\n)*(?:pub(?:\([^)]*\))? )?mod \w+ \{", text, re.MULTILINE)
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
# In this order lib.rs is the root, and not main.rs.
modules = {module_of(path): path for path in reversed(code)}

# Methods on Proxy, and those that call each other in a circle that spans files.
methods, calls = {}, {}
for path, text in code.items():
    for block in impl_blocks(text, "Proxy"):
        for name, _, _, body in functions(block):
            methods[name] = path
            calls[name] = set(re.findall(r"\bself\s*\.\s*(\w+)\(", body))
calls = {name: found & methods.keys() for name, found in calls.items()}
recursive = [group for group in components(calls) if len({methods[name] for name in group}) > 1]

# Files that import each other in a circle. The rule, which tests/layering.rs holds: a file imports the file that defines what it
# names, through the `use` lines of the modules on the way; a file may name what its own folder's mod.rs, or one above, defines.


def tree(text, prefix):
    """The paths of a use tree that continues `prefix` (`a::{b, c::d as e}`), each with the name that it gets."""
    text = text.strip()
    head, brace, rest = text.partition("{")
    steps = [step for step in re.split(r"\s*::\s*", head.strip()) if step]
    if not brace:
        found = re.match(r"(.*?)\s+as\s+(\w+)$", head.strip(), re.DOTALL)
        steps = [step for step in re.split(r"\s*::\s*", found.group(1) if found else head.strip()) if step]
        if steps and steps[-1] == "self" and (prefix or len(steps) > 1):
            steps.pop()
        path = prefix + steps
        yield path, found.group(2) if found else (path[-1] if path else "")
        return
    depth, start, inner = 0, 0, rest.rsplit("}", 1)[0]
    for at, char in enumerate(inner + ","):
        depth += (char == "{") - (char == "}")
        if char == "," and depth == 0:
            if inner[start:at].strip():
                yield from tree(inner[start:at], prefix + steps)
            start = at + 1


def paths(clean, children):
    """The paths of a source that begin at a module, each with whether a `use` gives it a name, and that name."""
    roots = "|".join(["crate", "super", "self", *children])
    for match in re.finditer(rf"(\buse\s+)?(?<![\w:])((?:{roots})(?:\s*::\s*\w+)*)(\s*::\s*\{{)?", clean):
        end = match.end()
        if match.group(3):
            depth = 1
            while depth and end < len(clean):
                depth += (clean[end] == "{") - (clean[end] == "}")
                end += 1
        elif match.group(1):
            end = clean.find(";", match.end())
        elif "::" not in match.group(2):
            continue
        for path, name in tree(clean[match.start(2) : end], []):
            yield path, name if match.group(1) else None


def absolute(here, path):
    base = list(here)
    if path[0] == "crate":
        base, path = [], path[1:]
    elif path[0] == "self":
        path = path[1:]
    while path and path[0] == "super":
        base, path = base[:-1], path[1:]
    return base + path


spoken = {}
for here, path in modules.items():
    clean = blank(code[path])
    children = re.findall(r"\bmod (\w+);", clean)
    spoken[here] = [(absolute(here, named), name) for named, name in paths(clean, children)]
aliases = {here: {name: named for named, name in found if name} for here, found in spoken.items()}


def defined_in(full, left=8):
    """The module that defines what a path names, and how many of its steps lead there."""
    for length in range(len(full), -1, -1):
        if (module := tuple(full[:length])) in modules:
            break
    rest = full[length:]
    alias = aliases[module].get(rest[0]) if rest and left else None
    return defined_in(alias + rest[1:], left - 1) if alias and alias != full else module


uses = {}
for here, found in spoken.items():
    targets = {defined_in(full) for full, _ in found}
    uses[modules[here]] = {modules[there] for there in targets if here[: len(there)] != there}
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

# Each with its count, the most that it may be, and what is counted.
rows = [
    ("methods on Proxy", len(methods), 45, []),
    ("functions of Proxy that recurse across files", sum(map(len, recursive)), 0, [" ".join(group) for group in recursive]),
    (
        "files in circles",
        sum(map(len, circles)),
        0,
        [" ".join(str(path.relative_to(src)) for path in group) for group in circles],
    ),
    ("doc comments that begin with a pronoun", len(pronouns), 0, pronouns),
    ("bool fields of Exchange", bools("Exchange", "proxy"), 0, []),
    ("bool fields of Connection (net)", bools("Connection", "net"), 0, []),
    ("functions over 70 lines", len(long_functions), 0, long_functions),
    ("files over 400 lines without their tests", len(long_files), 0, long_files),
]
print("| figure | count | at most |\n|---|---|---|")
for name, count, most, _ in rows:
    print(f"| {name} | {count} | {most} |")
# A struct that is not found has no number.
worse = [name for name, count, most, _ in rows if count == "-" or count > most]
if "--list" in sys.argv or "--check" in sys.argv:
    for name, _, _, members in rows:
        if members:
            print(f"\n{name}:")
            for member in members:
                print(f"  {member}")
if "--check" in sys.argv and worse:
    sys.exit(f"worse than it may be: {', '.join(worse)}")
