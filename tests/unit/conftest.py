"""Unit tests run without Ray and without a network beyond this machine."""

import ipaddress
import socket
from typing import Any

import pytest

REAL_CONNECT = socket.socket.connect


@pytest.fixture(autouse=True)
def _no_ray_and_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(self: socket.socket, address: Any) -> None:  # noqa: ANN401 (as the socket module has it)
        if self.family in (socket.AF_INET, socket.AF_INET6) and not _is_loopback(str(address[0])):
            raise AssertionError(f"a unit test reached for {address}")
        REAL_CONNECT(self, address)

    def init(*_args: object, **_kwargs: object) -> None:
        raise AssertionError("a unit test started Ray")

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr("ray.init", init)


def _is_loopback(host: str) -> bool:
    return host == "localhost" or ipaddress.ip_address(host.partition("%")[0]).is_loopback
