"""Who may come in: a browser on this machine that was handed the address, and nobody through it.

The page acts with the operator's credentials, so a stranger's page in the same browser must not reach it. Names that
resolve to this machine (DNS rebinding) fail at the Host header, forms of other origins at Origin, cookie and token, and
other users of the machine at the token in the address.
"""

import secrets
from hmac import compare_digest

from flask import Flask, Response, abort, redirect, request, session

POLICY = "; ".join(
    (
        "default-src 'none'",
        *(f"{kind}-src 'self'" for kind in ("style", "script", "img", "connect")),
        *("form-action 'self'", "base-uri 'none'", "frame-ancestors 'none'"),
    )
)
"""The content security policy: files of the page itself, and nothing that stands within it."""

HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    # Not no-referrer: with that a browser sends forms of the page itself with `Origin: null`.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}

READING = {"GET", "HEAD"}

OUTSIDE = "Open the address that nightshift web has printed: it has a token, by which this browser is let in."
FOREIGN = "This was not sent from a form of the page. Nothing was done. Open the page anew and try it there."


def guard(app: Flask, *, port: int, token: str, once: str | None = None) -> None:
    """Let in whoever brings the token, keep them in with a cookie, and send every answer with strict headers.

    once: a token that lets in a single browser. Other users of the machine may read it off the list of processes.
    """
    unused = [once] if once else []
    app.secret_key = secrets.token_bytes(32)  # a new one each time: with the command, all that it let in ends
    app.config |= {
        "SESSION_COOKIE_NAME": f"nightshift-{port}",  # a cookie belongs to a host, and not to a port of it
        "SESSION_COOKIE_SAMESITE": "Strict",
        "SESSION_COOKIE_HTTPONLY": True,
        "MAX_CONTENT_LENGTH": 64 * 1024,
    }
    hosts = {f"{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]")}

    @app.before_request
    def let_in() -> "Response | None":
        if request.host not in hosts:
            abort(421, f"This page is at http://127.0.0.1:{port} only.")
        if request.endpoint == "static":
            return None
        if request.method in READING and "token" in request.args:
            given = request.args["token"]
            if not any(compare_digest(given.encode(), each.encode()) for each in (token, *unused)):
                abort(401, OUTSIDE)
            if given in unused:
                unused.remove(given)
            session["form"] = secrets.token_urlsafe(24)
            return redirect(request.path, 303)  # type: ignore[return-value]
        if "form" not in session:
            abort(401, OUTSIDE)
        if request.method not in READING and not _from_a_form_of_the_page():
            abort(403, FOREIGN)
        return None

    @app.after_request
    def strictly(response: Response) -> Response:
        response.headers.update(HEADERS)
        return response


def _from_a_form_of_the_page() -> bool:
    given = request.form.get("form", "")
    return (
        request.headers.get("Origin") == f"http://{request.host}"
        and request.headers.get("Sec-Fetch-Site", "same-origin") == "same-origin"
        and compare_digest(given.encode(), str(session["form"]).encode())
    )
