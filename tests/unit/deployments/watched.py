"""`python -m tests.unit.deployments.watched DATA SCRIPT`: watches over a script in the place of what starts Ray."""

import sys
from pathlib import Path

from deployments.watching import Service
from serve_app.config import AppConfig, StorageConfig


def main() -> int:
    """The exit status of the service."""
    data, script = sys.argv[1:]
    config = AppConfig(storage=StorageConfig(data_dir=str(Path(data).absolute())))
    return Service(config, "127.0.0.1", 1, {}, node=(sys.executable, "-c", script)).run()


if __name__ == "__main__":
    sys.exit(main())
