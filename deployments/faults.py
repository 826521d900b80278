"""Why a replica did not start, in a line: found in what Serve says about its deployment."""

import re
from collections.abc import Mapping

from serve_app.config import AppConfig

FAILED = "failed to start"
"""Serve's words where a constructor raised; it goes on trying for minutes."""
OURS = ("ConfigError", "SafetyCheckFailed", "StorageFailed", "RecordsUnavailable")
"""Errors that another try would meet again: what is transient was waited for before they were raised."""
RAISED = re.compile(r"^(?:[A-Za-z_]\w*\.)*([A-Z]\w*): (.*)$", re.MULTILINE)
"""A traceback's last line."""
LONGEST = 400
DIFFUSION = "Diffusion-"


def start_faults(config: AppConfig, messages: Mapping[str, str], *, given_up: bool) -> list[str]:
    """A line for each deployment that will not start, from Serve's messages by deployment; none while there is hope."""
    faults = []
    for name, message in messages.items():
        raised = _last_raised(message) if FAILED in message else None
        if raised is not None and (given_up or raised[0] in OURS):
            faults.append(_told(config, name, *raised))
    return faults or (["the replicas did not start: see the logs"] if given_up else [])


def _last_raised(message: str) -> tuple[str, str] | None:
    found = [(kind, text) for kind, text in RAISED.findall(message) if kind.endswith(("Error", *OURS)) or "." in kind]
    return found[-1] if found else None


def _told(config: AppConfig, deployment: str, kind: str, text: str) -> str:
    reason = text if kind in OURS else f"{kind}: {text}"
    reason = reason if len(reason) <= LONGEST else f"{reason[:LONGEST]} …"
    model = deployment.removeprefix(DIFFUSION)
    places = {entry.id: place for place, entry in enumerate(config.catalogue)}
    if model in places and deployment.startswith(DIFFUSION):
        return f"catalogue[{places[model]}]: {reason}"
    return reason if kind in OURS else f"{deployment}: {reason}"
