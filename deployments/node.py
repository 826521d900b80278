"""`python -m deployments.node`: Ray, Serve and the application on this machine, below a process that watches over it.

`deployments.local` starts it, gives it the configuration as JSON on stdin, reads `deployments.steps` from its stdout,
and kills whatever it leaves behind. What Ray prints goes to stderr, which is a log file.
"""

import argparse
import http.client
import math
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import psutil

from deployments.faults import start_faults
from deployments.processes import end_with_parent
from deployments.steps import Failed, Ready, Step, Stopped, Waiting, written
from serve_app.config import AppConfig
from serve_app.errors import ConfigError

APPLICATION = "darkroom"
LEAST_CPUS = 2
"""What Ray counts with at least; the deployments of the pocket model ask for less together, so one core will do."""
STEP_S = 300.0
"""A machine that is busy with other things may take so long for a step that takes a few seconds."""
LOOK_S = 0.25
AGENT_PORTS = (
    "metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port", "runtime_env_agent_port",
)  # fmt: skip
"""Of RayParams: those that agents choose where they are not set."""
Tell = Callable[[Step], None]


class NotStarted(Exception):
    """Ray or Serve did not come up; another try may do better."""


def main() -> int:
    """Start, tell when it is ready, stop at SIGTERM. Returns the exit status."""
    options = _options()
    tell = _teller()
    end_with_parent()
    try:
        config = AppConfig.model_validate_json(sys.stdin.read())
        _start(config, options.host, options.port, tell)
        stop = _stop_signal()
        tell(Ready(_ray_logs()))
    except ConfigError as error:
        tell(Failed(str(error).splitlines(), again=False))
        return 1
    except Exception as error:  # noqa: BLE001 (whatever Ray raises: the watching process tells it and tries again)
        traceback.print_exc()
        tell(Failed([f"{type(error).__name__}: {error}"], again=True))
        return 1
    stop.wait()
    _stop()
    tell(Stopped())
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m deployments.node", description="Started by deployments.local.")
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", required=True, type=int)
    return parser.parse_args()


def _teller() -> Tell:
    """Writes steps to what was stdout; whatever else prints there, as Ray does, prints to stderr from now on."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def tell(step: Step) -> None:
        print(written(step), file=out, flush=True)

    return tell


def _stop_signal() -> threading.Event:
    """Set by SIGTERM. Ray installs a handler of its own when it starts, so call this after that."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda _signal, _frame: stop.set())
    return stop


def _start(config: AppConfig, host: str, port: int, tell: Tell) -> None:
    from deployments.app import application

    tell(Waiting("starting Ray"))
    _start_ray(config)
    from ray import serve

    tell(Waiting("starting Serve"))
    _patiently(lambda: serve.start(http_options={"host": host, "port": port}))
    target = serve.RunTarget(target=application(config), name=APPLICATION)
    tell(Waiting("loading"))
    with suppress(TimeoutError):  # of the proxies: whether they answer is asked below
        serve.run_many([target], wait_for_applications_running=False)
    _wait_for_replicas(config, tell)
    tell(Waiting("opening the port"))
    _wait_for_answer(host, port)


def _start_ray(config: AppConfig) -> None:
    import ray

    with _patient_ray():
        ray.init(
            "local",
            num_cpus=max(LEAST_CPUS, math.ceil(_cpus(config))),
            include_dashboard=False,
            log_to_driver=False,
            configure_logging=False,
        )
    wanted, there = sum(each.num_gpus * each.num_replicas for each in config.catalogue), _gpus()
    if wanted > there:
        raise ConfigError(
            f"catalogue: its models ask for {wanted:g} GPUs (num_gpus) and this machine has {there:g}: "
            "set num_gpus: 0 for those that run on the CPU"
        )


def _cpus(config: AppConfig) -> float:
    """What all deployments ask for. Ray only counts with it, and a start must not wait for cores that never come."""
    parts = (config.ingress, config.courier, config.postprocess)
    own = sum(part.num_cpus * part.num_replicas for part in parts)
    return own + sum(entry.num_cpus * entry.num_replicas for entry in config.catalogue)


