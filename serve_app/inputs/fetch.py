"""The guarded downloader: an init image's URL to its bytes.

Every hop's name is resolved once, every address of it judged, and the connection goes to a judged address.
One deadline and one byte cap hold over everything. What the bytes mean is the business of `decode`.
"""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence

import httpx2

from serve_app.config import InputsConfig
from serve_app.errors import ImageFetchFailed
from serve_app.inputs.guard import Address, Network, is_permitted, parse_address

Resolver = Callable[[str, int], Awaitable[Sequence[str]]]
"""(host, port) to the addresses of that host, as text. Raises OSError where the name has none."""

HEADERS = {
    "Accept": "image/png, image/jpeg, image/webp",
    "Accept-Encoding": "identity",
    "Connection": "close",
    "User-Agent": "Darkroom",
}
REDIRECTS = frozenset({301, 302, 303, 307, 308})


async def resolve_name(host: str, port: int) -> list[str]:
    """The system's resolver, in its preferred order."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(where[0]) for *_, where in found]


class TargetRefused(httpx2.TransportError):
    """The guard does not let a request go where it wants to go; the text says why, for logs."""


class GuardedTransport(httpx2.AsyncBaseTransport):
    """Sends a request to an address that it has judged, with Host, SNI and certificate check for the name.

    Connections are never kept: one that was verified for a name must not serve another name of that address.
    """

    def __init__(self, allowed: Sequence[Network], resolve: Resolver, tls: ssl.SSLContext) -> None:
        self._allowed = allowed
        self._resolve = resolve
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=0)
        self._inner = httpx2.AsyncHTTPTransport(verify=tls, trust_env=False, limits=limits)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Raises TargetRefused for a URL or an address, httpx2.HTTPError, OSError or ValueError for the network's."""
        _check_url(request.url)
        failure: httpx2.TransportError | None = None
        for address in await self._judged_addresses(request.url):
            try:
                return await self._inner.handle_async_request(_aimed(request, address))
            except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
                failure = error
        raise failure or TargetRefused(f"{request.url.host} has no address")

    async def _judged_addresses(self, url: httpx2.URL) -> list[Address]:
        port = url.port if url.port is not None else {"http": 80, "https": 443}[url.scheme]
        addresses = [parse_address(text) for text in await self._resolve(url.host, port)]
        for address in addresses:
            if not is_permitted(address, self._allowed):
                raise TargetRefused(f"{url.host} leads to {address}, which is not public")
        return list(dict.fromkeys(addresses))

    async def aclose(self) -> None:
        """Close what is still open."""
        await self._inner.aclose()


def _check_url(url: httpx2.URL) -> None:
    if url.scheme not in ("http", "https"):
        raise TargetRefused(f"scheme {url.scheme!r} is not http or https")
    if not url.host:
        raise TargetRefused("the URL names no host")
    if url.port is not None and not 0 < url.port < 65536:
        raise TargetRefused(f"there is no port {url.port}")
    if url.userinfo:
        raise TargetRefused("the URL carries a user or password")


def _aimed(request: httpx2.Request, address: Address) -> httpx2.Request:
    """The same request, to this address; its Host header is already the name's."""
    return httpx2.Request(
        request.method,
        request.url.copy_with(host=str(address)),
        headers=request.headers,
        stream=request.stream,
        extensions=request.extensions | {"sni_hostname": request.url.host},
    )


class ImageFetcher:
    """Downloads init images. Use one per process and close it; any number of fetches may run at once."""

    def __init__(
        self, config: InputsConfig, resolve: Resolver = resolve_name, tls: ssl.SSLContext | None = None
    ) -> None:
        self._config = config
        tls = tls or httpx2.create_ssl_context(trust_env=False)
        self._transport = GuardedTransport(config.allowed_networks, resolve, tls)

    async def fetch(self, url: str) -> bytes:
        """The body behind the URL, at most `max_image_bytes` long, within `fetch_timeout_s` seconds in all.

        Raises ImageFetchFailed for everything else; its detail is for logs.
        """
        try:
            async with asyncio.timeout(self._config.fetch_timeout_s):
                return await self._follow(httpx2.URL(url))
        except TimeoutError as error:
            raise ImageFetchFailed(f"not done within {self._config.fetch_timeout_s:g} s") from error
        # ValueError: the resolver refuses a label (UnicodeError) or answers with what is no address.
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
            raise ImageFetchFailed(f"{type(error).__name__}: {error}") from error

    async def _follow(self, url: httpx2.URL) -> bytes:
        for _ in range(self._config.max_redirects + 1):
            response = await self._transport.handle_async_request(self._request(url))
            try:
                if response.status_code not in REDIRECTS:
                    return await self._body(response)
                url = _location(url, response)
            finally:
                await response.aclose()
        raise ImageFetchFailed(f"more than {self._config.max_redirects} redirects")

    def _request(self, url: httpx2.URL) -> httpx2.Request:
        timeout = httpx2.Timeout(self._config.fetch_timeout_s, connect=self._config.fetch_timeout_s / 2)
        return httpx2.Request("GET", url, headers=HEADERS, extensions={"timeout": timeout.as_dict()})

    async def _body(self, response: httpx2.Response) -> bytes:
        _check_answer(response)
        cap = self._config.max_image_bytes
        body = bytearray()
        if int(response.headers.get("content-length", 0)) > cap:
            raise ImageFetchFailed(f"the answer announces more than {cap} bytes")
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > cap:
                raise ImageFetchFailed(f"the answer is longer than {cap} bytes")
        return bytes(body)

    async def close(self) -> None:
        """Close what is still open."""
        await self._transport.aclose()


def _check_answer(response: httpx2.Response) -> None:
    if response.status_code != 200:
        raise ImageFetchFailed(f"the server answered {response.status_code}")
    encoding = response.headers.get("content-encoding", "identity")
    if encoding.lower() != "identity":
        raise ImageFetchFailed(f"the answer is encoded as {encoding!r}, which was not asked for")


def _location(url: httpx2.URL, response: httpx2.Response) -> httpx2.URL:
    location = response.headers.get("location")
    if not location:
        raise ImageFetchFailed(f"the server answered {response.status_code} without a location")
    return url.join(location)
