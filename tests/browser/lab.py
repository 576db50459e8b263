# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""JupyterLab, as a person uses it in a browser."""

from __future__ import annotations

from chromium import Chromium
from harness import PASSWORD


def log_in_and_run_a_cell(browser: Chromium, url: str) -> str:
    """What a person does: open JupyterLab, type the password, click Python 3, type a line, press Shift-Enter; return what is printed."""
    assert browser.go(url + "lab?reset") is None  # not with what an earlier visit left open
    browser.type("#password_input", PASSWORD)
    browser.click("#login_submit")
    browser.click('.jp-LauncherCard[data-category="Notebook"]')
    # JupyterLab may ask which kernel; a person clicks "Select".
    browser.until("""(() => { const ask = document.querySelector('.jp-Dialog .jp-mod-accept'); if (ask && ask.innerText == 'Select') ask.click();
        return document.querySelector('.jp-Notebook-ExecutionIndicator[data-status="idle"]') !== null; })()""")
    browser.type(".jp-Notebook .cm-content", "import socket; print('on', socket.gethostname())")
    browser.shift_enter()
    return browser.until("(document.querySelector('.jp-OutputArea-output pre') || {}).innerText").strip()
