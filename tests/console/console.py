"""Console blocks of the documents, run word by word, and the files of examples/.

usage: console.py GATEWAY [DOCUMENT...]    (see run)

A document runs in a shell and a folder of its own, which has `examples` and `packaging` of the repository.
* A block marked `json` or `json5` becomes tollgate.json. It is not run.
* A block marked `console` has commands, each behind `$ `, and below each what it prints, stdout and stderr together.
  `...` in a line stands for any text; a line that is nothing but `...` stands for any lines.
* A command that ends with `&` goes on in the background. What stands below it is waited for; it may print more.
* Other blocks (`text`, `sh`, ..) are not looked at.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 15


def blocks(text):
    """Yields line, language and text of each fenced block."""
    for found in re.finditer(r"^```(\w+)\n(.*?)^```$", text, re.S | re.M):
        yield text.count("\n", 0, found.start()) + 1, found[1], found[2]


def commands(block):
    """Yields each command of a block with the lines below it."""
    parts = re.split(r"^\$ ", block, flags=re.M)
    for part in parts[1:]:
        lines = part.rstrip("\n").split("\n")
        # A command goes on behind a backslash, and up to the end of an open quote.
        count = 1
        while lines[count - 1].endswith("\\") or "\n".join(lines[:count]).count("'") % 2:
            count += 1
        yield "\n".join(lines[:count]), lines[count:]


def fits(expected, printed, is_open=False):
    """Returns whether printed lines are the expected ones. Open: more may follow."""
    if not expected:
        return is_open or not printed
    if expected[0].strip() == "...":
        return any(fits(expected[1:], printed[at:], is_open) for at in range(len(printed) + 1))
    if not printed:
        return False
    form = ".*".join(re.escape(part) for part in expected[0].split("..."))
    return re.fullmatch(form, printed[0]) is not None and fits(expected[1:], printed[1:], is_open)


class Shell:
    """A bash with a folder of its own."""

    def __init__(self, folder, gateway):
        (folder / "bin").mkdir()
        (folder / "bin/tollgate").symlink_to(gateway)
        self.work = folder / "work"
        self.work.mkdir()
        for name in ["examples", "packaging"]:
            (self.work / name).symlink_to(ROOT / name)
        self.folder = folder
        environment = {"PATH": f"{folder}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(folder), "LANG": "C.UTF-8"}
        self.process = subprocess.Popen(["bash"], stdin=subprocess.PIPE, cwd=self.work, env=environment, start_new_session=True,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.number = 0

    def run(self, command, expected):
        """Runs a command. Returns what it printed, as lines, when that is not as expected."""
        self.number += 1
        output, done = self.folder / f"{self.number}.out", self.folder / f"{self.number}.done"
        output.touch()
        in_background = command.rstrip().endswith("&")
        body = command.rstrip()[:-1] if in_background else command
        # Braces keep `cd`, `export` and jobs in this shell.
        line = f"{{ {body}\n}} >{output} 2>&1 </dev/null" + (" &\n" if in_background else "\n") + f"touch {done}\n"
        self.process.stdin.write(line.encode())
        self.process.stdin.flush()
        end = time.monotonic() + PATIENCE
        while True:
            is_done = done.exists()
            printed = output.read_text(errors="replace").splitlines()
            if (is_done or in_background) and fits(expected, printed, in_background):
                return None
            if (is_done and not in_background) or time.monotonic() > end:
                return printed if is_done or in_background else [*printed, "(it does not end)"]
            time.sleep(0.02)

    def close(self):
        """Ends the shell with all that it started."""
        os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def document(path, gateway):
    """Runs the blocks of a document. Returns the number of commands, and the faults."""
    count, faults = 0, []
    with tempfile.TemporaryDirectory() as folder:
        shell = Shell(Path(folder), gateway)
        try:
            for line, language, text in blocks(path.read_text()):
                if language in ["json", "json5"]:
                    (shell.work / "tollgate.json").write_text(text)
                elif language == "console":
                    for command, expected in commands(text):
                        count += 1
                        printed = shell.run(command, expected)
                        if printed is not None:
                            faults.append(f"{path.relative_to(ROOT)}:{line}: $ {command}\n  expected: " + "\n            ".join(expected)
                                          + "\n  printed:  " + "\n            ".join(printed))
        finally:
            shell.close()
    return count, faults


def example(path, gateway):
    """Starts the gateway with a file of examples/. Returns the faults."""
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        text = path.read_text().replace("/etc/tollgate", str(folder)).replace("/run/tollgate", str(folder))
        (folder / "tollgate.json").write_text(text)
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30", "-subj",
                        "/CN=a.example", "-keyout", folder / "site.key", "-out", folder / "site.pem"], check=True, capture_output=True)
        log = folder / "log"
        with log.open("w") as output:
            child = subprocess.Popen([gateway, "-c", folder / "tollgate.json"], stdout=output, stderr=output, cwd=folder,
                                     env={"JWT_SECRET": "0123456789abcdef0123456789abcdef"})
        end = time.monotonic() + PATIENCE
        while "Gateway is running" not in log.read_text() and child.poll() is None and time.monotonic() < end:
            time.sleep(0.02)
        is_running = "Gateway is running" in log.read_text()
        child.terminate()
        code = child.wait(PATIENCE)
        said = log.read_text()
    is_good = is_running and code == 0 and "ERROR" not in said
    return [] if is_good else [f"{path.relative_to(ROOT)}: exit code {code}\n{said}"]


def self_test():
    """The comparison can fail."""
    for expected, printed, result in [(["a"], ["a"], True), (["a"], ["b"], False), (["a ... c"], ["a b c"], True), (["a"], ["a", "b"], False),
                                      (["a", "...", "d"], ["a", "b", "c", "d"], True), (["a", "..."], ["b"], False), ([], ["a"], False)]:
        assert fits(expected, printed) is result, (expected, printed)
    assert list(commands("$ a\nb\n$ c 'd\ne'\n")) == [("a", ["b"]), ("c 'd\ne'", [])]


def main():
    gateway, names = sys.argv[1], sys.argv[2:]
    self_test()
    subprocess.run(["ip", "link", "set", "lo", "up"], check=False) if shutil.which("ip") else raise_loopback()
    every = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    count, faults = 0, []
    for path in [Path(name).resolve() for name in names] or every:
        more, wrong = document(path, gateway)
        count, faults = count + more, faults + wrong
    examples = [] if names else sorted((ROOT / "examples").glob("*.json"))
    for path in examples:
        faults += example(path, gateway)
    for fault in faults:
        print("FAULT", fault)
    print(f"console: {count} commands, {len(examples)} examples, {len(faults)} faults")
    return 1 if faults or (not names and (count < 20 or len(examples) < 7)) else 0


def raise_loopback():
    """Sets the loopback interface up, as `ip link set lo up` does."""
    import fcntl
    import socket
    import struct
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sH14x", b"lo", 0x1 | 0x40))


if __name__ == "__main__":
    sys.exit(main())
