"""The configuration: parsed once, frozen, unknown keys refused. The only reader of the environment."""

import os
from pathlib import Path
from typing import Self

import yaml
from pydantic import Field, ValidationError, model_validator

from serve_app.config.catalogue import POCKET, Enhancement, ModelEntry, Weights
from serve_app.config.part import Network, Part
from serve_app.config.parts import (
    ApiConfig,
    AuthConfig,
    CourierConfig,
    IngressConfig,
    InputsConfig,
    KeyEntry,
    PostprocessConfig,
    RecordsConfig,
    S3Config,
    StorageConfig,
    WebhooksConfig,
)
from serve_app.config.places import DEFAULT_WHY, IMPORTED_FROM, PROJECT
from serve_app.errors import ConfigError

__all__ = [
    "IMPORTED_FROM",
    "POCKET",
    "PROJECT",
    "TERMINAL",
    "ApiConfig",
    "AppConfig",
    "AuthConfig",
    "CourierConfig",
    "Enhancement",
    "IngressConfig",
    "InputsConfig",
    "KeyEntry",
    "ModelEntry",
    "Network",
    "PostprocessConfig",
    "RecordsConfig",
    "S3Config",
    "StorageConfig",
    "WebhooksConfig",
    "Weights",
    "data_dir_told",
    "load_config",
    "terminal_socket",
    "with_environment",
]

DATA_DIR_VARIABLE = "DARKROOM_DATA_DIR"


class AppConfig(Part):
    """Everything an operator turns. The defaults serve the pocket model from one machine without a GPU."""

    catalogue: tuple[ModelEntry, ...] = Field((POCKET,), min_length=1)
    default_model: str | None = None
    """The model of the routes without model_id; None: the catalogue's first."""
    auth: AuthConfig = AuthConfig()
    api: ApiConfig = ApiConfig()
    inputs: InputsConfig = InputsConfig()
    ingress: IngressConfig = IngressConfig()
    postprocess: PostprocessConfig = PostprocessConfig()
    storage: StorageConfig = StorageConfig()
    records: RecordsConfig = RecordsConfig()
    webhooks: WebhooksConfig = WebhooksConfig()
    courier: CourierConfig = CourierConfig()

    @model_validator(mode="after")
    def _ids_agree(self) -> Self:
        ids = [entry.id for entry in self.catalogue]
        if len(set(ids)) < len(ids):
            raise ValueError(f"two models of the catalogue share an id: {', '.join(ids)}")
        if self.default_model is not None and self.default_model not in ids:
            raise ValueError(f"default_model {self.default_model!r} is not in the catalogue: {', '.join(ids)}")
        return self

    @property
    def records_url(self) -> str:
        """The SQLAlchemy URL of the records."""
        return self.records.url or f"sqlite+aiosqlite:///{self.storage.data_path.absolute() / 'records.sqlite'}"

    @property
    def default_model_id(self) -> str:
        """The model of a request that names none."""
        return self.default_model or self.catalogue[0].id


def load_config(file: Path | None = None, data_dir: Path | None = None) -> AppConfig:
    """The configuration in a YAML file, ours or Serve's, or the defaults, with what the environment overrides.

    `data_dir` is what a command was told; it counts before all else. Raises ConfigError with every fault of the file.
    """
    try:
        config = AppConfig() if file is None else _read(file)
    except (OSError, UnicodeError, yaml.YAMLError, ValidationError) as error:
        raise ConfigError(f"{file}: {error}") from error
    config = with_environment(config)
    return config if data_dir is None else _with_data_dir(config, data_dir)


TERMINAL = "DARKROOM_TERMINAL"
"""The environment's name for the socket at which the terminal of `deployments.local` listens."""


def terminal_socket() -> str | None:
    """Where lines for the operator's terminal are to be sent; None where there is none."""
    return os.environ.get(TERMINAL)


def with_environment(config: AppConfig) -> AppConfig:
    """What is set of DARKROOM_DATA_DIR and DARKROOM_RECORDS_URL counts, not `storage.data_dir` and `records.url`.

    The URL may hold a password, which no file that many can read should.
    """
    if data_dir := os.environ.get(DATA_DIR_VARIABLE):
        config = _with_data_dir(config, Path(data_dir))
    if url := os.environ.get("DARKROOM_RECORDS_URL"):
        config = config.model_copy(update={"records": config.records.model_copy(update={"url": url})})
    return config


def data_dir_told(config: AppConfig, data_dir: Path | None = None) -> str:
    """Where the data directory is and why there, for people; `data_dir` as it was given to `load_config`."""
    if data_dir is not None:
        why = "--data-dir"
    elif os.environ.get(DATA_DIR_VARIABLE):
        why = DATA_DIR_VARIABLE
    else:
        why = DEFAULT_WHY if config.storage.data_dir is None else "storage.data_dir"
    return f"{config.storage.data_path} ({why})"


def _read(file: Path) -> AppConfig:
    match values := yaml.safe_load(file.read_text()) or {}:
        case {"applications": [{"args": args}, *_]}:
            # Serve's own kind of file. Serve hands us these without the file's name, so nothing is beside it.
            return AppConfig.model_validate(args)
        case _:
            return AppConfig.model_validate(values, context=file.absolute().parent)


def _with_data_dir(config: AppConfig, path: Path) -> AppConfig:
    """A relative one is meant from where the command runs."""
    absolute = str(path.expanduser().absolute())
    return config.model_copy(update={"storage": config.storage.model_copy(update={"data_dir": absolute})})
