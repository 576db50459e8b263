# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""--check changes nothing and says what would be; --diff shows it; the run without them then does just that."""

from __future__ import annotations

LOOK = "cd; find . -path ./.ssh -prune -o -printf '%p %m %s %T@\\n' | sort"


def test_check_mode_tells_the_truth_from_before_the_first_setup_to_after_the_stop(account, laptop):
    def unchanged(playbook, *more, **variables):
        before = account.shell(LOOK), account.jobs(), laptop.authority.exists()
        run = laptop.run(playbook, "--check", *more, **variables).succeeded()
        assert (account.shell(LOOK), account.jobs(), laptop.authority.exists()) == before
        return run

    # Nothing is there yet.
    first = unchanged("setup", "--diff")
    assert first.of("batch")["changed"] and first.of("server")["changed"]
    assert "+module load jupyterlab" in first.text and "jupyter_server_config.json" in first.text
    assert "argon2:" not in first.text
    assert not unchanged("stop").changed
    early = unchanged("launch")
    assert early.changed and "not set up yet" in early.message and early.message in early.text

    assert laptop.run("setup").succeeded().changed
    same = unchanged("setup", "--diff")
    assert not same.changed and "+++" not in same.text

    # One thing differs: that is what is shown, and that is what is done.
    other = unchanged("setup", "--diff", jupyter_environment={"MARK": "yes"})
    assert other.of("batch")["changed"] and not other.of("server")["changed"]
    assert "+export MARK=yes" in other.text
    done = laptop.run("setup", "--diff", jupyter_environment={"MARK": "yes"}).succeeded()
    assert done.of("batch")["diff"] == other.of("batch")["diff"]
    assert not unchanged("setup", jupyter_environment={"MARK": "yes"}).changed

    would = unchanged("launch")
    assert would.changed and "would be submitted. The scheduler would take it." in would.message and would.message in would.text
    assert would.of("session")["tunnel"]["command"] is None
    refused = laptop.run("launch", "--check", jupyter_queue="typo").failed()
    assert "would refuse the job" in refused.message and "jupyter_queue" in refused.message
    job = laptop.run("launch").succeeded().of("session")["job"]
    adopted = unchanged("launch").of("session")
    assert not adopted["changed"] and adopted["job"] == job
    stop = unchanged("stop")
    assert stop.changed and f"Would end: 'default' (job {job})." in stop.text
    assert laptop.run("stop").succeeded().changed
    assert not unchanged("stop").changed
