# Copyright: (c) 2026, hpc.jupyter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program's verbs for sessions."""

import binascii
import os
import time

from . import files, launching, stopping, waiting
from .failure import Failure, from_os_error, playbook
from .places import Site, expand
from .session import ALIVE, LOOPBACK, Session, fingerprint, first, waits

# Seconds for which a session that ended is listed.
REMEMBERED = 7 * 86400


def launch(request):
    """Verb: adopt, or submit and wait for the first news.

    :param request: dict with ``batch_dir``, ``session``, and optionally ``site_dir``, ``resources``, ``job``
        (overrides of job.json), ``renewals``, ``mail``, ``check``, ``hold`` (seconds).
    :returns: dict, a view with ``changed`` and ``fingerprint``, and of a session that was there ``differs`` (dict, name ->
        [what it has, what was asked for]).
    """
    session = Session(Site.of_request(request), request["session"], passive=bool(request.get("check")))
    view, changed = launching.start(session, request)
    if waits(view) and not request.get("check"):
        kept = dict((key, view.get(key)) for key in ("adopted", "differs"))
        # How one is that was there, is news itself.
        hold = 0 if kept["adopted"] else request.get("hold", 0)
        view = dict(waiting.for_news(session, fingerprint(view), hold, submitted=not kept["adopted"]), **kept)
    config_dir = session.known_facts.get("job", {}).get("config_dir")
    return dict(view, changed=changed, fingerprint=fingerprint(view), outdated=_is_outdated(session, request),
                config_dir=config_dir and expand("jupyter_config_dir", config_dir))


def _is_outdated(session, request):
    """Tell whether setup put another version of this program here than the one that asks."""
    facts = session.known_facts
    return bool(facts and request.get("program") and facts.get("program") != request["program"])


def look(request):
    """Verb: wait for news of a session that was launched, submit nothing.

    :param request: dict with ``batch_dir``, ``session``, ``seen`` and ``asked`` (fingerprint and ``asked`` of the view before), ``hold``.
    :returns: dict, a view with ``fingerprint`` and ``asked``.
    """
    session = Session(Site.of_request(request), request["session"])
    view = waiting.for_news(session, request.get("seen"), request.get("hold", 0), told=request.get("asked"))
    return dict(view, fingerprint=fingerprint(view), others=_others(session.site, view))


def _others(site, view):
    """Return the names of the user's sessions that have a job, where one was named that has none and never had: a slip, most likely."""
    if view["state"] != "none" or view["jobs"]:
        return []
    records = ((name, Session(site, name).record()) for name in site.session_names())
    return [name for name, record in records if record.get("job") and not record.get("over")]


def info(request):
    """Verb: the sessions of the user that are there or ended within a week (or those named), with one query to the scheduler."""
    site = Site.of_request(request)
    names = request.get("sessions") or site.session_names()
    if not names and not os.path.exists(site.facts_path):
        return {"sessions": [], "set_up": False}
    sessions = [Session(site, name, passive=bool(request.get("check"))) for name in names]
    # One whose files can't be read hides none of the others.
    records = dict(_each(sessions, lambda session: session.record()))
    readable = [session for session in sessions if not isinstance(records[session], Failure)]
    wanted = [job for session in readable for job in session.asked_for(records[session])]
    jobs = sessions[0].scheduler.look(wanted) if wanted else {}

    def seen(session):
        if isinstance(records[session], Failure):
            raise records[session]
        job, record = session.ask(records[session], jobs)
        return _with_end(session.view(record, job, asked=False), session, record, job)

    views = []
    for session, view in _each(sessions, seen):
        if isinstance(view, Failure):
            view = dict(session.view({}, asked=False), state="unknown", reason=view.message, ended=None)
        if request.get("sessions") or view["state"] != "none" and (view["ended"] is None or view["ended"] > time.time() - REMEMBERED):
            views.append(view)
    return {"sessions": views, "set_up": True}


