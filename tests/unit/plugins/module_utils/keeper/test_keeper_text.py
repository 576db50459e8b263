# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

import pytest
from ansible_collections.hpc.jupyter.plugins.module_utils.keeper import text


def test_printable_takes_escapes_and_controls_out():
    assert text.printable(b"a\x1b[31mb\x1b]0;title\x07c\xc2\x9b\x00d\xff\n") == u"abcd\ufffd\n"


@pytest.mark.parametrize("seconds, words", [(45, "45 seconds"), (60, "1 minute"), (600, "10 minutes"), (599.6, "10 minutes"), (7200, "2 hours")])
def test_moment(seconds, words):
    assert text.moment(seconds) == words
