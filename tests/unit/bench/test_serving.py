"""What the service's bench believes of HAProxy, and what it says where there is none."""

import socket
import threading
from pathlib import Path

import pytest

from bench import service
from bench.overhead import Sample
from bench.serving import HAProxy, NotMeasured, is_replica

STATISTICS = """# pxname,svname,stot
http_frontend,FRONTEND,9
http-darkroom,SERVE_REPLICA_darkroom-Ingress-aeuvoo4t,7
http-darkroom,SERVE_PROXY_ACTOR-fallback-68,2
http-darkroom,BACKEND,9

"""
PLAN = service.Plan(requests=2, rounds=2, side=64, safety=True)


def test_only_what_went_to_replicas_counts_as_forwarded() -> None:
    names = [line.split(",")[1] for line in STATISTICS.splitlines()[1:5]]
    assert [is_replica(name) for name in names] == [False, True, False, False]


def test_haproxy_is_asked_at_its_admin_socket(tmp_path: Path) -> None:
    (tmp_path / "node").mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "node" / "admin.sock"))
        listener.listen()
        thread = threading.Thread(target=_answer_once, args=(listener,))
        thread.start()
        assert HAProxy(tmp_path).forwarded() == 7
        thread.join()


def _answer_once(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    with connection:
        assert connection.recv(100) == b"show stat\n"
        connection.sendall(STATISTICS.encode())


def test_no_haproxy_is_no_measurement(tmp_path: Path) -> None:
    with pytest.raises(NotMeasured, match="admin socket"):
        HAProxy(tmp_path).forwarded()


def test_a_proxy_that_cannot_run_is_told_as_null_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def round_(proxy: str, *_: object) -> list[Sample]:
        if proxy == "haproxy":
            raise NotMeasured("no such binary")
        return [Sample(12.0, {"read": 1.0, "engine": 10.0})]

    monkeypatch.setattr(service, "_round", round_)
    figures = service.measure(PLAN, service.PROXIES, print)
    assert figures["haproxy"] == {"overhead_ms": None, "reason": "no such binary"}
    assert figures["serve"] == {
        "overhead_ms": {"median": 2.0, "p95": 2.0},
        "by_round_ms": [2.0, 2.0],
        "ms": {
            "total": {"median": 12.0, "p95": 12.0},
            "engine": {"median": 10.0, "p95": 10.0},
            "overhead": {"median": 2.0, "p95": 2.0},
            "read": {"median": 1.0, "p95": 1.0, "share": 0.5},
            "proxy": {"median": 1.0, "p95": 1.0, "share": 0.5},
        },
    }
