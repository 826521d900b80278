"""The text of a job's event stream, after the server-sent events of the WHATWG's HTML standard, section 9.2.

An event tells the state of now, under its version as the id; it is no entry of a log. So a client that comes
back with Last-Event-ID is told the present state, if that is newer, and nothing in between.
"""

import base64
import json
import re

from serve_app.api.job_resource import standing
from serve_app.api.views import JobView

EVENT_STREAM = "text/event-stream"
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
"""Of the answer: nobody on the way may keep it or hold it back."""
RETRY_MS = 2000
OPENING = f"retry: {RETRY_MS}\n\n"
"""Sent first: how long a client waits before it comes back."""
KEEP_ALIVE = ": keep-alive\n\n"
"""Sent where nothing has happened for a while, so that nobody on the way takes the stream for dead."""
NOTHING_SEEN = -1
_VERSION = re.compile(r"\d{1,18}", re.ASCII)


def last_event_id(header: str | None) -> int:
    """The version that the client saw last, from its Last-Event-ID; NOTHING_SEEN where that is none of ours."""
    text = (header or "").strip()
    return int(text) if _VERSION.fullmatch(text) else NOTHING_SEEN


def is_news(view: JobView, seen: int) -> bool:
    """Whether a client that saw version `seen` is to be told of this one."""
    return view.version > seen


def is_over(view: JobView, seen: int) -> bool:
    """Whether the client has seen the last event: answer 204 then, for at that a browser stops coming back."""
    return view.ended and not is_news(view, seen)


def event_text(view: JobView, preview_png: bytes | None = None) -> str:
    """One event. Its name is progress, or preview where a picture comes along, or how the job ended."""
    data = standing(view)
    name = view.state if view.ended else "progress"
    if preview_png is not None and not view.ended:
        name, data["preview"] = "preview", _data_uri(preview_png)
    return f"id: {view.version}\nevent: {name}\ndata: {json.dumps(data)}\n\n"


def _data_uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
