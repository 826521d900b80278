"""Pictures in this process: for tests, and for a trial run that leaves nothing behind."""

import obstore

from serve_app.postprocess.storage.over_obstore import ObstoreFiles


class InMemoryStore(ObstoreFiles):
    """Files that end with the store."""

    def __init__(self) -> None:
        super().__init__(obstore.store.MemoryStore())
