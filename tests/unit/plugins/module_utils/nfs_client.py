# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host whose home is shared by NFS, as far as names go."""

import os


def remember_what_is_missing(monkeypatch):
    """Have a file that was missing stay missing, as an NFS client remembers it for half a minute, unless its directory is opened."""
    missing = set()
    stat, listdir = os.stat, os.listdir

    def cached_stat(path, **options):
        if path in missing:
            raise FileNotFoundError(2, "remembered as missing", path)
        try:
            return stat(path, **options)
        except FileNotFoundError:
            missing.add(path)
            raise

    monkeypatch.setattr(os, "stat", cached_stat)
    monkeypatch.setattr(os, "listdir", lambda path: (missing.clear(), listdir(path))[1])
