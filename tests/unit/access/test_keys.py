"""Keys: only hashes are kept, changes count at once, and processes do not lose each other's writes."""

import json
import logging
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import pytest

from serve_app.access.keys import KEY_FILE, KeyRing, ensure_first_key, make_key, revoke_key
from serve_app.config import AuthConfig, KeyEntry
from serve_app.errors import ConfigError, InvalidKey

NO_KEYS = AuthConfig()
MAKER = """
import sys
from pathlib import Path
from serve_app.config import AuthConfig
from serve_app.access.keys import ensure_first_key, make_key
folder = Path(sys.argv[1])
print(ensure_first_key(AuthConfig(), folder))
for number in range(5):
    print(make_key(folder, f"{sys.argv[2]}-{number}"))
"""


def configured(key: str) -> AuthConfig:
    return AuthConfig(keys=(KeyEntry(name="operator", sha256=sha256(key.encode()).hexdigest()),))


def names(folder: Path) -> list[str]:
    return [row["name"] for row in json.loads((folder / KEY_FILE).read_text())]


def test_a_configured_key_opens_and_is_named(tmp_path: Path) -> None:
    assert KeyRing(configured("abc"), tmp_path).verify("abc").name == "operator"


def test_a_made_key_opens_beside_configured_ones(tmp_path: Path) -> None:
    key = make_key(tmp_path, "phone")
    ring = KeyRing(configured("abc"), tmp_path)
    assert ring.verify(key).name == "phone"
    assert ring.verify("abc").name == "operator"


@pytest.mark.parametrize(
    "key", [None, "", "wrong", "ab", "abc ", "\ud800", "ключ", pytest.param("x" * 10**6, id="long")]
)
def test_any_other_key_is_invalid(key: str | None, tmp_path: Path) -> None:
    make_key(tmp_path, "phone")
    with pytest.raises(InvalidKey):
        KeyRing(configured("abc"), tmp_path).verify(key)


def test_the_hash_of_a_key_is_no_key(tmp_path: Path) -> None:
    make_key(tmp_path, "phone")
    (row,) = json.loads((tmp_path / KEY_FILE).read_text())
    with pytest.raises(InvalidKey):
        KeyRing(NO_KEYS, tmp_path).verify(row["sha256"])


def test_no_keys_at_all_let_nobody_in(tmp_path: Path) -> None:
    with pytest.raises(InvalidKey):
        KeyRing(NO_KEYS, tmp_path / "missing").verify("")


def test_a_key_has_256_bits_and_its_file_holds_only_the_hash_and_opens_to_its_owner_alone(tmp_path: Path) -> None:
    key = make_key(tmp_path / "new" / "folder", "phone")
    path = tmp_path / "new" / "folder" / KEY_FILE
    assert len(key) >= 43
    assert key not in path.read_text()
    assert json.loads(path.read_text()) == [{"name": "phone", "sha256": sha256(key.encode()).hexdigest()}]
    assert path.stat().st_mode & 0o777 == 0o600
    make_key(path.parent, "second")
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_running_ring_follows_the_file(tmp_path: Path) -> None:
    ring = KeyRing(NO_KEYS, tmp_path)
    first, second = make_key(tmp_path, "first"), make_key(tmp_path, "second")
    assert (ring.verify(first).name, ring.verify(second).name) == ("first", "second")
    (tmp_path / KEY_FILE).unlink()
    with pytest.raises(InvalidKey):
        ring.verify(first)


def test_a_spoilt_file_stops_the_start_but_keeps_a_running_ring_and_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    key = make_key(tmp_path, "phone")
    ring = KeyRing(NO_KEYS, tmp_path)
    for spoilt in ("{", "{}", '[{"name": "x"}]', "[1]"):
        (tmp_path / KEY_FILE).write_text(spoilt)
        caplog.clear()
        with caplog.at_level(logging.ERROR):
            assert ring.verify(key).name == "phone"
        assert "cannot be read" in caplog.text
        with pytest.raises(ConfigError):
            KeyRing(NO_KEYS, tmp_path)
        with pytest.raises(ConfigError):
            make_key(tmp_path, "other")


@pytest.mark.parametrize("name", ["", "has space", "../up", "x" * 200])
def test_a_bad_name_makes_no_key(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        make_key(tmp_path, name)
    assert not (tmp_path / KEY_FILE).exists()


def test_the_first_key_is_made_once(tmp_path: Path) -> None:
    key = ensure_first_key(NO_KEYS, tmp_path)
    assert key is not None
    assert ensure_first_key(NO_KEYS, tmp_path) is None
    assert KeyRing(NO_KEYS, tmp_path).verify(key).name == "first"


def test_no_first_key_is_made_where_the_configuration_has_one(tmp_path: Path) -> None:
    assert ensure_first_key(configured("abc"), tmp_path / "data") is None
    assert not (tmp_path / "data").exists()


def test_threads_that_race_lose_no_key_and_make_one_first(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        firsts = list(pool.map(lambda _: ensure_first_key(NO_KEYS, tmp_path), range(8)))
        keys = list(pool.map(lambda number: make_key(tmp_path, f"key-{number}"), range(24)))
    assert sum(first is not None for first in firsts) == 1
    ring = KeyRing(NO_KEYS, tmp_path)
    assert {ring.verify(key).name for key in keys} == {f"key-{number}" for number in range(24)}


def test_of_threads_that_race_for_a_name_one_gets_it_and_revokes_beside_creates_lose_nothing(tmp_path: Path) -> None:
    def made(_: int) -> str | None:
        try:
            return make_key(tmp_path, "phone")
        except ConfigError:
            return None

    with ThreadPoolExecutor(8) as pool:
        phones = [key for key in pool.map(made, range(8)) if key is not None]
        old = [make_key(tmp_path, f"old-{number}") for number in range(8)]
        new = pool.map(lambda number: make_key(tmp_path, f"new-{number}"), range(8))
        gone = pool.map(lambda number: revoke_key(tmp_path, f"old-{number}", NO_KEYS), range(8))
        keys = [*new, *phones]
        assert len(list(gone)) == len(old)
    assert len(phones) == 1
    ring = KeyRing(NO_KEYS, tmp_path)
    assert {ring.verify(key).name for key in keys} == {"phone", *(f"new-{number}" for number in range(8))}
    assert sorted(names(tmp_path)) == sorted(["phone", *(f"new-{number}" for number in range(8))])


def test_processes_that_race_lose_no_key_and_make_one_first(tmp_path: Path) -> None:
    command = [sys.executable, "-c", MAKER, str(tmp_path)]
    makers = [subprocess.Popen([*command, name], stdout=subprocess.PIPE, text=True) for name in "abc"]
    told = [maker.communicate(timeout=900)[0].split() for maker in makers]
    assert [maker.returncode for maker in makers] == [0, 0, 0]
    firsts = [lines[0] for lines in told if lines[0] != "None"]
    keys = [key for lines in told for key in lines[1:]]
    ring = KeyRing(NO_KEYS, tmp_path)
    assert [ring.verify(key).name for key in firsts] == ["first"]
    assert len({ring.verify(key).name for key in keys}) == 15
    assert sorted(names(tmp_path)) == sorted(["first", *(f"{name}-{number}" for name in "abc" for number in range(5))])
    assert {path.name for path in tmp_path.iterdir()} == {KEY_FILE, "keys.lock"}
