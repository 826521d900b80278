"""What Serve's proxy runs before it forwards a request: `RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH` names `guards`.

The proxy reads whole bodies into memory, and a request takes a place of the ingress while its body comes; so slow and
large ones have to be stopped here. In HAProxy mode the ingress calls the same for its own HTTP server.
"""

from functools import partial

from starlette.middleware import Middleware
from starlette.types import ASGIApp

from deployments.connections import guard_connections
from deployments.terminal import say_lines
from serve_app.api.gate import AskedJudge, Gate, return_large_blocks
from serve_app.service.lines import Refusals, told_of


def guards() -> list[Middleware]:
    """The gate, and deadlines for connections."""
    return_large_blocks()
    learnt = guard_connections()
    say_lines()
    refusals = Refusals()

    def gate(app: ASGIApp) -> Gate:
        return Gate(app, AskedJudge(app, learnt), asked=False, refused=partial(told_of, refusals))

    return [Middleware(gate)]
