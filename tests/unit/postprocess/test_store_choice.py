"""Which store a configuration gives, which configurations are refused, and where presigned links point."""

from pathlib import Path
from urllib.parse import urlsplit

import pytest
from pydantic import ValidationError

from serve_app.config import S3Config, StorageConfig
from serve_app.errors import StorageFailed
from serve_app.postprocess.storage import LocalStore, S3Store, open_store

NAME = "temp/6ef3f81f-0d5a-4b7e-9c3e-2f1a0b9c8d7e-0.png"


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "someone")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")


async def link_start(**bucket: object) -> str:
    """Of a presigned link: all but its query."""
    store = S3Store(S3Config.model_validate({"bucket": "pictures", **bucket}))
    split = urlsplit((await store.presigned_links([NAME], 60))[0])
    return f"{split.scheme}://{split.netloc}{split.path}"


def test_files_are_local_unless_a_bucket_is_named(tmp_path: Path) -> None:
    assert isinstance(open_store(StorageConfig(data_dir=str(tmp_path))), LocalStore)
    assert (tmp_path / "pictures").is_dir()
    s3 = StorageConfig(data_dir=str(tmp_path / "other"), s3=S3Config(bucket="pictures"))
    assert isinstance(open_store(s3), S3Store)
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("bucket", "start"),
    [
        ({}, "https://s3.us-east-1.amazonaws.com/pictures/"),
        ({"region": "eu-west-1", "virtual_hosted": True}, "https://pictures.s3.eu-west-1.amazonaws.com/"),
        ({"endpoint": "http://minio:9000/"}, "http://minio:9000/pictures/"),
        ({"endpoint": "https://s3.example.com/", "virtual_hosted": True}, "https://pictures.s3.example.com/"),
        ({"prefix": "dark/room/", "endpoint": "http://minio:9000"}, "http://minio:9000/pictures/dark/room/"),
        (
            {"endpoint": "http://minio:9000", "public_endpoint": "https://files.example.com"},
            "https://files.example.com/pictures/",
        ),
    ],
)
async def test_links_point_to_where_clients_reach_the_bucket(bucket: dict[str, object], start: str) -> None:
    assert await link_start(**bucket) == start + NAME


async def test_the_configured_endpoint_wins_over_the_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"):
        monkeypatch.setenv(name, "https://elsewhere.example.com")
    assert (await link_start(endpoint="http://minio:9000")).startswith("http://minio:9000/")


async def test_a_name_that_is_not_a_pictures_gets_no_link() -> None:
    with pytest.raises(StorageFailed):
        await S3Store(S3Config(bucket="pictures")).presigned_links([NAME, "../secrets"], 60)


def test_a_prefix_that_leaves_the_bucket_is_refused() -> None:
    with pytest.raises(StorageFailed):
        S3Store(S3Config(bucket="pictures", prefix="../other"))


@pytest.mark.parametrize(
    "storage",
    [
        {"s3": {"bucket": "pictures", "endpoint": "minio:9000"}},
        {"s3": {"bucket": "pictures", "public_endpoint": "minio:9000"}},
        {"public_url": "cdn.example.com"},
        {"s3": {"bucket": "pictures"}, "temporary_s": 7 * 24 * 3600 + 1},
        {"s3": {"bucket": "pictures"}, "temporary_s": 0.5},
    ],
)
def test_storage_that_would_make_links_that_do_not_work_is_refused(storage: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        StorageConfig.model_validate(storage)


def test_local_links_may_live_longer_than_a_week() -> None:
    assert StorageConfig(temporary_s=1e7).temporary_s == 1e7
