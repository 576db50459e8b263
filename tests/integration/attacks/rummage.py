# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whoever runs this looks for secrets in every file that opens:  rummage.py PATTERNS PLACE...

PATTERNS is a JSON file {name: text}. PLACE is a directory, or "processes" for the environment and the arguments of every
process, or "!COMMAND" for what a command prints. Prints a JSON list of [name of the secret, where].
"""

import glob
import json
import os
import stat
import subprocess
import sys

with open(sys.argv[1]) as stream:
    SECRETS = {name: text.encode() for name, text in json.load(stream).items()}
SKIP = {os.path.realpath(sys.argv[1])}
hits = set()


def look(where, data):
    for name, secret in SECRETS.items():
        if secret in data:
            hits.add((name, where))


def read(path):
    try:
        if os.path.realpath(path) not in SKIP:
            with open(path, "rb") as stream:
                return stream.read(64 * 1024 * 1024)
    except OSError:
        pass
    return b""


for place in sys.argv[2:]:
    if place == "processes":
        for path in glob.glob("/proc/[0-9]*"):
            for name in ("cmdline", "environ"):
                look("%s/%s" % (path, name), read("%s/%s" % (path, name)))
    elif place.startswith("!"):
        done = subprocess.run(["bash", "-lc", place[1:]], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        look(place, done.stdout)
    else:
        for directory, _directories, names in os.walk(place):
            for name in names:
                path = os.path.join(directory, name)
                try:
                    if stat.S_ISREG(os.lstat(path).st_mode):
                        look(path, read(path))
                except OSError:
                    pass
print(json.dumps(sorted(hits)))