def _gpus() -> float:
    import ray

    return float(ray.cluster_resources().get("GPU", 0.0))


@contextmanager
def _patient_ray() -> Iterator[None]:
    """Two limits of Ray's that no setting changes are lifted while the block runs.

    A raylet gives its agents, Python programs of many imports, 15 s to write down the ports that they chose, and ends
    otherwise: here their ports are chosen for them. And Ray gives its first node 30 s to appear: here it is `STEP_S`.
    """
    from ray._private import services
    from ray._private.parameter import RayParams

    asked: Callable[..., Any] = services.get_node
    chosen = RayParams.update_pre_selected_port

    def patient(*arguments: object) -> Any:  # noqa: ANN401 (what Ray's own returns)
        until = time.monotonic() + STEP_S
        while True:
            try:
                return asked(*arguments)
            except RuntimeError as error:
                if time.monotonic() >= until or _raylet_has_ended():
                    raise NotStarted(f"Ray's first node did not appear: {error}") from error
            time.sleep(LOOK_S)

    def choose(parameters: Any) -> None:  # noqa: ANN401 (Ray's)
        for name, port in zip(AGENT_PORTS, _free_ports(len(AGENT_PORTS)), strict=True):
            if not getattr(parameters, name):
                setattr(parameters, name, port)
        chosen(parameters)

    services.get_node, RayParams.update_pre_selected_port = patient, choose
    try:
        yield
    finally:
        services.get_node, RayParams.update_pre_selected_port = asked, chosen


def _raylet_has_ended() -> bool:
    """It is this process' child, and whatever is left of it is."""
    found = [each for each in psutil.Process().children() if each.name() == "raylet"]
    return any(each.status() == psutil.STATUS_ZOMBIE for each in found)


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("", 0))
        return [probe.getsockname()[1] for probe in probes]


def _patiently(work: Callable[[], object]) -> None:
    """Serve gives its proxy 60 s, which no setting changes; asked again it goes on waiting for the same one."""
    until = time.monotonic() + STEP_S
    while True:
        try:
            work()
            return
        except TimeoutError as error:
            if time.monotonic() >= until:
                raise NotStarted(f"Serve did not start within {STEP_S:.0f} s") from error


def _wait_for_replicas(config: AppConfig, tell: Tell) -> None:
    """Until every deployment has its replicas. Raises ConfigError as soon as one of them can never start."""
    from ray import serve

    while True:
        application = serve.status().applications[APPLICATION]
        messages = {name: deployment.message for name, deployment in application.deployments.items()}
        if faults := start_faults(config, messages, given_up=application.status == "DEPLOY_FAILED"):
            raise ConfigError("\n".join(faults))
        if application.status == "RUNNING":
            return
        if waiting := sorted(name for name, each in application.deployments.items() if each.status != "HEALTHY"):
            tell(Waiting(f"loading {', '.join(_shown(name) for name in waiting)}"))
        time.sleep(LOOK_S)


def _shown(deployment: str) -> str:
    return f"model {name}" if (name := deployment.removeprefix("Diffusion-")) != deployment else deployment.lower()


def _wait_for_answer(host: str, port: int) -> None:
    """Until the application answers at the port."""
    until = time.monotonic() + STEP_S
    while not _answers(host, port):
        if time.monotonic() >= until:
            raise NotStarted(f"nothing answers at port {port} after {STEP_S:.0f} s")
        time.sleep(LOOK_S)


def _answers(host: str, port: int) -> bool:
    connection = http.client.HTTPConnection({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port, timeout=10)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _ray_logs() -> str:
    from ray._private import worker

    return str(worker._global_node.get_logs_dir_path())


def _stop() -> None:
    from ray import serve

    serve.shutdown()


if __name__ == "__main__":
    sys.exit(main())
