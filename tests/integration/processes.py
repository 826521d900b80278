"""The processes of a running service, found by what Ray names them."""

from pathlib import Path

from tests.conftest import Service


def replica_pids(service: Service, deployment: str) -> list[int]:
    """The processes of this deployment's replicas, e.g. of Diffusion-pocket."""
    title = f"ray::ServeReplica:darkroom:{deployment}"
    return [pid for pid in _descendants(service.pid) if _title(pid).startswith(title)]


def _title(pid: int) -> str:
    try:
        return (Path("/proc") / str(pid) / "cmdline").read_text().replace("\0", " ").strip()
    except OSError:  # it has ended
        return ""


def _descendants(ancestor: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal() and (parent := _parent(folder)) is not None:
            children.setdefault(parent, []).append(int(folder.name))
    found = [ancestor]
    for pid in found:
        found.extend(children.get(pid, []))
    return found


def _parent(folder: Path) -> int | None:
    try:
        after_name = (folder / "stat").read_text().rpartition(")")[2]
    except OSError:
        return None
    return int(after_name.split()[1])
