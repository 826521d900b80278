"""`darkroom keys`: names are unique, a revoked key is gone, and each command says which data directory it used."""

import json
from hashlib import sha256
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from serve_app.access.keys import KEY_FILE, KeyRing
from serve_app.cli import app
from serve_app.config import AuthConfig, load_config
from serve_app.errors import InvalidKey

DIGEST = sha256(b"abc").hexdigest()
CONFIGURED = {"auth": {"keys": [{"name": "studio", "sha256": DIGEST}]}}
LONG = "x" * 129


@pytest.fixture(autouse=True)
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the environment names."""
    folder = tmp_path / "from-environment"
    monkeypatch.setenv("DARKROOM_DATA_DIR", str(folder))
    return folder


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration with a key in it."""
    file = tmp_path / "my.yaml"
    file.write_text(yaml.safe_dump(CONFIGURED))
    return file


def keys(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["keys", *arguments])


def names(*options: str) -> list[str]:
    result = keys("list", "--json", *options)
    assert result.exit_code == 0, result.stderr
    return [key["name"] for key in json.loads(result.stdout)]


def opens(folder: Path, key: str) -> bool:
    try:
        KeyRing(AuthConfig(), folder).verify(key)
    except InvalidKey:
        return False
    return True


def test_a_key_is_made_for_the_service_of_the_same_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DARKROOM_DATA_DIR")
    (tmp_path / "my.yaml").write_text("storage: {data_dir: service-data}")
    monkeypatch.chdir("/")
    result = keys("create", "phone", "--config", str(tmp_path / "my.yaml"))
    assert result.stderr.splitlines()[0] == f"data directory: {tmp_path / 'service-data'} (storage.data_dir)"
    assert opens(load_config(tmp_path / "my.yaml").storage.data_path, result.stdout.strip())


@pytest.mark.parametrize("command", [("create", "phone"), ("list",), ("revoke", "phone")], ids=" ".join)
def test_each_command_tells_the_data_directory_that_it_used(command: tuple[str, ...], tmp_path: Path) -> None:
    keys("create", "other", "--data-dir", str(tmp_path))
    assert keys(*command).stderr.splitlines()[0].endswith("from-environment (DARKROOM_DATA_DIR)")
    told = keys(*command, "--data-dir", str(tmp_path)).stderr.splitlines()[0]
    assert told == f"data directory: {tmp_path} (--data-dir)"


def test_a_name_that_a_key_has_is_refused_by_name(data_dir: Path, config: Path) -> None:
    first = keys("create", "phone").stdout.strip()
    for again in (keys("create", "phone"), keys("create", "studio", "--config", str(config))):
        assert (again.exit_code, again.stdout) == (2, "")
        assert again.stderr.splitlines()[1:] == [
            f"there is a key named {'studio' if 'studio' in again.stderr else 'phone'} already; "
            "choose another name, or revoke that key first"
        ]
    assert names() == ["phone"]
    assert opens(data_dir, first)


@pytest.mark.parametrize("name", ["", " ", "my key", LONG, "../up", ".hidden", "-dash", "ключ", "a\nb"])
def test_a_name_that_cannot_be_one_is_refused_with_the_rule(name: str, data_dir: Path) -> None:
    result = keys("create", "--", name)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.splitlines()[-1].endswith("and is at most 128 long")
    assert not (data_dir / KEY_FILE).exists()


def test_a_key_without_a_name_gets_the_first_number_that_is_free(config: Path) -> None:
    for _ in range(3):
        assert keys("create").exit_code == 0
    keys("revoke", "client-2")
    result = keys("create", "--config", str(config))
    assert "the key of client-2, shown this once" in result.stderr
    assert names("--config", str(config)) == ["studio", "client-1", "client-3", "client-2"]


def test_a_list_shows_where_each_key_stands_and_no_key(config: Path) -> None:
    key = keys("create", "phone").stdout.strip()
    lines = keys("list", "--config", str(config)).stdout.splitlines()
    assert [line.split() for line in lines[1:]] == [
        ["studio", "configuration", DIGEST[:12]],
        ["phone", "data", "directory", sha256(key.encode()).hexdigest()[:12]],
    ]
    assert keys("list", "--data-dir", "/nowhere/at/all").stdout.splitlines()[1:] == []


