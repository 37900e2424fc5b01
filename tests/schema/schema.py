"""The JSON Schema of the configuration, read by ajv-cli, beside `tollgate check`.

usage: schema.py GATEWAY FOLDER    (see run)

Valid for both: the examples of the documents, the starter file of `tollgate init`, the mended files of tests/slips, and the
configurations of tests/explain. From each of these come further files: one with an unknown key in each object, and one with a
value of another type at each place. What the schema refuses, `check` must refuse; and an unknown key both must refuse. The
schema may take what breaks a rule that needs more than one key.
"""

import copy
import json
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import explain

ROOT = Path(__file__).resolve().parents[2]


def examples(gateway):
    """Yields a name and the text of each example."""
    for document in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        for number, block in enumerate(re.findall(r"```json\n(.*?)```", document.read_text(), re.S)):
            yield f"{document.stem}-{number}", block
    for path in sorted((ROOT / "tests/slips").glob("*.txt")):
        yield path.stem, path.read_text().split("--- mended\n", 1)[1]
    for name, services, more in explain.configurations([9001, 9002, 9003, 9004], "http://unix:/run/users.sock:"):
        more, ways = dict(more), more.get("ways", [])
        more.pop("ways", None)
        if callable(more.get("listen")):
            more["listen"] = more["listen"](*range(8001, 8001 + max(len(ways), 1)))
        yield "explain-" + name.replace(" ", "-"), json.dumps({"services": services, **more})
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([gateway, "init"], cwd=folder, check=True, capture_output=True)
        yield "init", Path(folder, "tollgate.json").read_text()


def places(value, path=()):
    """Yields the path of each value inside."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from places(inner, (*path, key))


def changed(value, path, new):
    """Returns a copy with another value at a place."""
    whole = copy.deepcopy(value)
    inside = whole
    for key in path[:-1]:
        inside = inside[key]
    inside[path[-1]] = new
    return whole


def variants(name, value):
    """Yields a name, a configuration, and whether its key is unknown."""
    others = [7, "x y", True, {"zz": 1}, [[]]]
    for number, path in enumerate([(), *places(value)]):
        inside = value
        for key in path:
            inside = inside[key]
        if isinstance(inside, dict):
            yield f"{name}-key-{number}", {**value, "zz": 1} if not path else changed(value, path, {**inside, "zz": 1}), path
        if path:
            for other, new in enumerate(others):
                if type(new) is not type(inside):
                    yield f"{name}-type-{number}-{other}", changed(value, path, new), None


def check(gateway, path):
    """Returns whether `tollgate check` takes a file."""
    done = subprocess.run([gateway, "check", "-c", path], capture_output=True, timeout=20)
    return done.returncode == 0


def ajv(folder, schema, pattern):
    """Returns the files that ajv-cli finds valid, and those that it refuses."""
    command = [folder / "node_modules/.bin/ajv", "validate", "--spec=draft2020", "--strict=false", "--errors=no", "-s", schema, "-d", pattern]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    said = (done.stdout + done.stderr).splitlines()
    valid = {Path(line.rsplit(" ", 1)[0]).stem for line in said if line.endswith(" valid")}
    refused = {Path(line.rsplit(" ", 1)[0]).stem for line in said if line.endswith(" invalid")}
    return valid, refused


def main():
    gateway, kept = sys.argv[1], Path(sys.argv[2])
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        for name in ["ca.pem", "site.pem", "site.key"]:
            pem = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "9", "-subj", "/CN=a"]
            if name != "site.key":
                key = folder / name.replace(".pem", ".key")
                subprocess.run([*pem, "-keyout", key, "-out", folder / name], check=True, capture_output=True)
        schema = folder / "schema.json"
        schema.write_text(subprocess.run([gateway, "schema"], check=True, capture_output=True, text=True).stdout)
        good = {}
        for name, text in examples(gateway):
            path = folder / f"{name}.json5"
            path.write_text(text)
            if check(gateway, path) and not text.lstrip().startswith(("const", "module", "export")):
                good[name] = text
            else:
                path.unlink()
        known = {}
        for name, text in good.items():
            try:
                value = json.loads(text)
            except ValueError:
                continue
            if isinstance(value, dict):
                known.update({variant: (new, path is not None) for variant, new, path in variants(name, value)})
        for name, (value, _) in known.items():
            (folder / f"{name}.json5").write_text(json.dumps(value))
        valid, refused = ajv(kept, schema, str(folder / "*.json5"))
        missing = (set(good) | set(known)) - valid - refused
        with ThreadPoolExecutor(4) as pool:
            taken = dict(zip(known, pool.map(lambda name: check(gateway, folder / f"{name}.json5"), known)))
        faults = [f"ajv says nothing of {name}" for name in sorted(missing)]
        faults += [f"{name}: an example that the schema refuses" for name in sorted(set(good) & refused)]
        for name, (value, is_key) in sorted(known.items()):
            if name in refused and taken[name]:
                faults.append(f"{name}: check takes what the schema refuses: {json.dumps(value)[:300]}")
            if is_key and name in valid and not taken[name]:
                faults.append(f"{name}: the schema takes an unknown key: {json.dumps(value)[:300]}")
        weaker = sum(1 for name in known if name in valid and not taken[name])
        print(f"examples valid for both: {len(set(good) & valid)} of {len(good)}")
        print(f"variants: {len(known)}, refused by the schema and by check: {len(set(known) & refused)}, by check alone: {weaker}")
        for fault in faults[:20]:
            print("FAULT", fault)
        print(f"schema: {len(faults)} faults")
        return 1 if faults or len(good) < 40 or not refused else 0


if __name__ == "__main__":
    sys.exit(main())
