"""Webhooks without a network: signatures, what an answer means, and when the next attempt is."""

import base64
import json
from dataclasses import dataclass
from math import inf
from random import Random
from time import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from standardwebhooks import Webhook, WebhookVerificationError

from serve_app.config import WebhooksConfig
from serve_app.records.outbox import HookState, make_entry
from serve_app.webhooks.sending import Answered, judge, pause_after, signed_headers

CONFIG = WebhooksConfig()
DAY = 86400.0


@dataclass(frozen=True)
class Answer:
    status: int | None
    retry_after_s: float | None = None
    error: str = ""


def secret(byte: bytes) -> str:
    return "whsec_" + base64.b64encode(byte * 32).decode()


def judged(answer: Answered, attempts: int = 1) -> HookState:
    return judge(answer, attempts, CONFIG, Random(0)).state


def test_a_signature_verifies_with_the_standard_library_of_receivers() -> None:
    headers = signed_headers("msg_1", '{"id":7}', [secret(b"a")], time())
    assert Webhook(secret(b"a")).verify('{"id":7}', headers) == {"id": 7}
    assert headers["content-type"] == "application/json"
    assert headers["user-agent"] == "Darkroom"
    assert headers["webhook-timestamp"].isdecimal()


@pytest.mark.parametrize("change", [{"webhook-id": "msg_2"}, {"webhook-timestamp": str(int(time()) - 1)}])
def test_a_signature_covers_the_id_and_the_moment(change: dict[str, str]) -> None:
    headers = signed_headers("msg_1", "{}", [secret(b"a")], time()) | change
    with pytest.raises(WebhookVerificationError):
        Webhook(secret(b"a")).verify("{}", headers)


def test_during_a_rotation_both_secrets_verify_and_no_third() -> None:
    headers = signed_headers("msg_1", "{}", [secret(b"a"), secret(b"b")], time())
    assert len(headers["webhook-signature"].split(" ")) == 2
    Webhook(secret(b"a")).verify("{}", headers)
    Webhook(secret(b"b")).verify("{}", headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(secret(b"c")).verify("{}", headers)


@given(st.dictionaries(st.text(), st.text() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)))
def test_every_payload_is_ascii_and_verifies_as_it_was(payload: dict[str, object]) -> None:
    entry = make_entry(7, "first", "http://hooks.test/", payload, 0.0)
    assert entry.payload.isascii()
    headers = signed_headers(entry.id, entry.payload, [secret(b"a")], time())
    assert Webhook(secret(b"a")).verify(entry.payload.encode(), headers) == json.loads(json.dumps(payload))


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://Hooks.Example.com/a", "hooks.example.com:443"),
        ("http://hooks.example.com./a?b=c", "hooks.example.com:80"),
        ("http://127.0.0.1:8080", "127.0.0.1:8080"),
        ("https://[::1]/", "::1:443"),
        ("http://" + "a" * 300 + "/", "a" * 252 + ":80"),
    ],
)
def test_the_host_of_an_entry_is_a_name_and_a_port(url: str, host: str) -> None:
    assert make_entry(7, "first", url, {}, 0.0).host == host


def test_ids_differ_and_carry_no_full_stop() -> None:
    ids = {make_entry(7, "first", "http://hooks.test/", {}, 0.0).id for _ in range(100)}
    assert len(ids) == 100
    assert all(id.startswith("msg_") and "." not in id for id in ids)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_2xx_is_success(status: int) -> None:
    assert judged(Answer(status)) == HookState.DELIVERED


@pytest.mark.parametrize("status", [None, 101, 301, 302, 308, 400, 401, 404, 429, 500, 503, 599])
def test_everything_else_is_tried_again_and_dead_after_the_last_attempt(status: int | None) -> None:
    last = len(CONFIG.schedule_s)
    assert [judged(Answer(status), attempts) for attempts in (1, last - 1)] == [HookState.PENDING] * 2
    assert judged(Answer(status), last) == HookState.DEAD


def test_a_refusal_that_cannot_change_is_dead_at_once() -> None:
    verdict = judge(Answer(None, inf, "TargetRefused: the URL carries a user or password"), 1, CONFIG, Random(0))
    assert (verdict.state, verdict.gone) == (HookState.DEAD, False)
    assert verdict.error == "TargetRefused: the URL carries a user or password"


def test_an_error_that_quotes_a_url_keeps_its_secrets() -> None:
    assert judge(Answer(None, None, "no way to http://user:word@h.test/"), 1, CONFIG, Random(0)).error == (
        "no way to http://***@h.test/"
    )


def test_410_is_the_end_and_disables() -> None:
    verdict = judge(Answer(410), 1, CONFIG, Random(0))
    assert (verdict.state, verdict.gone) == (HookState.DEAD, True)
    assert not judge(Answer(404), 10, CONFIG, Random(0)).gone


def test_the_pauses_follow_the_schedule_stretched_by_a_tenth_at_most() -> None:
    for attempts in range(1, 10):
        pauses = {pause_after(attempts, None, CONFIG, Random(seed)) for seed in range(200)}
        planned = CONFIG.schedule_s[attempts]
        assert all(pause is not None and planned <= pause <= planned * 1.1 for pause in pauses)
        assert max(pause or 0 for pause in pauses) > planned * 1.08
    assert pause_after(10, None, CONFIG, Random(0)) is None


@given(st.integers(1, 9), st.floats(0, 1e9))
def test_the_receiver_is_asked_no_earlier_than_it_wants_up_to_a_day(attempts: int, wanted_s: float) -> None:
    pause = pause_after(attempts, wanted_s, CONFIG, Random(0))
    assert pause is not None
    assert pause >= max(CONFIG.schedule_s[attempts], min(wanted_s, DAY))
    assert pause <= max(CONFIG.schedule_s[attempts] * 1.1, DAY)


@pytest.mark.parametrize("schedule", [(), (0, -1), (0, float("inf"))])
def test_a_schedule_without_attempts_or_with_impossible_pauses_is_refused(schedule: tuple[float, ...]) -> None:
    with pytest.raises(ValidationError):
        WebhooksConfig(schedule_s=schedule)


def test_retry_after_gives_no_attempt_beyond_the_last() -> None:
    assert judged(Answer(503, 5.0), 10) == HookState.DEAD


def test_what_a_receiver_made_an_error_say_fits_a_database_and_a_terminal() -> None:
    verdict = judge(Answer(None, None, "no\0host\x1b[31m\ud800é" + "x" * 10_000), 1, CONFIG, Random(0))
    assert verdict.error.startswith("no?host?[31m?éx")
    assert len(verdict.error) == 300
