"""Origins of web pages as a configuration names them, brought into the form in which browsers send them."""

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator

ANYBODY = "*"
SANDBOXED = "null"
"""What browsers send for pages from files and sandboxes."""
OWN_PORTS = {"http": 80, "https": 443}


def as_sent(text: str) -> str:
    """Scheme, host in lower case, and port where it is not the scheme's own. Raises ValueError for anything else."""
    if text in (ANYBODY, SANDBOXED):
        return text
    parts = urlsplit(text.strip().lower())
    port = parts.port  # ValueError where it is none
    if not parts.scheme or not parts.hostname or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError(f"{text!r} is no origin: write scheme://host or scheme://host:port, or *")
    if "@" in parts.netloc or ANYBODY in parts.netloc:
        raise ValueError(f"{text!r} is no origin: hosts are named in full, and * stands alone")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}" + ("" if port in (None, OWN_PORTS.get(parts.scheme)) else f":{port}")


Origin = Annotated[str, AfterValidator(as_sent)]
