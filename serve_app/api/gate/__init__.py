"""What stands before every request: whose body is read, how fast it must come, and how much of all of them is held.

The same ASGI class guards Serve's proxy, where slow bodies wait without taking a place of the service, and the ingress
behind it, which is the first to see a request where HAProxy stands in front.
"""

from serve_app.api.gate.gate import Gate
from serve_app.api.gate.judging import AskedJudge, Judge, Judgement, OwnJudge
from serve_app.api.gate.memory import return_large_blocks
from serve_app.api.gate.rules import Rules

__all__ = ["AskedJudge", "Gate", "Judge", "Judgement", "OwnJudge", "Rules", "return_large_blocks"]
