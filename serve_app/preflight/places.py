"""What the service needs of its machine: a port, a data directory that can be written, a device."""

import errno
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

from serve_app.access.keys import key_names
from serve_app.config import AppConfig
from serve_app.config.wording import Fault
from serve_app.errors import ConfigError

LEAST_FREE = 64 * 2**20
"""Bytes: a day's worth of small pictures, and what SQLite's log may grow to."""
LARGEST_PORT = 65535
GPU_FILES = {"cuda": ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")}
"""Where a driver shows itself, by the kind of device that torch names."""
DEVICES = ("auto", "cpu", "cuda", "mps", "xpu")
WHAT_TO_DO = {
    errno.EADDRINUSE: "is taken: end what uses it, or choose another one (--port, PORT=)",
    errno.EACCES: "is not for this user: choose one above 1023",
    errno.EADDRNOTAVAIL: "is no address of this machine: 127.0.0.1 is for this machine alone, 0.0.0.0 for all networks",
}


def port_faults(host: str, port: int) -> Iterator[Fault]:
    """Why nobody could listen there."""
    if not 1 <= port <= LARGEST_PORT:
        yield ("port",), f"must be from 1 to {LARGEST_PORT}, not {port}"
        return
    try:
        (family, kind, _, _, address), *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        yield ("host",), f"{host!r} is no address of this machine ({error.args[-1]}): try 127.0.0.1 or 0.0.0.0"
        return
    with socket.socket(family, kind) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            what = WHAT_TO_DO.get(error.errno or 0, f"cannot be used: {error.strerror}")
            yield ("port" if error.errno != errno.EADDRNOTAVAIL else "host",), f"cannot listen on {host}:{port}: {what}"


def folder_faults(folder: Path) -> Iterator[str]:
    """Why nothing could be written into a folder, which need not exist yet."""
    there = next(each for each in (folder, *folder.parents) if os.path.lexists(each))
    if not there.is_dir():
        yield f"{there} is a file, and a folder is needed there: move it away, or choose another one"
    elif not os.access(there, os.W_OK | os.X_OK):
        yield f"{there} cannot be written by this user: change its owner, or choose another folder"
    elif (free := shutil.disk_usage(there).free) < LEAST_FREE:
        yield f"the disk of {there} is full ({free / 2**20:.0f} MiB free): make room, or choose another folder"
    elif there == folder and (reason := _why_not_written(folder)) is not None:
        yield f"{folder} cannot be written: {reason}"


def data_faults(config: AppConfig) -> Iterator[Fault]:
    """Of the data directory and the keys in it."""
    data = config.storage.data_path.absolute()
    faults = list(folder_faults(data))
    for folder in (config.storage.pictures_path.absolute(), data / "logs") if not faults else ():
        faults.extend(folder_faults(folder))
    yield from ((("storage", "data_dir"), fault) for fault in dict.fromkeys(faults))
    try:
        key_names(config.auth, data)
    except ConfigError as error:
        if not faults:  # else it says the same once more
            yield ("storage", "data_dir"), str(error)


def device_faults(config: AppConfig) -> Iterator[Fault]:
    """Devices that are none, or are not here."""
    for number, entry in enumerate(config.catalogue):
        kind, _, index = entry.device.partition(":")
        place = ("catalogue", number, "device")
        if kind not in DEVICES or (index and not index.isdecimal()):
            yield place, f"{entry.device!r} is no device: there are {', '.join(DEVICES)}, and cuda:1 for the second GPU"
        elif kind in GPU_FILES and not any(Path(file).exists() for file in GPU_FILES[kind]):
            yield place, f"{entry.device}, and this machine shows no GPU's driver: install it, or say `device: cpu`"


def _why_not_written(folder: Path) -> str | None:
    try:
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"\0" * 4096)
            probe.flush()
            os.fsync(probe.fileno())
    except OSError as error:
        return error.strerror or str(error)
    return None
