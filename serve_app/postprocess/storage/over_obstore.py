"""What every store over obstore does: names and types are checked, failures become ours."""

import obstore

from serve_app.errors import RouteNotFound, StorageFailed, StoreUnavailable
from serve_app.messages import cache_control
from serve_app.postprocess.storage.seam import NAME, PNG_TYPE, StoredFile, require_name, storage_failures

NO_BUCKET = "NoSuchBucket"
"""S3's code for it. obstore raises the same FileNotFoundError as for a file that is not there."""


class ObstoreFiles:
    """Files of one obstore backend. Content types follow from the suffix: not all backends keep them."""

    def __init__(self, backend: "obstore.store.ObjectStore") -> None:
        self._backend = backend

    async def put(self, name: str, data: bytes, content_type: str) -> None:
        """Store `data`, replacing a file of that name."""
        require_name(name)
        if content_type != PNG_TYPE:
            raise StorageFailed(f"{name} cannot be stored as {content_type}")
        with storage_failures(f"put {name}"):
            await self._write(name, data)

    async def get(self, name: str) -> StoredFile:
        """Read a file whole."""
        if NAME.fullmatch(name) is None:
            raise RouteNotFound(f"{name!r} is not a picture's name")
        with storage_failures(f"get {name}", StoreUnavailable):
            try:
                answer = await obstore.get_async(self._backend, name)
                return StoredFile(bytes(await answer.bytes_async()), PNG_TYPE)
            except FileNotFoundError as missing:
                if NO_BUCKET in str(missing):
                    raise
                raise RouteNotFound(name) from missing

    async def delete(self, name: str) -> None:
        """Remove a file, if it is there."""
        require_name(name)
        with storage_failures(f"delete {name}"):
            try:
                await obstore.delete_async(self._backend, name)
            except FileNotFoundError as missing:
                if NO_BUCKET in str(missing):
                    raise

    async def _write(self, name: str, data: bytes) -> None:
        """In one request, so that no part of a file is left behind."""
        attributes = {"Content-Type": PNG_TYPE, "Cache-Control": cache_control(name)}
        await obstore.put_async(self._backend, name, data, attributes=attributes, use_multipart=False)
