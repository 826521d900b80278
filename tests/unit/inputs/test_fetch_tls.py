"""HTTPS: the connection goes to the judged address, the certificate must be the name's."""

import asyncio
import datetime
import ssl
from collections.abc import AsyncIterator
from ipaddress import ip_network
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from serve_app.config import InputsConfig
from serve_app.errors import ImageFetchFailed
from serve_app.inputs.fetch import ImageFetcher
from tests.unit.inputs.loopback_site import Site, plain

NAME = "pictures.test"


async def resolve(host: str, port: int) -> list[str]:  # noqa: ARG001
    return ["127.0.0.1"]


def certificate(folder: Path) -> Path:
    """A PEM file with a fresh key and its self-signed certificate for NAME."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    now = datetime.datetime.now(datetime.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file = folder / "site.pem"
    file.write_bytes(key.private_bytes(*form) + built.public_bytes(serialization.Encoding.PEM))
    return file


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    site = Site()
    yield site
    await site.close()


@pytest.fixture
async def asked(site: Site, tmp_path: Path) -> tuple[ImageFetcher, int, list[str]]:
    """A fetcher that trusts the site's certificate, the site's port, and the names that TLS asked it for."""
    file = certificate(tmp_path)
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(file)
    sni: list[str] = []
    server.sni_callback = lambda _socket, name, _context: sni.append(name)
    site.answers["/"] = plain(b"picture")
    config = InputsConfig(allowed_networks=(ip_network("127.0.0.0/8"),), fetch_timeout_s=30.0)
    fetcher = ImageFetcher(config, resolve, ssl.create_default_context(cafile=str(file)))
    return fetcher, await site.open(server), sni


async def test_a_certificate_of_the_name_is_accepted_at_the_judged_address(
    asked: tuple[ImageFetcher, int, list[str]], site: Site
) -> None:
    fetcher, port, sni = asked
    assert await fetcher.fetch(f"https://{NAME}:{port}/") == b"picture"
    assert sni == [NAME]
    assert site.hosts == [f"{NAME}:{port}"]
    await fetcher.close()


@pytest.mark.parametrize("host", ["other.test", "127.0.0.1"])
async def test_a_certificate_of_another_name_is_refused(
    asked: tuple[ImageFetcher, int, list[str]], site: Site, host: str
) -> None:
    fetcher, port, _ = asked
    assert await fetcher.fetch(f"https://{NAME}:{port}/") == b"picture"
    with pytest.raises(ImageFetchFailed, match="CERTIFICATE_VERIFY_FAILED") as caught:
        await fetcher.fetch(f"https://{host}:{port}/")
    assert caught.value.reason == "its server's certificate is not valid"
    assert len(site.hosts) == 1
    await fetcher.close()


async def test_a_server_that_speaks_no_tls_is_told_so(asked: tuple[ImageFetcher, int, list[str]]) -> None:
    async def plainly(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    fetcher, _, _ = asked
    async with await asyncio.start_server(plainly, "127.0.0.1", 0) as server:
        with pytest.raises(ImageFetchFailed) as caught:
            await fetcher.fetch(f"https://{NAME}:{server.sockets[0].getsockname()[1]}/")
    assert caught.value.reason == "its server does not speak TLS as it should"
    await fetcher.close()
