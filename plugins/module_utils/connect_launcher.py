# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The text of ``~/.jupyter_connect``: a POSIX sh script that finds a Python and runs ``program.pyz connect``.

Interface: ``render(python, program, batch_dir, hint) -> str``.
"""

import shlex

from .files import printable

_TEMPLATE = """\
#!/bin/sh
# ~/.jupyter_connect (hpc.jupyter): holds the way from this login node to a Jupyter session.
#
{hint}
#
# It runs {program_comment}; '~/.jupyter_connect --help' lists its options.
# Exit status: 0 the laptop went away, 3 the session is over, 4 it is not running, 5 its node can't be reached,
# 6 the socket can't be made, 127 no Python was found, or the program is missing or damaged.
program={program}
batch_dir={batch_dir}
recorded={python}

if [ ! -r "$program" ]; then
    echo "jupyter: $program is missing. Run 'ansible-playbook hpc.jupyter.setup' again." >&2
    exit 127
fi

# Python would take a damaged program for a script. Standard input is the laptop's sign of life: only the program itself may read it.
try() {{
    [ -n "$python" ] || return
    "$python" -I -c '
import sys, zipimport
if sys.version_info < (3, 6):
    sys.exit(1)
try:
    zipimport.zipimporter(sys.argv[1])
except ImportError:
    sys.exit(3)
' "$program" </dev/null >/dev/null 2>&1
    case $? in
        0) exec "$python" -I "$program" connect --batch-dir "$batch_dir" "$@" ;;
        3) echo "jupyter: $program is damaged. Run 'ansible-playbook hpc.jupyter.setup' again." >&2; exit 127 ;;
    esac
}}

for python in "$batch_dir/python" "$recorded" python3 /usr/libexec/platform-python python3.14 python3.13 python3.12 \\
    python3.11 python3.10 python3.9 python3.8 python3.7 python3.6 python; do
    try "$@"
done

# What the login shell sets up may bring one; the files it reads may print, so ours is the last line.
if command -v bash >/dev/null 2>&1; then
    python=$(bash -lc 'command -v python3 || command -v python' </dev/null 2>/dev/null | tail -n 1)
    try "$@"
fi

echo "jupyter: no Python 3.6 or newer was found on $(hostname); setup used $recorded. Run 'ansible-playbook hpc.jupyter.setup' again." >&2
exit 127
"""


def render(python, program, batch_dir, hint=""):
    """Return the script.

    :param python: str, path of the Python that setup ran with.
    :param program: str, path of program.pyz.
    :param batch_dir: str.
    :param hint: str, the command to type on the laptop, for the reader of the file; may have several lines.
    """
    # A comment ends at its line's end: nothing of the hint may start another line.
    lines = printable(hint).splitlines() or ["~/.jupyter_connect      (in a terminal here: prints the command for the laptop)"]
    comment = ["# Type this on the laptop, leave it running, and open the address in its browser:", "#"]
    return _TEMPLATE.format(
        hint="\n".join(comment + ["#     " + line for line in lines]),
        program_comment=printable(program).replace("\n", " "),
        program=shlex.quote(program),
        batch_dir=shlex.quote(batch_dir),
        python=shlex.quote(python),
    )
