# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person is told: while waiting, when it is ready, and when it can't be."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
from collections.abc import Callable

from ansible_collections.hpc.jupyter.plugins.module_utils.failure import playbook, sentence
from ansible_collections.hpc.jupyter.plugins.module_utils.files import printable

# Seconds in the queue after which a person looks elsewhere and is to be told.
NOTABLE_WAIT = 10.0
NOTIFY_TIMEOUT = 5.0  # seconds


def _continue(view: dict) -> str:
    return f"{playbook('launch', view['session'])} goes on waiting for it, {playbook('stop', view['session'])} gives it up."


def duration(seconds: float | None) -> str:
    """Write seconds as people say it: ``45 s``, ``12 min``, ``3 h 05 min``."""
    if seconds is None:
        return "?"
    seconds = int(seconds)
    if seconds < 90:
        return f"{seconds} s"
    if seconds < 5400:
        return f"{round(seconds / 60)} min"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"


def clock(epoch: float | None) -> str:
    """Write a moment in the laptop's own time, with the day when it is not today."""
    if not epoch:
        return "?"
    moment = time.localtime(epoch)
    today = time.localtime()[:3] == moment[:3]
    return time.strftime("%H:%M" if today else "%a %d %b %H:%M", moment)


def describe(view: dict) -> str:
    """Return one line on where a session is."""
    state, reason = view["state"], printable(view.get("reason") or "")
    job = f"job {view['job']}"
    if state == "none":
        return "not running" + (f": {reason}" if reason else "")
    if state in ("queued", "held"):
        text = f"{state}: {job}" + (f", {reason}" if reason else "")
        if view.get("predicted_start"):
            text += f"; expected to start at {clock(view['predicted_start'])}"
        return text
    if state == "unknown":
        return f"the scheduler can't be asked about {job}" + (f": {reason}" if reason else "")
    if state == "ending" and view.get("successor"):
        return f"ending: {job}; the session goes on in job {view['successor']}"
    if state == "starting":
        return f"running: {job} on {view['node'] or 'a node'}, the server is starting"
    if state == "ready":
        left = f", {duration(view['time_left'])} left" if view.get("time_left") else ""
        return f"ready: {job} on {view['node']}{left}"
    return f"{state}: {job}" + (f", {reason}" if reason else "")


def _others(view: dict) -> int:
    """Return how many nodes a session has besides that of its server, 0 while it has none."""
    return max(0, ((view.get("resources") or {}).get("nodes") or 1) - 1) if view.get("node") else 0


def waits(view: dict) -> bool:
    """Tell whether a session may get ready by itself: it waits, starts, or is on its way to its next job."""
    return view["state"] in ("queued", "held", "starting") or view["state"] == "ending" and bool(view.get("successor"))


class Progress:
    """Shows each change once, live.

    :param display: writes one line; Ansible's own shows it while the task runs.
    """

    def __init__(self, display: Callable[[str], None], host: str):
        self._display = display
        self._host = host
        self._last: str | None = None
        self._begun = time.monotonic()
        self.waited = False
        self._told = False

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self._begun

    def say(self, text: str) -> None:
        """Show a line."""
        self._display(f"[{self._host}] {printable(text)}")

    def show(self, view: dict) -> None:
        """Show a session's state if it is news."""
        text = describe(view)
        if text != self._last:
            self.say(text + (f" (after {duration(self.seconds)})" if self._last and self.seconds > 5 else ""))
        if view["state"] in ("queued", "held") and not self._told:
            # Now, for at a Ctrl-C newer cores end the task before it could say anything.
            self.say(f"Ctrl-C leaves job {view['job']} in the queue: {_continue(view)}")
            self._told = True
        self.waited = self.waited or (view["state"] in ("queued", "held") and self.seconds > NOTABLE_WAIT)
        self._last = text

    def finish(self, text: str) -> None:
        """Show the closing lines."""
        # All at once, for other hosts' lines come in between.
        self._display("\n".join(printable(line) for line in text.splitlines()))


