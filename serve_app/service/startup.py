"""What must be true before a process serves: records that all nodes can reach, in this version's shape."""

import logging
import time
from collections.abc import Callable

from serve_app.config import AppConfig
from serve_app.errors import ConfigError, RecordsUnavailable
from serve_app.records.database import migrate, one_node_only

logger = logging.getLogger(__name__)

PATIENCE_S = 30.0
"""A database that starts together with the service may take so long."""
PAUSE_S = 1.0


def prepare_records(
    config: AppConfig,
    nodes: int,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Migrate the records of a cluster of so many nodes.

    Raises ConfigError where these cannot be shared between nodes, RecordsUnavailable where they stay away.
    """
    url = config.records_url
    if nodes > 1 and one_node_only(url):
        raise ConfigError(
            f"this cluster has {nodes} nodes and SQLite's file is on one of them: "
            "set records.url to a PostgreSQL database, postgresql+psycopg://USER@HOST/DATABASE"
        )
    until = clock() + PATIENCE_S
    while True:
        try:
            return migrate(url)
        except RecordsUnavailable as error:
            if clock() >= until:
                raise
            logger.warning("the records are not there yet: %s", error)
        sleep(PAUSE_S)
