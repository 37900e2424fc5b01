"""tollgate in bad weather: crowds, faults that strace injects into the real binary, logs that take nothing, signals.

usage: storm.py TOLLGATE full|quick [PART OF A NAME]. Each check prints `ok NAME: what was measured` or `FAIL NAME: why`.
Everything runs on loopback, in a temporary folder, and ends with this process.
"""

import signal
import sys
import time
import traceback

import crowds
import faults
import logs
import stops
from world import Gateway, Origin, Wrong, clean_up

BUDGET = {"full": 240, "quick": 60}  # seconds, for everything

CHECKS = [
    ("early replies", crowds.early_replies),
    ("no descriptor left", crowds.no_descriptors),
    ("slowloris", crowds.slowloris),
    *faults.CHECKS,
    *logs.CHECKS,
    *stops.CHECKS,
]


def main():
    Gateway.binary, mode = sys.argv[1], sys.argv[2]
    if mode not in BUDGET:
        sys.exit(f"storm: {mode}: say nothing, or quick")
    only = sys.argv[3] if len(sys.argv) > 3 else ""
    signal.signal(signal.SIGALRM, lambda *_: sys.exit(f"storm: not done within {BUDGET[mode]} s"))
    signal.alarm(BUDGET[mode])
    for kind in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(kind, lambda *_: sys.exit(130))
    start, failed, checks = time.monotonic(), [], [pair for pair in CHECKS if only in pair[0]]
    origin = Origin()
    for name, check in checks:
        begun = time.monotonic()
        try:
            figures = check(origin, mode == "quick")
            print(f"ok {name} ({time.monotonic() - begun:.1f} s): {figures}", flush=True)
        except Wrong as wrong:
            failed.append(name)
            print(f"FAIL {name}: {wrong}", flush=True)
        except Exception:  # a check that cannot be carried out has not held
            failed.append(name)
            print(f"FAIL {name}: {traceback.format_exc(limit=4).strip()}", flush=True)
    print(f"\nstorm: {len(checks) - len(failed)} ok, {len(failed)} failed, in {time.monotonic() - start:.0f} s"
          + "".join(f"\n  FAIL {name}" for name in failed))
    return 1 if failed else 0


if __name__ == "__main__":
    status = 1
    try:
        status = main()
    finally:
        clean_up()
    sys.exit(status)
