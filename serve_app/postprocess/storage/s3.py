"""Pictures in a bucket of S3 or of a server that speaks its protocol, and presigned links to them.

obstore takes the credentials from the environment: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and
AWS_SESSION_TOKEN, else a web identity, else a container's role, else the instance's.
"""

from collections.abc import Sequence
from datetime import timedelta

import obstore

from serve_app.config import S3Config
from serve_app.postprocess.storage.over_obstore import ObstoreFiles
from serve_app.postprocess.storage.seam import require_name, storage_failures

REQUEST_LIMIT = timedelta(seconds=10)
CONNECT_LIMIT = timedelta(seconds=3)
MAX_RETRIES = 2
RETRYING_LIMIT = timedelta(seconds=5)
"""obstore's own retries are for a hiccup, none starts later than this; waiting for a server is the spool's work."""
MAX_BACKOFF = timedelta(seconds=1)


class S3Store(ObstoreFiles):
    """Objects of one bucket under one prefix. A server that is away is a failure within REQUEST_LIMIT or so.

    Raises StorageFailed where the settings make no store; the server is not asked before the first call.
    """

    def __init__(self, config: S3Config) -> None:
        with storage_failures(f"open bucket {config.bucket}"):
            super().__init__(_backend(config, config.endpoint))
            self._as_clients_see_it = _backend(config, config.public_endpoint or config.endpoint)

    async def presigned_links(self, names: Sequence[str], seconds: float) -> tuple[str, ...]:
        """URLs by which whoever holds them reads the pictures for that many whole seconds from now, a week at most.

        No picture need be there yet. With temporary credentials a link ends when they do. Raises StorageFailed.
        """
        for name in names:
            require_name(name)
        with storage_failures("sign links"):
            whole = timedelta(seconds=int(seconds))
            return tuple(await obstore.sign_async(self._as_clients_see_it, "GET", list(names), whole))


def _backend(config: S3Config, endpoint: str | None) -> "obstore.store.S3Store":
    return obstore.store.S3Store(
        config.bucket,
        prefix=config.prefix or None,
        region=config.region,
        **_address(config, endpoint),
        virtual_hosted_style_request=config.virtual_hosted,
        disable_bulk_delete=True,  # not every server has it, and we delete one by one
        client_options={
            "allow_http": endpoint is not None and endpoint.startswith("http://"),
            "timeout": REQUEST_LIMIT,
            "connect_timeout": CONNECT_LIMIT,
        },
        retry_config={
            "max_retries": MAX_RETRIES,
            "retry_timeout": RETRYING_LIMIT,
            "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": MAX_BACKOFF, "base": 2},
        },
    )


def _address(config: S3Config, endpoint: str | None) -> dict[str, str]:
    """The endpoint as obstore wants it, with the bucket in its host where that is so; nothing for AWS."""
    if endpoint is None:
        return {}
    scheme, _, host = endpoint.rstrip("/").partition("://")
    bucket = f"{config.bucket}." if config.virtual_hosted else ""
    # By this name: AWS_ENDPOINT_URL_S3 of the environment would win over `endpoint`.
    return {"aws_endpoint_url_s3": f"{scheme}://{bucket}{host}"}
