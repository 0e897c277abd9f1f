"""A look at the deployment from outside its network, and the ping of a monitor outside the account."""

import http.client
from collections.abc import Mapping
from typing import Any, Literal
from urllib.parse import urlsplit

SECONDS_A_PING = 3.0
TRIES = 2
LONGEST_BODY = 10_000
"""Bytes of a ping. healthchecks.io keeps as many."""

Signal = Literal["start", "success", "fail"]


class WatchError(RuntimeError):
    """The deployment does not work, seen from outside. The message says what is wrong."""


def look(answer: Mapping[str, Any]) -> str:
    """What the console's answer to `{"query": "health"}` says in a line, when the deployment works.

    A single job that has not succeeded lately is no trouble of the whole: it is named, and its alarm tells of it.

    Raises:
        WatchError: the database does not answer, or the supervisor has stopped.
    """
    if answer.get("status") != "ready":
        raise WatchError(str(answer.get("reason") or answer.get("error") or "the console gave no answer"))
    supervisor = answer.get("supervisor", {})
    if supervisor.get("silent", True):
        last = supervisor.get("last_round")
        raise WatchError(f"the supervisor has not looked over the ledger {f'since {last}' if last else 'yet'}")
    degraded = [job["job"] for job in answer.get("jobs", ()) if job["status"] == "degraded"]
    return f"no success lately: {', '.join(degraded)}" if degraded else "all jobs have succeeded lately"


def ping(url: str, signal: Signal, body: str = "") -> None:
    """Tell a monitor in the manner of healthchecks.io: the address itself means success, with /start or /fail at its
    end the other two.

    Raises:
        OSError: it does not answer, or refuses.
    """
    parts = urlsplit(url)
    path = parts.path.rstrip("/") + ("" if signal == "success" else f"/{signal}")
    target = f"{path or '/'}?{parts.query}" if parts.query else path or "/"
    for left in reversed(range(TRIES)):
        try:
            _post(parts.scheme, parts.netloc, target, body)
        except (OSError, http.client.HTTPException) as error:
            if not left:
                raise OSError(f"the monitor at {parts.netloc} does not take a ping: {error!r}") from error
        else:
            return


def _post(scheme: str, place: str, target: str, body: str) -> None:
    kind = http.client.HTTPSConnection if scheme == "https" else http.client.HTTPConnection
    connection = kind(place, timeout=SECONDS_A_PING)
    try:
        connection.request("POST", target, body.encode()[:LONGEST_BODY], {"Content-Type": "text/plain; charset=utf-8"})
        status = connection.getresponse().status
    finally:
        connection.close()
    if status >= 300:
        raise OSError(f"HTTP {status}")
