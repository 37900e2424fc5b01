"""Processes of a test, whose output is read line by line, and waits that end with an event."""

import contextlib
import os
import signal
import subprocess
import threading
import time

WAIT = 60


def must(condition, text):
    if not condition:
        raise AssertionError(text)


def until(what, text):
    """Returns the first true result of `what`."""
    end = time.monotonic() + WAIT
    while time.monotonic() < end:
        result = what()
        if result:
            return result
        time.sleep(0.05)
    raise AssertionError(f"waited {WAIT} s: {text}")


@contextlib.contextmanager
def ended(running):
    """Ends these processes behind a block. When it fails, their last lines are printed before."""
    try:
        yield
    except BaseException:
        for process in running:
            print(f"--- {process.name}", *process.lines[-60:], sep="\n")
        raise
    finally:
        for process in reversed(running):
            with contextlib.suppress(Exception):
                process.end(signal.SIGKILL)


class Process:
    def __init__(self, name, command, env=None):
        self.name, self.lines = name, []
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", env=os.environ | (env or {})
        )
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    def said(self, text):
        return [line for line in self.lines if text in line]

    def expect(self, text):
        return until(lambda: self.said(text), f"{self.name} to say {text!r}; it said:\n" + "\n".join(self.lines[-30:]))

    def end(self, how=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(how)
        self.process.wait(20)
        self.reader.join(20)
