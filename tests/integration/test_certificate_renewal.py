# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A launch renews a certificate that is about to end, and starts the server all the same with one that has ended."""

from __future__ import annotations

import datetime

from ansible_collections.hpc.jupyter.plugins.plugin_utils import certificate
from harness import free_port


def put_old_certificate(account, laptop, monkeypatch, age):
    """Put a certificate of 90 days there that was made some days ago."""
    authority = certificate.Authority.open(laptop.authority.parent)
    now = certificate._now()
    with monkeypatch.context() as context:
        context.setattr(certificate, "_now", lambda: now - datetime.timedelta(days=age))
        old = authority.issue(90)
    account.shell(f"umask 077; cd ~/.jupyter; cat > hpc-jupyter.crt <<'PEM'\n{old.certificate}\nPEM\ncat > hpc-jupyter.key <<'PEM'\n{old.key}\nPEM\n")


def test_a_launch_renews_what_is_about_to_expire(account, laptop, monkeypatch):
    laptop.variables.update(jupyter_endpoint="tls", jupyter_tunnel="open", jupyter_local_port=free_port())
    # Short as it is, it is new.
    short = laptop.run("setup", jupyter_certificate_days=10, jupyter_certificate_renew_days=5).succeeded().of("server")["certificate_expires"]
    fresh = laptop.run("launch").succeeded()
    assert "the certificate was renewed" not in fresh.text
    put_old_certificate(account, laptop, monkeypatch, 80)
    first = laptop.run("launch").succeeded()
    assert "the certificate was renewed" in first.text
    # Nothing more to renew, and the server that runs is still the one that was looked for.
    again = laptop.run("launch").succeeded()
    assert "the certificate was renewed" not in again.text and not again.changed
    assert laptop.run("setup").succeeded().of("server")["certificate_expires"] > short
    laptop.run("stop").succeeded()


def test_one_that_has_ended_is_replaced_and_the_server_starts(account, laptop, monkeypatch):
    laptop.variables.update(jupyter_endpoint="tls", jupyter_tunnel="open", jupyter_local_port=free_port())
    laptop.run("setup").succeeded()
    put_old_certificate(account, laptop, monkeypatch, 100)
    launch = laptop.run("launch").succeeded()
    assert "the certificate was renewed" in launch.text
    assert launch.of("session")["tunnel"]["open"]
    laptop.run("stop").succeeded()