def headed(text: str, task_vars: dict) -> str:
    """Return what is shown of one host with its name before it, where the play has others, too."""
    if len(task_vars.get("ansible_play_hosts_all") or ()) < 2:
        return text
    return f"[{task_vars['inventory_hostname']}]" + ("\n" if "\n" in text else " ") + text


def problem(view: dict, launching: bool) -> str | None:
    """Return why a session can't be used, with what to type next, or None."""
    name, state = view["session"], view["state"]
    if waits(view) and not view.get("hopeless"):
        return None
    reason = printable(view.get("reason") or "")
    if state == "failed" or launching and state in ("finished", "ending"):
        lines = "\n".join(f"    {line}" for line in view.get("log_tail") or [])
        tail = f"\nThe last lines of {view['log']}:\n{lines}" if lines else f"\nIts log is {view['log']}."
        what = "did not come up" if launching else "failed"
        return (
            f"Session '{name}' {what}: job {view['job']} on {view['node'] or 'no node'} is over. {reason}{tail}\n"
            f"Nothing is left running. Mend it and run {playbook('launch', name)} again."
        )
    if view.get("hopeless") and state in ("queued", "held"):
        return (
            f"Job {view['job']} of session '{name}' was accepted but can't start as it is: {reason}. It is still queued. "
            f"End it with {playbook('stop', name)}, change what it asks for, and launch again."
        )
    if state == "unknown":
        return (
            f"The scheduler can't be asked about job {view['job']} of session '{name}': {reason}. The job may well be running; "
            "nothing was changed. Try again when the scheduler answers."
        )
    if not launching and state in ("none", "finished", "ending"):
        why = f" {sentence(reason)}" if reason else ""
        return f"Session '{name}' is not running.{why} Start it with {playbook('launch', name)}.{_running([view])}"
    return None


def _running(views: list[dict]) -> str:
    """Return a sentence on the sessions that there are instead of one that never was."""
    others = [other for view in views for other in view.get("others") or ()]
    return f" Running or queued: {', '.join(others)} (jupyter_session)." if others else ""


def next_steps(view: dict) -> str:
    """Return what to do about a session that is not ready and not lost."""
    if view.get("would_submit") and not view["set_up"]:
        return (
            f"This account is not set up yet. Once 'ansible-playbook hpc.jupyter.setup' has been run, a job for session "
            f"'{view['session']}' would be submitted."
        )
    if view.get("would_submit"):
        said = view.get("rehearsal")
        asked = (
            " Whether the scheduler would take it was not asked: this one can't be." if said is None
            else f" Asked about it, the scheduler says now, which may pass: {sentence(said)}" if said
            else " The scheduler would take it."
        )
        return f"Session '{view['session']}' is not running; a job would be submitted.{asked}"
    return f"Not ready yet ({describe(view)}). It stays as it is. {_continue(view)}"


def differences(view: dict, differs: dict | None) -> list[str]:
    """Return a line on what a launch asked for and the session that it found does not have; none when there is nothing.

    :param differs: name -> (what the session has, what was asked for).
    """

    def written(resource: str, value: object) -> str:
        if resource == "idle_timeout":
            return f"{value} s" if value else "never"
        if resource in ("renewals", "mail") and not value:
            return {"renewals": "0", "mail": "none"}[resource]
        if value is None or value == []:
            return "not set"
        if resource == "memory":
            return f"{value // 1024**3}G" if value % 1024**3 == 0 else f"{value // 1024**2}M"
        if resource == "walltime":
            # Ansible compiles it at each start, which most launches need not wait for.
            from ansible_collections.hpc.jupyter.plugins.module_utils.schedulers import base

            return base.clock(value)
        return printable(" ".join(value) if isinstance(value, list) else str(value))

    found = []
    for resource, (has, asked) in sorted((differs or {}).items()):
        if resource == "settings":
            found.append("other settings")
            continue
        found.append(f"{resource} {written(resource, has)} (asked for: {written(resource, asked)})")
    if not found:
        return []
    where = "queued" if view["state"] in ("queued", "held") else "running"
    return [f"Note: the {where} session has {', '.join(found)}. To change that, {playbook('stop', view['session'])}, then launch again."]


