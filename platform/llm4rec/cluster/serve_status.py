"""What Ray Serve says of an app that it could not deploy, in the words of the exception behind it."""

import re
from collections.abc import Mapping
from typing import Any

EXCEPTION = re.compile(r"^[A-Za-z_][\w.]*(?:Error|Exception)(?::|$)", re.MULTILINE)
"""How the last part of a traceback begins."""
FRAME = "\n  File "
"""What any traceback has."""


def failure_of(applications: Mapping[str, Any], app: str) -> str | None:
    """Why Serve has given up deploying an app; None if it has not.

    An app is DEPLOY_FAILED also while a replica that has just started misses a health check, and recovers from that, so
    a deployment in which that happened does not count.

    Args:
        applications: of the answer to Serve's `GET /api/serve/applications/` (Ray 2.60).
        app: its name.
    """
    found = applications.get(app, {})
    if found.get("status") != "DEPLOY_FAILED":
        return None
    failed = {
        name: deployment
        for name, deployment in found.get("deployments", {}).items()
        if deployment.get("status") == "DEPLOY_FAILED"
    }
    if not failed:  # it could not even be built
        return reason(str(found.get("message", "")))
    told = [
        f"{name}: {reason(str(deployment.get('message', '')))}"
        for name, deployment in failed.items()
        if deployment.get("status_trigger") != "HEALTH_CHECK_FAILED"
    ]
    return "; ".join(told) or None


def reason(message: str) -> str:
    """A message of Serve from the last exception of its traceback on, in one line; all of it where there is none.

    An exception of another name than most have is what stands unindented last.
    """
    starts = [match.start() for match in EXCEPTION.finditer(message)]
    if not starts and FRAME in message:
        starts = [match.start() for match in re.finditer(r"^\S", message, re.MULTILINE)]
    return " ".join(message[starts[-1] if starts else 0 :].split()) or "Serve gives no reason"
