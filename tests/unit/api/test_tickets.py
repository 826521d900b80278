"""Tickets: one job's events, for a while."""

import pytest

from serve_app.api.links import signed_links
from serve_app.api.tickets import LIFETIME_S, Tickets
from serve_app.errors import InvalidKey

NOW = 1_700_000_000.0
TICKETS = Tickets(bytes(32))


def test_a_ticket_is_good_for_its_job_until_it_expires_in_every_process() -> None:
    ticket, expires = TICKETS.make(7, NOW)
    assert expires == NOW + LIFETIME_S
    Tickets(bytes(32)).check(ticket, 7, expires - 1)
    for other, when in ((8, NOW), (7, expires)):
        with pytest.raises(InvalidKey):
            TICKETS.check(ticket, other, when)
    with pytest.raises(InvalidKey):
        Tickets(bytes([1] * 32)).check(ticket, 7, NOW)


def test_what_is_no_ticket_of_ours_opens_nothing_and_is_not_repeated() -> None:
    ticket, expires = TICKETS.make(7, NOW)
    (link,) = signed_links(("7",), "https://host", bytes(32), expires)
    stolen = f"{expires}.{link.rpartition('=')[2]}"
    later = f"{expires + 9}.{ticket.partition('.')[2]}"
    for bad in (
        "",
        ".",
        "x",
        ticket[:-1],
        ticket.upper(),
        later,
        stolen,
        "9" * 5000,
        f"{ticket}\n",
        "\u0663." + "a" * 64,
    ):
        with pytest.raises(InvalidKey) as refused:
            TICKETS.check(bad, 7, NOW)
        assert len(bad) < 2 or bad not in str(refused.value)
