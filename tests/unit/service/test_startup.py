"""Before a process serves: records that every node can reach."""

from pathlib import Path

import pytest

from serve_app.config import AppConfig, RecordsConfig, StorageConfig
from serve_app.errors import ConfigError, RecordsUnavailable
from serve_app.service.startup import PATIENCE_S, prepare_records


def config(folder: Path, url: str | None = None) -> AppConfig:
    """The defaults with records here."""
    return AppConfig(storage=StorageConfig(data_dir=str(folder)), records=RecordsConfig(url=url))


def test_one_node_may_keep_its_records_in_a_file(tmp_path: Path) -> None:
    prepare_records(config(tmp_path), nodes=1)
    assert (tmp_path / "records.sqlite").exists()


def test_several_nodes_are_told_to_use_postgresql(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"2 nodes.*postgresql"):
        prepare_records(config(tmp_path), nodes=2)
    assert not (tmp_path / "records.sqlite").exists()


def test_a_database_that_starts_late_is_waited_for_but_not_for_ever(tmp_path: Path) -> None:
    now, pauses = [0.0], []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        now[0] += seconds

    away = config(tmp_path, "postgresql+psycopg://nobody@127.0.0.1:9/none")
    with pytest.raises(RecordsUnavailable):
        prepare_records(away, nodes=5, clock=lambda: now[0], sleep=sleep)
    assert sum(pauses) == pytest.approx(PATIENCE_S)
