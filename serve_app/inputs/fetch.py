"""The guarded downloader: an init image's URL to its bytes.

Every hop's name is resolved once, every address of it judged, and the connection goes to a judged address.
One deadline and one byte cap hold over everything. What the bytes mean is the business of `decode`.
"""

import asyncio
import logging
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator, Sequence

import httpcore2
import httpx2

from serve_app.config import InputsConfig
from serve_app.errors import ImageFetchFailed
from serve_app.inputs.answer_head import TolerantNetwork
from serve_app.inputs.codings import codings_of, decoded, is_picture
from serve_app.inputs.guard import Address, Network, is_permitted, parse_address
from serve_app.urls import UrlRefused, require_callable, shown_url, without_secrets

Resolver = Callable[[str, int], Awaitable[Sequence[str]]]
"""(host, port) to the addresses of that host, as text. Raises OSError where the name has none."""

HEADERS = {
    "Accept": "image/png, image/jpeg, image/webp, */*;q=0.1",
    "Accept-Encoding": "identity",
    "Connection": "close",
    "User-Agent": "Mozilla/5.0 (compatible; Darkroom)",
}
"""Some servers send pictures to no client but a browser, and say so by this word."""
UNDEMANDING = {**HEADERS, "Accept": "*/*", "Accept-Encoding": "identity, gzip, deflate"}
"""For a server that has nothing acceptable (406): whatever it has."""
LONGEST_DETAIL = 500
"""Characters of a failure in the log: its text may hold whatever the server has sent."""
BEFORE_QUERY = re.compile(r"[^?#]+")
REDIRECTS = frozenset({301, 302, 303, 307, 308})

NO_HOST = "its host has no public address"
"""For names that do not exist and for those that are refused alike: a sender shall not learn which of ours exist."""
NO_URL = "not an http or https URL that can be called"
NO_CONNECTION = "its server cannot be connected to"
BAD_CERTIFICATE = "its server's certificate is not valid"
NO_TLS = "its server does not speak TLS as it should"
BROKEN_OFF = "its server broke the answer off"
UNREADABLE = "its server does not answer as HTTP says"

logger = logging.getLogger(__name__)


