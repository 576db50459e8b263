# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The text of ``~/.jupyter_connect``: a POSIX sh script that finds a Python and runs ``program.pyz connect``.

Interface: ``render(python, program, batch_dir, hint, name) -> str``.
"""

import shlex

from .files import printable

_TEMPLATE = """\
#!/bin/sh
# {name} (hpc.jupyter): holds the way from this login node to a Jupyter session.
#
{hint}
#
# It runs {program_comment}; '{name} --help' lists its options.
# Exit status: 0 the laptop went away, 3 the session is over, 4 it is not running, 5 its node can't be reached,
# 6 the socket can't be made, 127 no Python was found, or the program is missing or damaged.
program={program}
batch_dir={batch_dir}
site_dir={site_dir}
recorded={python}

if [ ! -r "$program" ]; then
    echo "jupyter: $program is missing. Run 'ansible-playbook hpc.jupyter.{playbook}' again." >&2
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
        0) exec "$python" -I "$program" connect --batch-dir "$batch_dir" {site_option}"$@" ;;
        3) echo "jupyter: $program is damaged. Run 'ansible-playbook hpc.jupyter.{playbook}' again." >&2; exit 127 ;;
    esac
}}

for python in "$site_dir/python" "$recorded" python3 /usr/libexec/platform-python python3.14 python3.13 python3.12 \\
    python3.11 python3.10 python3.9 python3.8 python3.7 python3.6 python; do
    try "$@"
done

# What the login shell sets up may bring one; the files it reads may print, so ours is the last line.
if command -v bash >/dev/null 2>&1; then
    python=$(bash -lc 'command -v python3 || command -v python' </dev/null 2>/dev/null | tail -n 1)
    try "$@"
fi

echo "jupyter: no Python 3.6 or newer was found on $(hostname); setup used $recorded. Run 'ansible-playbook hpc.jupyter.{playbook}' again." >&2
exit 127
"""


def render(python, program, batch_dir, hint="", site_dir=None, name="~/.jupyter_connect"):
    """Return the script.

    :param python: str, path of the Python that setup ran with.
    :param program: str, path of program.pyz.
    :param batch_dir: str; a word of the shell with ``site_dir``.
    :param hint: str, the command to type on the laptop, for the reader of the file; may have several lines.
    :param site_dir: str or None, the prefix of an installation for all users.
    :param name: str, what a person types to run it.
    """
    # A comment ends at its line's end: nothing of the hint may start another line.
    comment = ["# Type this on the laptop, leave it running, and open the address in its browser:", "#"]
    comment += ["#     " + line for line in printable(hint).splitlines()]
    return _TEMPLATE.format(
        hint="\n".join(comment) if hint else "# In a terminal it prints the command to type on the laptop.",
        program_comment=printable(program).replace("\n", " "),
        program=shlex.quote(program),
        batch_dir=batch_dir if site_dir else shlex.quote(batch_dir),
        site_dir=shlex.quote(site_dir) if site_dir else '"$batch_dir"',
        site_option='--site-dir "$site_dir" ' if site_dir else "",
        playbook="site" if site_dir else "setup",
        name=name,
        python=shlex.quote(python),
    )
