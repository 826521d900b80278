"""The configuration: parsed once, frozen, unknown keys refused. The only reader of the environment."""

import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import Field

from serve_app.config.catalogue import POCKET, Enhancement, ModelEntry, Weights
from serve_app.config.crossing import cross_faults
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
from serve_app.config.reading import Raw, Understood, read_raw, understood
from serve_app.config.wording import Fault, shown
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
    "all_faults",
    "config_of",
    "data_dir_told",
    "load_config",
    "settled",
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

    `data_dir` is what a command was told; it counts before all else. Raises ConfigError with every fault of the file,
    one a line.
    """
    return settled(_faultless(read_raw(file)), data_dir)


def config_of(args: Mapping[str, object]) -> AppConfig:
    """The configuration in the `args` of one of Serve's files. Raises ConfigError as `load_config` does."""
    return with_environment(_faultless(Raw(args, None)))


def _faultless(raw: Raw) -> AppConfig:
    read = understood(raw, AppConfig)
    if (faults := all_faults(read)) or read.config is None:
        raise ConfigError("\n".join(map(shown, faults)))
    return read.config


def all_faults(read: Understood) -> tuple[Fault, ...]:
    """Of single settings, and of what they make together, by their places in the file."""
    together = () if read.config is None else cross_faults(read.config)
    return (*read.faults, *((read.original(place), text) for place, text in together))


def settled(config: AppConfig, data_dir: Path | None) -> AppConfig:
    """The configuration with what the environment and a command's --data-dir override."""
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


def _with_data_dir(config: AppConfig, path: Path) -> AppConfig:
    """A relative one is meant from where the command runs."""
    absolute = str(path.expanduser().absolute())
    return config.model_copy(update={"storage": config.storage.model_copy(update={"data_dir": absolute})})
