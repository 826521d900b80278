"""The service's HTTP side as far as `darkroom submit` sees it, on loopback, with a script of what goes wrong."""

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from serve_app.api import routes
from serve_app.api.events import KEEP_ALIVE, OPENING, event_text
from serve_app.api.views import JobView

CUT = "the connection breaks here"
HOLD = "nothing more comes until the test ends"
PICTURE = b"\x89PNG\r\n\x1a\n a red star"


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as it came in."""

    method: str
    path: str
    headers: Message
    body: bytes


@dataclass(frozen=True, slots=True)
class Says:
    """A whole answer."""

    body: object
    status: int = 200


Scripted = Says | str | Sequence[JobView | str]
"""An answer; a connection that breaks; or a stream of events that ends with the last of these."""


@dataclass
class PretendService:
    """Answers each path with the next line of its script; the last line stays."""

    posts: list[Scripted] = field(default_factory=list)
    events: list[Scripted] = field(default_factory=list)
    fetches: list[Scripted] = field(default_factory=list)
    deletes: list[Scripted] = field(default_factory=lambda: [Says({}, 202)])
    files: list[Scripted] = field(default_factory=lambda: [Says(PICTURE)])
    asked: list[Asked] = field(default_factory=list)
    streaming: threading.Event = field(default_factory=threading.Event)
    """Set once a stream of events is held."""
    over: threading.Event = field(default_factory=threading.Event)
    url: str = ""

    def of(self, method: str, part: str = "") -> list[Asked]:
        """The requests of a method whose path has this part."""
        return [one for one in self.asked if one.method == method and part in one.path]

    def next_for(self, asked: Asked) -> Scripted:
        """What this request is answered with."""
        self.asked.append(asked)
        script = self._script(asked)
        return script.pop(0) if len(script) > 1 else script[0]

    def _script(self, asked: Asked) -> list[Scripted]:
        if asked.method == "DELETE":
            return self.deletes
        if asked.path.startswith(routes.FILES_PATH):
            return self.files
        if asked.path.endswith("/events"):
            return self.events
        return self.fetches if "/fetch/" in asked.path else self.posts


class Listener(ThreadingHTTPServer):
    """The socket of a `PretendService`."""

    daemon_threads = True

    def __init__(self, service: PretendService) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.service = service


class Handler(BaseHTTPRequestHandler):
    """One connection, good for one request."""

    protocol_version = "HTTP/1.1"
    server: Listener

    def answer(self) -> None:
        """Do what the script says."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        says = self.server.service.next_for(Asked(self.command, self.path, self.headers, body))
        if isinstance(says, Says):
            self._whole(says)
        elif says != CUT:
            self._stream(says)
        self.close_connection = True

    do_GET = do_POST = do_DELETE = answer  # noqa: N815 (as the standard library calls them)

    def _whole(self, says: Says) -> None:
        body = says.body if isinstance(says.body, bytes) else json.dumps(says.body).encode()
        self.send_response(says.status)
        if says.status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(b"" if says.status == 204 else body)

    def _stream(self, views: Sequence[JobView | str]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self._chunk(OPENING + KEEP_ALIVE)
        for view in views:
            if isinstance(view, JobView):
                self._chunk(event_text(view))
            else:
                self._break_off(view)
                return
        self._chunk("")

    def _break_off(self, how: str) -> None:
        if how == CUT:
            self._chunk('id: 99\nevent: success\ndata: {"status": "succ')
        else:
            self.server.service.streaming.set()
            self.server.service.over.wait(60)

    def _chunk(self, text: str) -> None:
        self.wfile.write(f"{len(text.encode()):x}\r\n{text}\r\n".encode())
        self.wfile.flush()

    def log_message(self, *_: Any) -> None:  # noqa: ANN401 (as the standard library has it)
        """Nothing."""


@contextmanager
def serving(service: PretendService) -> Iterator[PretendService]:
    """The service on a free port."""
    listener = Listener(service)
    thread = threading.Thread(target=listener.serve_forever, args=(0.02,))
    thread.start()
    service.url = f"http://127.0.0.1:{listener.server_port}"
    try:
        yield service
    finally:
        service.over.set()
        listener.shutdown()
        thread.join()
        listener.server_close()
