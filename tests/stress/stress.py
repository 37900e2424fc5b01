"""tollgate under stress: crowds, clients that exceed their share, faults that strace injects into the real binary, blocked logs,
signals.

usage: stress.py TOLLGATE full|quick [PART OF A NAME]. Each check prints `ok NAME: what was measured` or `FAIL NAME: why`.
Everything runs on loopback, in a temporary folder, and ends with this process.
"""

import sys

import accounts
import crowds
import faults
import logs
import stops
import upgrades
from checks import carry_out
from world import Gateway, Origin

BUDGET = {"full": 240, "quick": 60}  # seconds for all checks

CHECKS = [
    ("early replies", crowds.early_replies),
    ("no descriptor left", crowds.no_descriptors),
    ("slowloris", crowds.slowloris),
    *accounts.CHECKS,
    *faults.CHECKS,
    *logs.CHECKS,
    *stops.CHECKS,
    *upgrades.CHECKS,
]


def main():
    Gateway.binary, mode = sys.argv[1], sys.argv[2]
    if mode not in BUDGET:
        sys.exit(f"stress: {mode}: say nothing, or quick")
    only = sys.argv[3] if len(sys.argv) > 3 else ""
    carry_out("stress", BUDGET[mode], Origin, [pair for pair in CHECKS if only in pair[0]], mode == "quick")


if __name__ == "__main__":
    main()
