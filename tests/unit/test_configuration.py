"""The configuration: unknown keys refused, faults told, defaults good."""

from pathlib import Path

import pytest

from serve_app.config import POCKET, PROJECT, AppConfig, ModelEntry, data_dir_told, load_config, with_environment
from serve_app.errors import ConfigError
from serve_app.messages import SAMPLER_NAMES


def test_the_defaults_serve_the_pocket_model() -> None:
    config = AppConfig()
    assert config.default_model_id == "pocket"
    assert Path(config.catalogue[0].path_or_hub_id).is_dir()


def test_every_file_of_the_default_catalogue_is_there() -> None:
    entry = AppConfig().catalogue[0]
    assert [weights.id for weights in (*entry.vaes, *entry.loras, *entry.embeddings) if not weights.path.exists()] == []


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("no_such_key: 1", "no_such_key"),
        ("catalogue: []", "catalogue"),
        ("catalogue: [{id: a, source: x}, {id: a, source: y}]", "share an id"),
        ("default_model: ghost", "not in the catalogue"),
        ("catalogue: [{id: a, source: x, default_sampler: Nope}]", "Nope"),
        ("catalogue: [{id: a, source: x, default_sampler: NoSuchScheduler}]", "NoSuchScheduler"),
        ("inputs: {allowed_networks: [nonsense]}", "allowed_networks"),
        ("catalogue: [{id: a, source: x, rows_in_flight: 64}]", "rows_in_flight is gone: .* flight_bytes"),
        ("auth: {keys: [{name: x, sha256: plain-key}]}", "sha256"),
        ("records: {lease_s: 15, tick_s: 20}", r"records.*tick_s: 20 is more than a third of lease_s \(15\)"),
        ("records: {lease_s: 1}", "tick_s: 0.5 is more than a third"),
        ("api: {max_body_bytes: 300000000}", r"max_body_bytes: so large a body never fits into bodies_bytes"),
        ("api: {keyless_body_bytes: 70000000}", "keyless_body_bytes: so large a body never fits into a quarter"),
        ("{{{", "while parsing"),
    ],
)
def test_a_wrong_file_is_refused_with_its_fault(tmp_path: Path, text: str, fault: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=fault):
        load_config(file)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere"):
        load_config(tmp_path / "nowhere.yaml")


def test_the_environment_moves_the_data_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DARKROOM_DATA_DIR", str(tmp_path))
    assert load_config().storage.pictures_path == tmp_path / "pictures"


def test_the_data_directory_is_what_the_command_was_told_else_the_environments_else_the_files_else_the_checkouts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "my.yaml"
    file.write_text("storage: {data_dir: here}")
    monkeypatch.delenv("DARKROOM_DATA_DIR", raising=False)
    monkeypatch.chdir(tmp_path)

    def found(file: Path | None = None, told: Path | None = None) -> str:
        config = load_config(file, told)
        assert config.records_url == f"sqlite+aiosqlite:///{config.storage.data_path}/records.sqlite"
        return data_dir_told(config, told)

    assert found() == f"{PROJECT / 'data'} (the default of this checkout)"
    assert found(file) == f"{tmp_path / 'here'} (storage.data_dir)"
    monkeypatch.setenv("DARKROOM_DATA_DIR", "from-environment")
    assert found(file) == f"{tmp_path / 'from-environment'} (DARKROOM_DATA_DIR)"
    assert found(file, Path("told")) == f"{tmp_path / 'told'} (--data-dir)"
    monkeypatch.setenv("DARKROOM_DATA_DIR", "")
    assert found() == f"{PROJECT / 'data'} (the default of this checkout)"


def test_a_relative_path_in_a_file_is_one_beside_that_file_wherever_the_command_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "config"
    (folder / "weights").mkdir(parents=True)
    (folder / "weights/mine.safetensors").touch()
    (folder / "my.yaml").write_text("""
storage: {data_dir: ../data}
records: {url: "sqlite+aiosqlite:///jobs.sqlite"}
catalogue:
  - {id: a, source: weights/mine.safetensors, loras: [{id: x, source: missing/lora.safetensors}]}
  - {id: b, source: models/pocket/checkpoint, config: weights}
  - {id: c, source: someone/some-model}
  - {id: d, source: ./missing}
  - {id: e, source: missing/model.safetensors}
""")
    monkeypatch.delenv("DARKROOM_DATA_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    config = load_config(Path("config/my.yaml"))
    mine, pocket, *others = config.catalogue
    assert mine.path_or_hub_id == str(folder / "weights/mine.safetensors")
    assert mine.loras[0].path == folder / "missing/lora.safetensors"
    assert (pocket.path_or_hub_id, pocket.config_or_hub_id) == (str(PROJECT / POCKET.source), str(folder / "weights"))
    assert [entry.path_or_hub_id for entry in others] == [
        "someone/some-model", str(folder / "missing"), str(folder / "missing/model.safetensors"),
    ]  # fmt: skip
    assert config.storage.data_path.resolve() == tmp_path / "data"
    assert config.records_url == f"sqlite+aiosqlite:///{folder}/jobs.sqlite"


def test_a_file_of_serves_gives_the_configuration_that_serve_would(tmp_path: Path) -> None:
    file = tmp_path / "serve.yaml"
    file.write_text("applications: [{import_path: 'deployments.app:build_app', args: {api: {job_deadline_s: 7}}}]")
    assert load_config(file).api.job_deadline_s == 7
    assert load_config(PROJECT / "serve_config.yaml").default_model_id == "pocket"
    file.write_text("applications: [1]")
    with pytest.raises(ConfigError, match="applications"):
        load_config(file)


def test_the_environment_brings_the_records_url_which_may_hold_a_password(monkeypatch: pytest.MonkeyPatch) -> None:
    url = "postgresql+psycopg://darkroom:secret@db.test/darkroom"
    monkeypatch.setenv("DARKROOM_RECORDS_URL", url)
    config = AppConfig.model_validate({"records": {"url": "sqlite+aiosqlite:///other", "lease_s": 7}})
    assert with_environment(config).records_url == load_config().records_url == url
    assert with_environment(config).records.lease_s == 7
    monkeypatch.setenv("DARKROOM_RECORDS_URL", "")
    assert with_environment(config) == config


def test_a_source_that_is_no_path_is_a_hub_id() -> None:
    assert ModelEntry(id="x", source="someone/some-model").path_or_hub_id == "someone/some-model"


def test_the_contract_has_eighteen_samplers() -> None:
    assert len(set(SAMPLER_NAMES)) == 18
