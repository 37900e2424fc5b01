"""Prints the commands of a way to install, as README.md has them: the code in the row of that name, one a line. usage: steps.py WAY"""

import re
import sys
from pathlib import Path

README = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
found = re.search(rf"^\| {re.escape(sys.argv[1])} \| (.*) \|$", README, re.M)
if not found:
    sys.exit(f"packages: README.md has no row {sys.argv[1]!r} under Install")
print("\n".join(re.findall(r"`([^`]*)`", found[1])))
