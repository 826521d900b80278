"""The numbers and routes that a gate goes by. Serve's proxy, which has no configuration of ours, asks for them."""

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cached_property

from starlette.routing import compile_path

from serve_app.api import routes
from serve_app.config import ApiConfig

STRANGERS_SHARE = 4
"""Bodies without a known key may hold one part in so many of `bodies_bytes`."""
Served = tuple[str, tuple[str, ...]]
"""A path's template and its methods."""


@dataclass(frozen=True)
class Rules:
    """Of one configuration."""

    max_body_bytes: int
    keyless_body_bytes: int
    bodies_bytes: int
    body_timeout_s: float
    body_bytes_per_s: int
    head_timeout_s: float
    write_timeout_s: float
    max_requests: int
    errors_as_200: bool
    cors_origins: tuple[str, ...]
    served: tuple[Served, ...] = ()
    """Empty: not known, so every path may take a body."""

    @classmethod
    def of(cls, api: ApiConfig, served: Iterable[Served] = ()) -> "Rules":
        """The rules of a configuration and the routes that it serves."""
        return cls(
            max_body_bytes=api.max_body_bytes,
            keyless_body_bytes=min(api.keyless_body_bytes, api.max_body_bytes),
            bodies_bytes=api.bodies_bytes,
            body_timeout_s=api.body_timeout_s,
            body_bytes_per_s=api.body_bytes_per_s,
            head_timeout_s=api.head_timeout_s,
            write_timeout_s=api.write_timeout_s,
            max_requests=api.max_requests,
            errors_as_200=api.errors_as_200,
            cors_origins=tuple(api.cors_origins),
            served=tuple(served),
        )

    def dump(self) -> str:
        """As JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def load(cls, text: str | bytes) -> "Rules":
        """What `dump` wrote. Raises ValueError, TypeError or KeyError for anything else."""
        values = json.loads(text)
        served = tuple((str(path), tuple(methods)) for path, methods in values.pop("served"))
        return cls(**{**values, "cors_origins": tuple(values["cors_origins"]), "served": served})

    def seconds_for(self, received: int) -> float:
        """How long a body may have taken by the time that so many bytes of it are there."""
        return self.body_timeout_s + received / self.body_bytes_per_s

    @property
    def strangers_bytes(self) -> int:
        """What bodies without a known key may hold together."""
        return self.bodies_bytes // STRANGERS_SHARE

    def is_served(self, method: str, path: str) -> bool:
        """Whether a route answers this method here."""
        return not self.served or any(method in methods for pattern, methods in self._patterns if pattern.match(path))

    def takes_body(self, method: str, path: str) -> bool:
        """Whether what a client sends along is read at all."""
        return method == "POST" and self.is_served(method, path)

    @cached_property
    def _patterns(self) -> list[tuple[re.Pattern[str], tuple[str, ...]]]:
        return [(compile_path(path)[0], methods) for path, methods in self.served]


def is_health(path: str) -> bool:
    """Whether a path is asked by those who watch the service: it is answered however busy that is."""
    return path in (routes.HEALTH_PATH, routes.READY_PATH)
