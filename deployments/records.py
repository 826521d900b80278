"""The records as a process of the cluster reaches them, and the driver over them."""

import ray
from ray.serve.handle import DeploymentHandle

from deployments.replicas import RayReplicas
from deployments.terminal import say_lines
from serve_app.config import AppConfig
from serve_app.postprocess.storage import LocalStore, S3Store, open_store
from serve_app.records.database import Database
from serve_app.records.leases import Leases
from serve_app.service.driver import Driver
from serve_app.service.endings import Endings
from serve_app.service.startup import prepare_records


class Parts:
    """What an ingress and a courier both have. Raises ConfigError, RecordsUnavailable, StorageFailed."""

    def __init__(self, config: AppConfig, models: dict[str, DeploymentHandle], postprocess: DeploymentHandle) -> None:
        say_lines()
        prepare_records(config, sum(bool(node["Alive"]) for node in ray.nodes()))
        self.catalogue = {entry.id: entry for entry in config.catalogue}
        self.database = Database(config.records_url, config.records.transaction_s)
        self.leases = Leases(self.database)
        self.store: LocalStore | S3Store = open_store(config.storage)
        self.replicas = RayReplicas(models, postprocess)
        endings = Endings(config.storage, self.catalogue, self.store)
        self.driver = Driver(self.replicas, self.leases, endings, config)

    async def close(self) -> None:
        """Give jobs back and let go of the database."""
        await self.driver.close()
        await self.database.close()
