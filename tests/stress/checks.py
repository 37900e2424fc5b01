"""Runner of checks: runs them one after the other and prints the results."""

import signal
import sys
import time
import traceback

from world import Wrong, clean_up


def carry_out(title, seconds, prepare, checks, *more):
    """Runs the checks. Each gets the value of `prepare`, and `more`. Prints `ok NAME: what was seen` or `FAIL NAME: why`, and
    ends the process.
    All checks together may take `seconds`.
    """
    signal.signal(signal.SIGALRM, lambda *_: sys.exit(f"{title}: not done within {seconds} s"))
    signal.alarm(seconds)
    for kind in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(kind, lambda *_: sys.exit(130))
    status = 1
    try:
        status = all_of(title, prepare, checks, more)
    finally:
        clean_up()
    sys.exit(status)


def all_of(title, prepare, checks, more):
    start, failed, world = time.monotonic(), [], prepare()
    for name, check in checks:
        begun = time.monotonic()
        try:
            figures = check(world, *more)
            print(f"ok {name} ({time.monotonic() - begun:.1f} s): {figures}", flush=True)
        except Wrong as wrong:
            failed.append(name)
            print(f"FAIL {name}: {wrong}", flush=True)
        except Exception:  # a check that cannot run counts as failed
            failed.append(name)
            print(f"FAIL {name}: {traceback.format_exc(limit=4).strip()}", flush=True)
    print(f"\n{title}: {len(checks) - len(failed)} ok, {len(failed)} failed, in {time.monotonic() - start:.0f} s"
          + "".join(f"\n  FAIL {name}" for name in failed))
    return 1 if failed else 0
