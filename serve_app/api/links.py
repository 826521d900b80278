"""Which URLs a job's pictures will have, and whether somebody may follow one to this service.

A permanent picture's link is its name. A temporary picture's link expires: on the local store this
service signs and checks it, on S3 it is presigned and never comes here.
"""

import hashlib
import hmac
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence

from serve_app.api.routes import FILES_PATH
from serve_app.config import StorageConfig
from serve_app.errors import LinkRefused
from serve_app.messages import is_temporary

SECRET_BYTES = 32
"""The least that a signing secret has."""
EXPIRES = re.compile(r"[0-9]{1,12}")

Presign = Callable[[Sequence[str], float], Awaitable[tuple[str, ...]]]
"""Takes the names and how many seconds from now their links live; see storage.S3Store.presigned_links."""


class Links:
    """Makes and checks the links of one configuration.

    `secret` signs temporary links: at least SECRET_BYTES random bytes, the same in every process that
    answers, kept over restarts. `presign` is there where the store makes such links itself.
    """

    def __init__(self, storage: StorageConfig, secret: bytes, presign: Presign | None = None) -> None:
        if len(secret) < SECRET_BYTES:
            raise ValueError(f"the secret has {len(secret)} bytes of {SECRET_BYTES}")
        self._public_url = storage.public_url
        self._temporary_s = storage.temporary_s
        self._secret = secret
        self._presign = presign

    async def links_for(self, names: Sequence[str], base_url: str, now: float) -> tuple[str, ...]:
        """The links of one job's pictures, in the order of their names, which say whether they are temporary.

        `base_url` is this service's as its client knows it. Raises StorageFailed where presigning fails.
        """
        if not any(is_temporary(name) for name in names):
            return permanent_links(names, base_url, self._public_url)
        if self._presign is not None:
            return await self._presign(names, self._temporary_s)
        return signed_links(names, base_url, self._secret, now + self._temporary_s)

    def check(self, name: str, query: Mapping[str, str], now: float) -> None:
        """Let a reader of /files/<name>?<query> pass. Raises LinkRefused."""
        check_link(name, query, self._secret, now)


def permanent_links(names: Sequence[str], base_url: str, public_url: str | None = None) -> tuple[str, ...]:
    """Links for ever: `<public_url>/<name>` where pictures are served by something else, else by this service."""
    start = f"{base_url.rstrip('/')}{FILES_PATH}" if public_url is None else public_url.rstrip("/")
    return tuple(f"{start}/{name}" for name in names)


def signed_links(names: Sequence[str], base_url: str, secret: bytes, expires_at: float) -> tuple[str, ...]:
    """Links to this service that `check_link` accepts until `expires_at`, in whole seconds since 1970."""
    expires = str(int(expires_at))
    urls = permanent_links(names, base_url)
    signatures = (_signature(name, expires, secret) for name in names)
    return tuple(f"{url}?expires={expires}&signature={made}" for url, made in zip(urls, signatures, strict=True))


def check_link(name: str, query: Mapping[str, str], secret: bytes, now: float) -> None:
    """Raises LinkRefused for a temporary picture's name without our signature, or one that has expired.

    A permanent picture's name needs none; whether there is such a picture is the store's to say.
    """
    if not is_temporary(name):
        return
    expires, signature = query.get("expires", ""), query.get("signature", "")
    # As bytes: compare_digest raises for text beyond ASCII.
    genuine = hmac.compare_digest(signature.encode(errors="replace"), _signature(name, expires, secret).encode())
    if not genuine or EXPIRES.fullmatch(expires) is None or now >= int(expires):
        raise LinkRefused(f"{name} until {expires}")


def _signature(name: str, expires: str, secret: bytes) -> str:
    """HMAC-SHA256 over both; neither a name of the store nor a number holds the line break between them."""
    signed = f"{name}\n{expires}".encode(errors="replace")
    return hmac.new(secret, signed, hashlib.sha256).hexdigest()
