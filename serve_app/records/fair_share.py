"""Which due webhooks a courier takes: hosts share its slots evenly, however many webhooks wait for one of them.

What the queries cost grows with the number of hosts, not of webhooks: a dead host may have gathered a hundred thousand.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from sqlalchemy import ColumnElement, Select, exists, func, select, union_all
from sqlalchemy.ext.asyncio import AsyncConnection

from serve_app.records.tables import outbox


async def fair_share(
    connection: AsyncConnection,
    pending: ColumnElement[bool],
    due: ColumnElement[bool],
    limit: int,
    per_host: int,
    busy: Mapping[str, int],
) -> list[str]:
    """The ids of up to `limit` webhooks that are `due`, which all are `pending`.

    Hosts with the fewest `busy` slots come first, and among these in no order: those with the oldest webhooks
    are the dead ones. Of each host its oldest, and never more than leave it with `per_host` slots.
    """
    hosts = [
        host for host in (await connection.execute(_hosts(pending, due))).scalars() if _busy(host, busy) < per_host
    ]
    hosts.sort(key=lambda host: _busy(host, busy))
    oldest = await _oldest(connection, due, {host: per_host - _busy(host, busy) for host in hosts[:limit]})
    places = [(_busy(host, busy) + place, id) for host in oldest for place, id in enumerate(oldest[host])]
    places.sort(key=lambda placed: placed[0])
    return [id for _, id in places[:limit]]


def _busy(host: str, busy: Mapping[str, int]) -> int:
    return busy.get(host, 0)


def _hosts(pending: ColumnElement[bool], due: ColumnElement[bool]) -> Select[str]:
    """The hosts that have due webhooks, shuffled. Jumps from host to host along the index."""
    hosts = select(func.min(outbox.c.host).label("host")).where(pending).cte("hosts", recursive=True)
    following = select(func.min(outbox.c.host)).where(pending, outbox.c.host > hosts.c.host).scalar_subquery()
    hosts = hosts.union_all(select(following).where(hosts.c.host.is_not(None)))
    has_due = exists().where(outbox.c.host == hosts.c.host, due)
    return select(hosts.c.host).where(hosts.c.host.is_not(None), has_due).order_by(func.random())


async def _oldest(
    connection: AsyncConnection, due: ColumnElement[bool], room: Mapping[str, int]
) -> dict[str, Sequence[str]]:
    """Each of these hosts' oldest due webhooks, as many as it has room for, oldest first."""
    found: dict[str, list[str]] = defaultdict(list)
    if not room:
        return {}
    columns = (outbox.c.host, outbox.c.id, outbox.c.next_at)
    order = (outbox.c.next_at, outbox.c.id)
    each = [
        select(select(*columns).where(outbox.c.host == host, due).order_by(*order).limit(count).subquery())
        for host, count in room.items()
    ]
    rows = (await connection.execute(union_all(*each))).all()
    for host, id, _ in sorted(rows, key=lambda row: (row[2], row[1])):
        found[host].append(id)
    return dict(found)
