"""Checks that each link of the documents below a folder leads to a file or a folder there, or to another host, and that the files of
packaging/ that they name are there. usage: links.py FOLDER"""

import os
import re
import sys


# These need the source.
OF_THE_SOURCE = {"packaging/build", "packaging/package"}


def main():
    top, checked, wrong = os.path.realpath(sys.argv[1]), 0, []
    for folder, _, names in os.walk(top):
        for name in names:
            if not name.endswith(".md"):
                continue
            with open(os.path.join(folder, name), encoding="utf-8") as file:
                text = file.read()
            for named in set(re.findall(r"`(packaging/[\w.@-]+)", text)) - OF_THE_SOURCE:
                if not os.path.exists(os.path.join(top, named)):
                    wrong.append(f"{os.path.relpath(os.path.join(folder, name), top)}: {named}")
            for target in re.findall(r"\]\(([^)]+)\)", text):
                path = target.partition("#")[0]
                if "://" in target or not path:
                    continue
                checked += 1
                led = os.path.realpath(os.path.join(folder, path))
                if not (led.startswith(top + os.sep) and os.path.exists(led)):
                    wrong.append(f"{os.path.relpath(os.path.join(folder, name), top)}: {target}")
    if wrong or checked < 50:
        sys.exit("packages: of {} links these lead to nothing in {}:\n{}".format(checked, top, "\n".join(wrong)))
    print(f"packages: {checked} links lead to what is below {os.path.basename(top)}")


main()
