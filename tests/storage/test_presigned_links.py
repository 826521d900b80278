"""Links that S3 itself checks: who holds one reads one picture until it expires.

Neither test server checks a SigV4 signature of a query; that ours are true is judged by botocore.
"""

import asyncio
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

import httpx2
import pytest
from botocore.auth import S3SigV4QueryAuth  # type: ignore[import-untyped]
from botocore.awsrequest import AWSRequest  # type: ignore[import-untyped]
from botocore.credentials import Credentials  # type: ignore[import-untyped]

from serve_app.config import S3Config
from serve_app.postprocess.storage import S3Store
from tests.servers.listening import ListeningProcess
from tests.servers.s3rver import CREDENTIAL
from tests.storage.buckets import BUCKET
from tests.unit.postprocess.store_contract import NAME, PNG, TEMPORARY

BUCKETS = (
    S3Config(bucket=BUCKET),
    S3Config(bucket=BUCKET, region="eu-central-1", virtual_hosted=True),
    S3Config(bucket=BUCKET, endpoint="http://127.0.0.1:9000", prefix="dark/room"),
    S3Config(bucket=BUCKET, endpoint="https://s3.example.com:8443", virtual_hosted=True, prefix="a b+c"),
    S3Config(bucket=BUCKET, endpoint="http://minio:9000", public_endpoint="https://files.example.com"),
)


async def link(bucket: S3Config, name: str = TEMPORARY, seconds: float = 60) -> str:
    return (await S3Store(bucket).presigned_links([name], seconds))[0]


def get(url: str) -> httpx2.Response:
    return httpx2.get(url, trust_env=False, timeout=30)


def signature_by_botocore(url: str, region: str) -> str:
    """What AWS's own library signs for a GET of this URL at the time that it tells."""
    split = urlsplit(url)
    query = dict(parse_qsl(split.query))
    del query["X-Amz-Signature"]
    request = AWSRequest("GET", urlunsplit(split._replace(query=urlencode(query, quote_via=quote))))
    request.context["timestamp"] = query["X-Amz-Date"]
    auth = S3SigV4QueryAuth(Credentials(CREDENTIAL, CREDENTIAL), "s3", region)
    return str(auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request))


async def test_a_link_answers_404_until_the_picture_is_there_and_then_shows_it(bucket: S3Config) -> None:
    url = await link(bucket)
    assert get(url).status_code == 404
    await S3Store(bucket).put(TEMPORARY, b"one", PNG)
    answer = get(url)
    assert (answer.status_code, answer.content, answer.headers["content-type"]) == (200, b"one", PNG)


async def test_a_bucket_tells_caches_what_we_would_tell_them(moto: ListeningProcess) -> None:
    bucket = S3Config(bucket=BUCKET, endpoint=moto.url)
    for name, kept in ((NAME, "public, max-age=31536000, immutable"), (TEMPORARY, "private, no-store")):
        await S3Store(bucket).put(name, b"one", PNG)
        assert get(await link(bucket, name)).headers["cache-control"] == kept


async def test_links_come_in_the_order_of_their_names(bucket: S3Config) -> None:
    first, second = await S3Store(bucket).presigned_links([TEMPORARY, NAME], 60)
    assert urlsplit(first).path.endswith(f"/{TEMPORARY}")
    assert urlsplit(second).path.endswith(f"/{bucket.prefix}/{NAME}")


async def test_an_expired_link_is_refused(s3rver: ListeningProcess) -> None:
    bucket = S3Config(bucket=BUCKET, endpoint=s3rver.url)
    await S3Store(bucket).put(TEMPORARY, b"one", PNG)
    assert get(await link(bucket, seconds=3600)).status_code == 200
    brief = await link(bucket, seconds=1)
    while (answer := get(brief)).status_code == 200:  # until its second is over
        await asyncio.sleep(0.1)
    assert answer.status_code == 403


async def test_a_link_of_an_unknown_key_is_refused(s3rver: ListeningProcess) -> None:
    url = await link(S3Config(bucket=BUCKET, endpoint=s3rver.url))
    assert get(url.replace(CREDENTIAL, "STRANGER")).status_code == 403


@pytest.mark.parametrize("bucket", BUCKETS, ids=lambda bucket: f"{bucket.endpoint} {bucket.region}")
async def test_the_signature_is_the_one_that_aws_computes(bucket: S3Config) -> None:
    url = await link(bucket, seconds=86400)
    query = dict(parse_qsl(urlsplit(url).query))
    assert query["X-Amz-Expires"] == "86400"
    assert query["X-Amz-Signature"] == signature_by_botocore(url, bucket.region)


async def test_the_signature_fits_no_other_picture_and_no_other_end() -> None:
    bucket = BUCKETS[2]
    url = await link(bucket)
    signed = dict(parse_qsl(urlsplit(url).query))["X-Amz-Signature"]
    for other in (url.replace("-0.png", "-1.png"), url.replace("Expires=60", "Expires=600"), url.replace("temp/", "")):
        assert other != url
        assert signature_by_botocore(other, bucket.region) != signed


async def test_temporary_credentials_are_named_in_the_link(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "a token+/=")
    url = await link(BUCKETS[2])
    assert dict(parse_qsl(urlsplit(url).query))["X-Amz-Security-Token"] == "a token+/="
    assert signature_by_botocore(url, "us-east-1") in url