def test_a_revoked_key_opens_nothing_for_a_service_that_runs_on(data_dir: Path) -> None:
    first, second = (keys("create", name).stdout.strip() for name in ("first", "second"))
    ring = KeyRing(AuthConfig(), data_dir)
    assert ring.verify(first).name == "first"
    result = keys("revoke", "first")
    assert (result.exit_code, result.stdout) == (0, "the key first is revoked\n")
    with pytest.raises(InvalidKey):
        ring.verify(first)
    assert ring.verify(second).name == "second"
    third = keys("create", "first").stdout.strip()
    assert ring.verify(third).name == "first"
    with pytest.raises(InvalidKey):
        ring.verify(first)


def test_the_last_key_can_be_revoked_and_that_is_told(data_dir: Path) -> None:
    key = keys("create", "phone").stdout.strip()
    result = keys("revoke", "phone")
    assert result.exit_code == 0
    assert "it was the last one" in result.stderr
    assert (names(), opens(data_dir, key)) == ([], False)


def test_keys_of_older_versions_that_share_a_name_go_together(data_dir: Path, config: Path) -> None:
    data_dir.mkdir()
    twins = [{"name": name, "sha256": sha256(bytes([i])).hexdigest()} for i, name in enumerate(["a", "a", "studio"])]
    (data_dir / KEY_FILE).write_text(json.dumps(twins))
    assert keys("revoke", "a").exit_code == 0
    assert "is good still" in keys("revoke", "studio", "--config", str(config)).stderr
    assert names("--config", str(config)) == ["studio"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("phnoe", "there is no key named phnoe"),
        ("", "there is no key named "),
        ("studio", "the key studio stands in the configuration: take it out of auth.keys and start again"),
    ],
)
def test_a_key_that_cannot_be_revoked_is_told(name: str, words: str, config: Path) -> None:
    keys("create", "phone")
    result = keys("revoke", name, "--config", str(config))
    assert (result.exit_code, result.stdout, result.stderr.splitlines()[1:]) == (2, "", [words])
    assert names() == ["phone"]


def test_two_keys_of_the_configuration_cannot_share_a_name(tmp_path: Path) -> None:
    file = tmp_path / "my.yaml"
    file.write_text(yaml.safe_dump({"auth": {"keys": CONFIGURED["auth"]["keys"] * 2}}))
    result = keys("list", "--config", str(file))
    assert result.exit_code == 2
    assert "two keys share a name: studio" in " ".join(result.stderr.split())


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "Invalid JSON"),
        ("{", "Invalid JSON"),
        ("{}", "Input should be a valid array"),
        ("[1]", "[0]"),
        ('[{"name": "x"}]', "[0].sha256 Field required"),
        ('[{"name": "x", "sha256": "secret"}]', "[0].sha256"),
        ("\udcff", "Invalid JSON"),
    ],
)
@pytest.mark.parametrize("command", [("create", "phone"), ("list",), ("revoke", "phone")], ids=" ".join)
def test_a_broken_file_of_keys_is_one_sentence_with_the_place_and_what_to_do(
    command: tuple[str, ...], text: str, fault: str, data_dir: Path
) -> None:
    data_dir.mkdir()
    (data_dir / KEY_FILE).write_text(text, errors="surrogateescape")
    result = keys(*command)
    assert (result.exit_code, result.stdout) == (2, "")
    (sentence,) = result.stderr.splitlines()[1:]
    assert sentence.startswith(f"{data_dir / KEY_FILE} cannot be read as a list of keys: ")
    assert fault in sentence
    assert "secret" not in sentence
    assert sentence.endswith("mend it, or move it away and make new keys")
    assert (data_dir / KEY_FILE).read_text(errors="surrogateescape") == text


@pytest.mark.parametrize("command", [("create", "phone"), ("revoke", "phone")], ids=" ".join)
def test_a_data_directory_that_cannot_be_written_is_one_sentence(command: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = keys(*command, "--data-dir", str(tmp_path / "file" / "data"))
    assert (result.exit_code, result.stdout) == (2, "")
    assert "nothing can be written into the data directory" in result.stderr.splitlines()[-1]
