"""Binds the classes to Ray Serve: `app` for `serve run`, `build_app` for `serve deploy`. Decides nothing else."""

from ray import serve
from ray.serve import Application

from deployments.diffusion import Diffusion
from deployments.ingress import Ingress
from deployments.postprocess import Postprocess
from serve_app.config import AppConfig, ModelEntry, load_config


def build_app(args: AppConfig) -> Application:
    """The application of a configuration: one ingress, one diffusion deployment a model, one postprocess."""
    models = {entry.id: _diffusion(entry, args.api.job_deadline_s) for entry in args.catalogue}
    return _ingress(args, models, _postprocess(args))


def _ingress(config: AppConfig, models: dict[str, Application], postprocess: Application) -> Application:
    deployment = serve.deployment(
        serve.ingress()(Ingress),
        name="Ingress",
        num_replicas=config.ingress.num_replicas,
        max_ongoing_requests=1000,
        graceful_shutdown_timeout_s=config.api.job_deadline_s,
        ray_actor_options={"num_cpus": config.ingress.num_cpus},
    )
    return deployment.bind(config, models, postprocess)


def _diffusion(entry: ModelEntry, deadline_s: float) -> Application:
    deployment = serve.deployment(
        Diffusion,
        name=f"Diffusion-{entry.id}",
        num_replicas=entry.num_replicas,
        max_ongoing_requests=entry.max_jobs + 1,
        graceful_shutdown_timeout_s=deadline_s,
        ray_actor_options={"num_cpus": entry.num_cpus, "num_gpus": entry.num_gpus},
    )
    return deployment.bind(entry)


def _postprocess(config: AppConfig) -> Application:
    deployment = serve.deployment(
        Postprocess,
        name="Postprocess",
        num_replicas=config.postprocess.num_replicas,
        max_ongoing_requests=64,
        graceful_shutdown_timeout_s=60,
        ray_actor_options={"num_cpus": config.postprocess.num_cpus},
    )
    return deployment.bind(config.postprocess, config.storage)


app = build_app(load_config())