async def resolve_name(host: str, port: int) -> list[str]:
    """The system's resolver, in its preferred order."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(where[0]) for *_, where in found]


class TargetRefused(httpx2.TransportError):
    """The guard does not let a request go where it wants to go; the text says why, for logs."""

    def __init__(self, why: str, *, is_final: bool) -> None:
        super().__init__(why)
        self.is_final = is_final
        """No change of the network, its names, or our configuration can make this URL one that is called."""


class GuardedTransport(httpx2.AsyncBaseTransport):
    """Sends a request to an address that it has judged, with Host, SNI and certificate check for the name.

    Connections are never kept: one that was verified for a name must not serve another name of that address.
    """

    def __init__(self, allowed: Sequence[Network], resolve: Resolver, tls: ssl.SSLContext) -> None:
        self._allowed = allowed
        self._resolve = resolve
        self._inner = httpx2.AsyncHTTPTransport(verify=tls, trust_env=False)
        self._inner._pool = httpcore2.AsyncConnectionPool(  # httpx2 has no option for the network
            tls, max_connections=None, max_keepalive_connections=0, network_backend=TolerantNetwork()
        )

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Raises TargetRefused for a URL or an address, httpx2.HTTPError, OSError or ValueError for the network's."""
        try:
            require_callable(str(request.url))
        except UrlRefused as refused:
            raise TargetRefused(str(refused), is_final=True) from refused
        failure: httpx2.TransportError | None = None
        for address in await self._judged_addresses(request.url):
            try:
                return await self._inner.handle_async_request(_aimed(request, address))
            except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
                failure = error
        raise failure or TargetRefused(f"{request.url.host} has no address", is_final=False)

    async def _judged_addresses(self, url: httpx2.URL) -> list[Address]:
        port = url.port if url.port is not None else {"http": 80, "https": 443}[url.scheme]
        addresses = [parse_address(text) for text in await self._resolve(url.host, port)]
        for address in addresses:
            if not is_permitted(address, self._allowed):
                raise TargetRefused(f"{url.host} leads to {address}, which is not public", is_final=False)
        return list(dict.fromkeys(addresses))

    async def aclose(self) -> None:
        """Close what is still open."""
        await self._inner.aclose()


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

        Raises ImageFetchFailed for everything else; its reason is for the sender, its detail for logs.
        """
        try:
            return await self._within_time(url)
        except ImageFetchFailed as failed:
            logger.warning("no init image from %s: %s", shown_url(url), failed.detail)
            raise

    async def _within_time(self, url: str) -> bytes:
        seconds = self._config.fetch_timeout_s
        try:
            async with asyncio.timeout(seconds):
                return await self._follow(require_callable(url))
        except TimeoutError as error:
            raise ImageFetchFailed(f"not done within {seconds:g} s", f"took longer than {seconds:g} s") from error
        # ValueError: the resolver refuses a label (UnicodeError) or answers with what is no address.
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
            detail = without_secrets(f"{type(error).__name__}: {error}")[:LONGEST_DETAIL]
            raise ImageFetchFailed(detail, reason_of(error)) from error

    async def _follow(self, url: httpx2.URL) -> bytes:
        cookies, headers = httpx2.Cookies(), HEADERS
        for _ in range(self._config.max_redirects + 1):
            request = self._request(url, headers)
            cookies.set_cookie_header(request)
            response = await self._transport.handle_async_request(request)
            try:
                response.request = request
                cookies.extract_cookies(response)
                if response.status_code == 406 and headers is HEADERS:
                    headers = UNDEMANDING
                elif response.status_code not in REDIRECTS:
                    return await self._body(response)
                else:
                    url = _location(url, response)
            finally:
                await response.aclose()
        text = f"more than {self._config.max_redirects} redirects"
        raise ImageFetchFailed(text, text)

    def _request(self, url: httpx2.URL, headers: dict[str, str]) -> httpx2.Request:
        timeout = httpx2.Timeout(self._config.fetch_timeout_s, connect=self._config.fetch_timeout_s / 2)
        return httpx2.Request("GET", url, headers=headers, extensions={"timeout": timeout.as_dict()})

    async def _body(self, response: httpx2.Response) -> bytes:
        """What was answered with any status of success, out of the codings that it is in."""
        status, cap = response.status_code, self._config.max_image_bytes
        if not 200 <= status < 300:
            raise _answered(f"the server answered {status}")
        announced = response.headers.get("content-length", "")
        if announced.isdecimal() and int(announced) > cap:
            raise ImageFetchFailed(f"the answer announces more than {cap} bytes", f"larger than {cap} bytes")
        body = await self._capped(response)
        if not body:
            raise _answered(f"the server answered {status} with nothing")
        codings = codings_of(response.headers.get("content-encoding", ""))
        whole = body if is_picture(body) or not codings else await asyncio.to_thread(decoded, body, codings, cap)
        if len(whole) > cap:
            raise ImageFetchFailed(f"the answer is longer than {cap} bytes", f"larger than {cap} bytes")
        return whole

    async def _capped(self, response: httpx2.Response) -> bytes:
        """The body as it is on the wire. A picture whose end is missing is handed on: its decoder knows how much is."""
        cap = self._config.max_image_bytes
        body = bytearray()
        try:
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > cap:
                    raise ImageFetchFailed(f"the answer is longer than {cap} bytes", f"larger than {cap} bytes")
        except (httpx2.RemoteProtocolError, httpx2.ReadError) as error:
            if not is_picture(body):
                raise
            logger.info("an answer broke off after %d bytes: %s", len(body), error)
        return bytes(body)

    async def close(self) -> None:
        """Close what is still open."""
        await self._transport.aclose()


def _answered(text: str) -> ImageFetchFailed:
    return ImageFetchFailed(text, text)


def _location(url: httpx2.URL, response: httpx2.Response) -> httpx2.URL:
    """Where a redirect leads, as browsers read it: a backslash before the query is a slash."""
    places = response.headers.get_list("location")
    if len(places) > 1:
        raise _answered(f"the server answered {response.status_code} with more than one place")
    if not places or not places[0]:
        raise _answered(f"the server answered {response.status_code} without saying where the picture is")
    path = BEFORE_QUERY.match(places[0])
    return url.join(places[0] if path is None else path[0].replace("\\", "/") + places[0][path.end() :])


REASONS: tuple[tuple[type[BaseException], str], ...] = (
    (ssl.SSLCertVerificationError, BAD_CERTIFICATE),
    (ssl.SSLError, NO_TLS),
    (UrlRefused, NO_URL),
    (httpx2.InvalidURL, NO_URL),
    (TargetRefused, NO_HOST),
    (httpx2.ConnectError, NO_CONNECTION),
    (httpx2.TimeoutException, NO_CONNECTION),
    (httpx2.RemoteProtocolError, UNREADABLE),
    (httpx2.NetworkError, BROKEN_OFF),
    (OSError, NO_HOST),  # the resolver's
    (ValueError, NO_HOST),
)
"""The first that fits, each looked for in the whole chain of causes."""


def reason_of(error: BaseException) -> str:
    """What the sender of a URL is told of its failure."""
    chain = list(_causes(error))
    return next((reason for kind, reason in REASONS if any(isinstance(one, kind) for one in chain)), UNREADABLE)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
