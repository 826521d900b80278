"""A start is examined at once and as a whole: every problem in one answer, each with its setting's own path."""

import errno
import os
import socket
import sqlite3
from pathlib import Path

import pytest

from serve_app.preflight import examine, examine_args
from serve_app.records.database import migrate
from tests.conftest import free_port


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DARKROOM_DATA_DIR", str(tmp_path / "data"))
    return tmp_path / "data"


def problems(folder: Path, text: str, host: str = "127.0.0.1", port: int | None = None) -> tuple[str, ...]:
    file = folder / "config.yaml"
    file.write_text(text)
    return examine(file, None, host, port or free_port()).problems


def test_a_good_start_has_no_problem(tmp_path: Path) -> None:
    assert problems(tmp_path, "{}") == ()
    assert problems(tmp_path, "") == ()


def test_all_problems_are_told_at_once_by_their_own_paths(tmp_path: Path) -> None:
    text = """
catalogue:
  - {id: pocket, source: models/pocket/checkpoint, safety: models/pocket/checkpoint, loras: [
      {id: a, source: models/pocket/extras/none.safetensors}]}
  - {id: "a b", source: /models/none.safetensors, safety: none, famly: sdxl}
  - {id: pocket, source: models/pocket/checkpoint, safety: none, family: sdxl, device: gpu}
default_model: pockt
inputs: {max_image_bytes: -1, allowed_networks: [10.1.2.3/8]}
records: {url: postgres://u:secret@h/d}
"""
    told = problems(tmp_path, text, port=99999)
    assert [line.split(": ")[0] for line in told] == [
        "catalogue[1].id",
        "catalogue[1].famly",
        "inputs.max_image_bytes",
        "inputs.allowed_networks[0]",
        "catalogue[2].id",
        "default_model",
        "port",
        "catalogue[0].loras[0].source",
        "catalogue[1].source",
        "catalogue[2].source",
        "catalogue[2].device",
        "records.url",
    ]
    assert "secret" not in " ".join(told)


def test_an_entry_behind_one_that_cannot_be_read_keeps_its_number(tmp_path: Path) -> None:
    text = "catalogue: [5, {id: b, source: /none.safetensors, safety: none}]"
    assert [line.split(": ")[0] for line in problems(tmp_path, text)] == ["catalogue[0]", "catalogue[1].source"]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("catalogue: [{id: x}]", "catalogue[0].source: is required"),
        ("catalogue: []", "catalogue: must have at least one entry"),
        ("api: 5", "api: must be a mapping of settings, not 5"),
        ("api: {errors_as_200: maybe}", "api.errors_as_200: must be true or false, not 'maybe'"),
        ("storge: {}", "storge: is no setting, did you mean storage?"),
        ("- a", "must be a mapping"),
        ("api:\n  sync_timeout_s: 1\n bad: 2", "line 3: is indented unlike the lines that it belongs to"),
        ("catalogue:\n  - id: a\n   source: b", "line 3: "),
        ("catalogue:\n\t- id: a", "line 2: begins with a tab"),
        ("api: {}\ncatalogue: [{id: a\n", "line 2: what is opened here is not closed"),
        ("api: {public_url: 'http://a}\n", "line 1: what is opened here is not closed"),
        ("inputs: {a: 1 b: 2}", "line 1: a "),
        ("default_model: @a", "line 1: a text that begins with a sign"),
        ("api: {}\ninputs\nstorage: {}", "line 3: a name without its colon"),
        ("api: {}\ninputs: {}\napi: {}", "line 3: 'api' stands here twice"),
        ("{{{", "line 1: what is opened here is not closed"),
    ],
)
def test_a_fault_of_the_file_is_one_line_without_the_readers_noise(tmp_path: Path, text: str, line: str) -> None:
    (told,) = problems(tmp_path, text)
    assert line in told
    assert "\n" not in told
    assert "pydantic" not in told
    assert "after validation" not in told


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    assert "No such file" in examine(tmp_path / "nowhere.yaml", None, "127.0.0.1", free_port()).problems[0]


