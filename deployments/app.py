"""Binds the classes to Ray Serve: `app` for `serve run`, `build_app` for `serve deploy`. Decides nothing else."""

from ray import serve
from ray.serve import Application

from deployments.courier import Courier
from deployments.diffusion import Diffusion
from deployments.ingress import Ingress
from deployments.postprocess import Postprocess
from serve_app.config import AppConfig, ModelEntry, load_config
from serve_app.errors import ConfigError
from serve_app.preflight import examine_args

DRAINED_S = {"graceful_shutdown_wait_loop_s": 0.25}
"""How often a replica that is asked to go looks whether it is done: Serve's 2 s for each make a stop long."""
CHECKED_S = {"health_check_period_s": 5, "health_check_timeout_s": 10}
"""A replica that does not answer is replaced after three checks in a row."""
SPARE_REQUESTS = 10_000
"""The ingress itself refuses, at once, more than its `api.max_requests`; health and readiness are beyond them."""
SHUTDOWN_S = 60.0
"""A replica that is asked to go may finish what it does for so long; jobs that take longer run again elsewhere."""


def build_app(args: dict[str, object]) -> Application:
    """The application of the arguments in a file of Serve's. Raises ConfigError with every fault, one a line.

    The files of models are judged where they are on this node: those that are not may be on the nodes that load them.
    """
    findings = examine_args(args)
    if findings.problems or findings.config is None:
        raise ConfigError("\n".join(findings.problems))
    return application(findings.config)


def application(config: AppConfig) -> Application:
    """The application of a configuration: ingress and courier, one diffusion deployment a model, one postprocess."""
    models = {entry.id: _diffusion(entry) for entry in config.catalogue}
    postprocess = _postprocess(config)
    return _ingress(config, models, postprocess, _courier(config, models, postprocess))


def _ingress(
    config: AppConfig, models: dict[str, Application], postprocess: Application, courier: Application
) -> Application:
    deployment = serve.deployment(
        serve.ingress()(Ingress),
        name="Ingress",
        num_replicas=config.ingress.num_replicas,
        max_ongoing_requests=config.api.max_requests + SPARE_REQUESTS,
        graceful_shutdown_timeout_s=config.api.sync_timeout_s + 10,
        ray_actor_options={"num_cpus": config.ingress.num_cpus},
        **DRAINED_S,
    )
    return deployment.bind(config, models, postprocess, courier)


def _courier(config: AppConfig, models: dict[str, Application], postprocess: Application) -> Application:
    deployment = serve.deployment(
        Courier,
        name="Courier",
        num_replicas=config.courier.num_replicas,
        graceful_shutdown_timeout_s=20,
        ray_actor_options={"num_cpus": config.courier.num_cpus},
        **CHECKED_S,
        **DRAINED_S,
    )
    return deployment.bind(config, models, postprocess)


def _diffusion(entry: ModelEntry) -> Application:
    deployment = serve.deployment(
        Diffusion,
        name=f"Diffusion-{entry.id}",
        num_replicas=entry.num_replicas,
        # Twice what the engine takes, so that it is the engine that says no, at once.
        max_ongoing_requests=2 * entry.max_jobs,
        graceful_shutdown_timeout_s=SHUTDOWN_S,
        ray_actor_options={"num_cpus": entry.num_cpus, "num_gpus": entry.num_gpus},
        **CHECKED_S,
        **DRAINED_S,
    )
    return deployment.bind(entry)


def _postprocess(config: AppConfig) -> Application:
    deployment = serve.deployment(
        Postprocess,
        name="Postprocess",
        num_replicas=config.postprocess.num_replicas,
        max_ongoing_requests=256,
        graceful_shutdown_timeout_s=SHUTDOWN_S,
        ray_actor_options={"num_cpus": config.postprocess.num_cpus},
        **CHECKED_S,
        **DRAINED_S,
    )
    checkers = {entry.id: entry.checker for entry in config.catalogue if entry.checker is not None}
    return deployment.bind(config.postprocess, config.storage, checkers)


app = application(load_config())