def ready(view: dict, tunnel: dict, emit: bool = False) -> str:
    """Return the closing lines of a launch.

    :param emit: whether a command for a person to type was asked for.
    """
    left = f" for {duration(view['time_left'])}" if view.get("time_left") else ""
    others = f" and {_others(view)} more node{'s' * (_others(view) > 1)}" if _others(view) else ""
    lines = [f"Session '{view['session']}' runs on {view['node']}{others}{left} (job {view['job']}, route {tunnel['route']})."]
    lines += [f"Note: {note}." for note in tunnel["notes"]]
    if tunnel["open"] and emit:
        lines += [
            "The tunnel is open on this laptop already.", f"Open in the browser:  {tunnel['url']}",
            "On another laptop, type this and leave it running:", f"  {tunnel['command']}",
        ]
    elif tunnel["open"] or not tunnel["command"]:
        lines.append(f"Open in the browser:  {tunnel['url']}")
    else:
        lines += ["Type on your laptop, and leave it running:", f"  {tunnel['command']}", f"Then open in the browser:  {tunnel['url']}"]
    if view.get("warning"):
        lines.append(f"Warning: {printable(view['warning'].get('message') or '')}")
    return "\n".join(lines)


def stopped(views: list[dict], check: bool = False, name: str | None = None) -> str:
    """Return what a stop did, or in check mode would do.

    :param name: the one session that it was to end; None for all.
    """
    ended = [
        f"'{view['session']}' (job {view['job']})" for view in views
        if (view["state"] not in ("none", "finished", "failed") if check else view["state"] == "stopped")
    ]
    none = f"Session '{name}' was not running.{_running(views)}" if name else "No session was running."
    return f"{'Would end' if check else 'Ended'}: {', '.join(ended)}." if ended else none


def notify(view: dict, url: str) -> None:
    """Show a desktop notification where the laptop has a way to."""
    title, text = "Jupyter is ready", f"Session {view['session']} runs on {view['node']}: {url}"
    script = ["on run argv", "display notification (item 2 of argv) with title (item 1 of argv)", "end run"]
    for argv in (["notify-send", "--", title, text], ["osascript", *[word for line in script for word in ("-e", line)], title, text]):
        if shutil.which(argv[0]):
            # A desktop that does not answer is no reason for a launch to fail.
            with contextlib.suppress(OSError, subprocess.SubprocessError):
                subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=NOTIFY_TIMEOUT, check=False)
            return


def table(views: list[dict], set_up: bool = True) -> list[str]:
    """Return the sessions as lines of text, in columns.

    :param set_up: whether the account can have any.
    """
    if not views and not set_up:
        return ["No sessions: this account is not set up yet. Run 'ansible-playbook hpc.jupyter.setup' first."]
    if not views:
        return ["No sessions. Start one with 'ansible-playbook hpc.jupyter.launch'."]
    rows = [("SESSION", "STATE", "JOB", "NODE", "LEFT", "CORE-HOURS", "TUNNEL", "NOTE")]
    for view in views:
        note = printable(view.get("reason") or "", 120)
        if view.get("predicted_start"):
            note = f"starts {clock(view['predicted_start'])}" + (f" ({note})" if note else "")
        if view.get("ended"):
            note = f"ended {clock(view['ended'])}" + (f" ({note})" if note else "")
        if view.get("successor"):
            note = ", ".join(filter(None, [note, f"goes on in job {view['successor']}"]))
        tunnel = view.get("tunnel") or {}
        rows.append((
            view["session"], view["state"], str(view.get("job") or "-"), (view.get("node") or "-") + (f" +{_others(view)}" if _others(view) else ""),
            duration(view["time_left"]) if view.get("time_left") is not None else "-",
            f"{view['core_hours']:.2f}" if view.get("core_hours") is not None else "-",
            tunnel.get("url") or "-" if tunnel.get("up") else "-", note,
        ))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
