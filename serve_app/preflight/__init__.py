"""What can be known before anything is loaded: every problem of a start at once, each with its setting and what to do.

Plain Python, no Ray, no torch. What asks others (a database, a bucket) waits a bounded time, all at once.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from serve_app.config import AppConfig, all_faults, settled, with_environment
from serve_app.config.reading import Raw, Understood, read_raw, understood
from serve_app.config.wording import Fault, shown
from serve_app.errors import ConfigError
from serve_app.preflight.models import hub_notes, model_faults
from serve_app.preflight.places import data_faults, device_faults, port_faults
from serve_app.preflight.stores import bucket_faults, records_faults

Check = Callable[[AppConfig], Iterator[Fault]]


@dataclass(frozen=True, slots=True)
class Findings:
    """Of one configuration on this machine."""

    config: AppConfig | None
    """None: not even a part of it was understood."""
    problems: tuple[str, ...]
    """A line each; with any of them there is no start."""
    notes: tuple[str, ...]
    """What only loading will tell."""


def examine(file: Path | None, data_dir: Path | None, host: str, port: int) -> Findings:
    """Everything that can be checked for a start on this machine."""
    port_problems = [shown(fault) for fault in port_faults(host, port)]
    try:
        read = understood(read_raw(file), AppConfig)
    except ConfigError as error:
        return Findings(None, (*str(error).splitlines(), *port_problems), ())
    problems = [*map(shown, all_faults(read)), *port_problems]
    if read.config is None:
        return Findings(None, tuple(problems), ())
    config = settled(read.config, data_dir)
    checks: tuple[Check, ...] = (model_faults, device_faults, data_faults, records_faults, bucket_faults)
    with ThreadPoolExecutor(len(checks)) as pool:
        found = [fault for faults in pool.map(lambda check: list(check(config)), checks) for fault in faults]
    problems += _told(read, found)
    return Findings(config, tuple(dict.fromkeys(problems)), tuple(_told(read, hub_notes(config))))


def examine_args(args: Mapping[str, object]) -> Findings:
    """What can be checked of the `args` of one of Serve's files: the catalogue's files where they are on this node, for
    those that are not may be on another one."""
    read = understood(Raw(args, None), AppConfig)
    problems = [*map(shown, all_faults(read))]
    if read.config is None:
        return Findings(None, tuple(problems), ())
    problems += _told(read, model_faults(read.config, absent_is_fault=False))
    return Findings(with_environment(read.config), tuple(problems), ())


def _told(read: Understood, faults: Iterable[Fault]) -> Iterator[str]:
    return (shown((read.original(place), text)) for place, text in faults)