def _each(sessions, what):
    """Yield each session and what a function returns for it, or the Failure that kept it from that."""
    for session in sessions:
        try:
            yield session, what(session)
        except (Failure, OSError) as error:
            yield session, error if isinstance(error, Failure) else from_os_error(error)


def _with_end(view, session, record, job):
    """Return a view that also tells when its session ended (``ended``, epoch or None), and that it was stopped."""
    if record.get("submitting") and view["state"] == "none":
        # There may be a job.
        return dict(view, state="unknown", ended=None)
    if record.get("ended") and view["state"] == "none":
        return dict(view, state="stopped", job=next(iter(record.get("jobs", [])[-1:]), None), ended=record["ended"])
    if view["state"] in ALIVE or view["state"] == "none":
        return dict(view, ended=None)
    stamp = files.stamp(session.places.record)
    return dict(view, ended=first(job and job.ends, stamp and stamp[0]))


def stop(request):
    """Verb: end a session, or all (``session`` None).

    :returns: dict: ``sessions`` (a view of each that is over), ``changed``, and ``not_stopped``, one dict (``session``, ``msg``,
        ``cause``) for each of all that could not be ended: they keep none of the others from it.
    :raises Failure: when the one that was named can't be ended.
    """
    site, passive = Site.of_request(request), bool(request.get("check"))
    if request.get("session"):
        view, changed = stopping.stop(Session(site, request["session"], passive), request)
        return {"sessions": [dict(view, others=_others(site, view))], "changed": changed, "not_stopped": []}
    views, any_changed, not_stopped = [], False, []
    sessions = [Session(site, name, passive) for name in site.session_names()]
    for session, outcome in _each(sessions, lambda session: stopping.stop(session, request)):
        if isinstance(outcome, Failure):
            not_stopped.append({"session": session.name, "msg": outcome.message, "cause": outcome.cause})
        else:
            views.append(outcome[0])
            any_changed = any_changed or outcome[1]
    return {"sessions": views, "changed": any_changed, "not_stopped": not_stopped}


def control(request):
    """Verb: leave an order for the running keeper, and see it done.

    :param request: dict with ``batch_dir``, ``session``, ``order`` ({"endpoint", "listen"} to move to another endpoint,
        {"reverse": {"host", "socket"}} for a tunnel back to here) and ``hold`` (seconds to wait at most).
    :returns: dict, a view with ``done`` and, where the keeper says why not, ``refused``.
    """
    session = Session(Site.of_request(request), request["session"])
    if not session.record().get("job"):
        raise Failure("Session '%s' is not running; nothing was asked of it. Start it with %s."
                      % (session.name, playbook("launch", session.name)), "not-running")
    # What was refused to the same order earlier is no answer to this one.
    order = dict(request["order"], asked=binascii.hexlify(os.urandom(4)).decode("ascii"))
    before = files.read_json(session.places.control) or {}
    # A reverse tunnel is held for as long as the session lives, whatever else is asked of it later.
    files.write_json(session.places.control, dict({"reverse": before["reverse"]} if before.get("reverse") else {}, **order))
    deadline = time.time() + request.get("hold", 0)
    while True:
        view = session.view(asked=False)
        done, refused = _obeyed(view, order)
        if done or refused or view["state"] not in ALIVE or time.time() >= deadline:
            return dict(view, changed=True, done=done, refused=files.printable(refused) or None)
        time.sleep(waiting.FILE_INTERVAL)


def _obeyed(view, order):
    """Return (whether an order was carried out, why not or "") as far as a view tells."""
    if "reverse" in order:
        state = view["reverse"] or {}
        if state.get("socket") != order["reverse"]["socket"]:
            return False, ""
        return state.get("state") == "up", state.get("message") or ""
    told = view["control"] or {}
    if all((told.get("order") or {}).get(key) == value for key, value in order.items()) and told.get("refused"):
        return False, told["refused"]
    endpoint = view["endpoint"]
    if endpoint is None or (told.get("order") or {}).get("asked") != order["asked"]:
        return False, ""
    return (endpoint.get("address") in LOOPBACK) == (order["listen"] == "loopback"), ""