def test_a_taken_port_and_a_foreign_host_are_told(tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        (taken,) = problems(tmp_path, "", port=listener.getsockname()[1])
    assert "cannot listen on 127.0.0.1" in taken
    assert "is taken" in taken
    assert problems(tmp_path, "", host="203.0.113.7")[0].startswith("host: ")
    assert problems(tmp_path, "", host="no such host")[0].startswith("host: ")


def test_a_file_in_the_place_of_the_data_directory_is_told(tmp_path: Path, data: Path) -> None:
    data.write_text("")
    assert problems(tmp_path, "") == (
        f"storage.data_dir: {data} is a file, and a folder is needed there: move it away, or choose another one",
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_data_directory_that_cannot_be_written_is_told(tmp_path: Path, data: Path) -> None:
    data.mkdir(mode=0o500)
    assert "cannot be written" in problems(tmp_path, "")[0]


def close(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is for others than its owner; root may look everywhere, so what the system says is put in its mouth."""
    stat, access = os.stat, os.access

    def stat_outside(path: str | Path, **options: bool) -> os.stat_result:
        if folder in Path(path).parents:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return stat(path, **options)

    monkeypatch.setattr(os, "stat", stat_outside)
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != folder and access(path, mode))


def test_a_data_directory_that_is_closed_to_this_user_is_told(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data.mkdir()
    close(data, monkeypatch)
    (told,) = problems(tmp_path, "")
    assert told.startswith(f"storage.data_dir: {data} cannot be written by this user: ")


@pytest.mark.parametrize("source", ["closed", "closed/m.safetensors"])
def test_weights_in_a_folder_that_is_closed_to_this_user_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    (tmp_path / "closed").mkdir()
    close(tmp_path / "closed", monkeypatch)
    (told,) = problems(tmp_path, f"catalogue: [{{id: a, source: {tmp_path / source}, safety: none}}]")
    assert told == f"catalogue[0].source: {tmp_path / 'closed'} is closed to this user: change its owner or its mode"


def test_nothing_is_written_by_looking(tmp_path: Path, data: Path) -> None:
    assert problems(tmp_path, "") == ()
    assert not data.exists()


def test_a_broken_key_file_is_told(tmp_path: Path, data: Path) -> None:
    data.mkdir()
    (data / "keys.json").write_text("[{")
    (told,) = problems(tmp_path, "")
    assert "keys.json cannot be read" in told
    assert told.count("mend it") == 1


def test_records_of_a_newer_version_are_told(tmp_path: Path, data: Path) -> None:
    data.mkdir()
    migrate(f"sqlite+aiosqlite:///{data / 'records.sqlite'}")
    assert problems(tmp_path, "") == ()
    with sqlite3.connect(data / "records.sqlite") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    (told,) = problems(tmp_path, "")
    assert told.startswith("records.url: ")
    assert "newer Darkroom" in told


@pytest.mark.parametrize("content", [b"no database", b"SQLite format 3\0" + b"\7" * 5000])
def test_a_file_that_is_no_database_is_told(tmp_path: Path, data: Path, content: bytes) -> None:
    data.mkdir()
    (data / "records.sqlite").write_bytes(content)
    assert problems(tmp_path, "")[0].startswith("records.url: ")


def test_a_database_of_another_program_is_told(tmp_path: Path, data: Path) -> None:
    data.mkdir()
    with sqlite3.connect(data / "records.sqlite") as connection:
        connection.execute("CREATE TABLE notes (text TEXT)")
    connection.close()
    assert "another program" in problems(tmp_path, "")[0]


def test_a_database_and_a_bucket_that_do_not_answer_are_told_without_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    text = (
        "records: {url: 'postgresql+psycopg://u:secret@127.0.0.1:1/d'}\n"
        "storage: {s3: {bucket: b, endpoint: 'http://127.0.0.1:1'}}\n"
    )
    told = problems(tmp_path, text)
    assert [line.split(": ")[0] for line in told] == ["records.url", "storage.s3"]
    assert told[0].endswith("Connection refused: start the database, or correct the URL, its user or password")
    assert "secret" not in " ".join(told)


def test_a_cluster_checks_the_files_that_are_on_its_node() -> None:
    assert examine_args({}).problems == ()
