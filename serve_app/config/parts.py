"""The parts that are no catalogue: how the service talks, what it reads, where it keeps things."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from serve_app.config.origins import Origin
from serve_app.config.part import Name, Network, Part, Sha256
from serve_app.config.places import DEFAULT_DATA_DIR, HOME, DatabaseUrl, FolderPath

HTTP_URL = r"^https?://[^/]"
Pause = Annotated[float, Field(ge=0, allow_inf_nan=False)]
"""Seconds."""
LONGEST_PRESIGNED_S = 7 * 24 * 3600
"""What S3 allows."""


class KeyEntry(Part):
    """One client's key, as its SHA-256 in lower-case hex; the key itself is not kept."""

    name: Name
    sha256: Sha256


class AuthConfig(Part):
    """Who may call. Without keys here, the first start makes one and keeps its hash in the data directory."""

    keys: tuple[KeyEntry, ...] = ()

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [entry.name for entry in self.keys]
        if shared := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two keys share a name: {', '.join(shared)}")
        return self


class ApiConfig(Part):
    """How the ingress talks."""

    public_url: str | None = Field(None, pattern=HTTP_URL)
    """Links start with this, e.g. https://images.example.com; None: with the host the client used."""
    errors_as_200: bool = False
    """Answer application errors with HTTP 200, as the hosted API did in 2023."""
    max_body_bytes: int = Field(32 * 2**20, gt=0)
    keyless_body_bytes: int = Field(8 * 2**20, gt=0)
    """So much of a body is read before a good key is seen, in a header or in what has come of the body."""
    bodies_bytes: int = Field(256 * 2**20, gt=0)
    """All bodies together that one ingress, and one proxy before it, holds; a quarter of it for those whose key is not
    known yet. More are refused with 503."""
    body_timeout_s: float = Field(10.0, gt=0)
    """A body that stops coming is given up after this time, to which each `body_bytes_per_s` that came add a second."""
    body_bytes_per_s: int = Field(8 * 1024, gt=0)
    head_timeout_s: float = Field(10.0, gt=0)
    """A connection whose request line and headers are not there after this time is closed."""
    write_timeout_s: float = Field(30.0, gt=0)
    """A connection whose client reads nothing of its answer for so long is closed."""
    max_requests: int = Field(1000, ge=1)
    """Requests that one ingress, and one proxy before it, has at a time, health and readiness not counted; more are
    refused with 503."""
    sync_timeout_s: float = Field(30.0, ge=0)
    """A request is answered with its pictures where they are there within this time, else with `processing`."""
    job_deadline_s: float = Field(600.0, gt=0)
    """From a job's acceptance to its end, all attempts together."""
    keyless_fetch: bool = False
    """Let whoever knows a job's id fetch it, for clients that poll with an empty body."""
    max_waiting_jobs: int = Field(1000, ge=1)
    """Jobs of one model that have not ended; more are refused with 503."""
    cors_origins: tuple[Origin, ...] = ()
    """Whose pages a browser lets call this service and read its answers, e.g. https://app.example.com; "*": anybody's,
    who then still needs a key. None by default."""

    @model_validator(mode="after")
    def _bodies_fit_their_budget(self) -> Self:
        if self.max_body_bytes > self.bodies_bytes:
            raise ValueError(f"max_body_bytes: so large a body never fits into bodies_bytes ({self.bodies_bytes})")
        if self.keyless_body_bytes > self.bodies_bytes / 4:
            raise ValueError(
                f"keyless_body_bytes: so large a body never fits into a quarter of bodies_bytes ({self.bodies_bytes})"
            )
        return self


class InputsConfig(Part):
    """What an init image may be."""

    max_image_bytes: int = Field(16 * 2**20, gt=0)
    max_image_pixels: int = Field(64 * 2**20, gt=0)
    """Phones of "64 megapixels" make up to 64.5 million. JPEG is decoded at the scale that a job needs."""
    decode_timeout_s: float = Field(30.0, gt=0)
    fetch_timeout_s: float = Field(10.0, gt=0)
    max_redirects: int = Field(20, ge=0)
    """As many as browsers follow."""
    allowed_networks: tuple[Network, ...] = ()
    """Private networks that init image URLs may point into, e.g. 10.1.0.0/16. None by default."""


class RecordsConfig(Part):
    """Where jobs are written down, and how long a driver's silence is taken for life."""

    url: DatabaseUrl | None = None
    """An SQLAlchemy URL, e.g. postgresql+psycopg://user@host/darkroom; None: SQLite in the data directory. With a
    password in it, it is better given as DARKROOM_RECORDS_URL in the environment."""
    lease_s: float = Field(15.0, gt=0)
    """A job whose driver has not renewed its lease for so long is driven again by another one."""
    tick_s: float = Field(0.5, gt=0)
    """How often a driver renews its leases, writes progress, and reads what was cancelled."""
    max_attempts: int = Field(3, ge=1)
    """Runs of one job on replicas that died or hung; then it is failed, if nothing but the job was on the last one."""
    keep_s: float | None = Field(30 * 86400.0, gt=0)
    """How long an ended job can be fetched and listed; its pictures do not go with it. None: for ever."""

    @model_validator(mode="after")
    def _leases_outlast_rounds(self) -> Self:
        if self.tick_s > self.lease_s / 3:
            raise ValueError(
                f"tick_s: {self.tick_s:g} is more than a third of lease_s ({self.lease_s:g}): a lease would run out "
                "before it is renewed"
            )
        return self

    @property
    def transaction_s(self) -> float:
        """The longest transaction: a driver that waits for the database knows in time that its leases run out."""
        return self.lease_s - 2 * self.tick_s


class WebhooksConfig(Part):
    """How results are pushed to clients."""

    schedule_s: tuple[Pause, ...] = Field((0, 5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400), min_length=1)
    """Seconds before each attempt, counted from the one before."""
    jitter: float = Field(0.1, ge=0, le=1)
    """Each pause is stretched by up to this share."""
    timeout_s: float = Field(15.0, gt=0)
    per_host: int = Field(4, ge=1)
    """Deliveries of one courier to one host at a time."""
    at_once: int = Field(64, ge=1)
    """Deliveries of one courier at a time."""
    keep_delivered_s: float = Field(30 * 86400.0, gt=0)
    """How long what was delivered is listed; its job tells for longer that it was."""
    keep_dead_s: float = Field(30 * 86400.0, gt=0)
    """How long what was given up can be replayed."""
    allowed_networks: tuple[Network, ...] = ()
    """Private networks that webhooks may point into. None by default."""


class S3Config(Part):
    """A bucket. Credentials come from the environment: AWS_ACCESS_KEY_ID and its kin, a web identity, a container's
    or an instance's role; the files in ~/.aws are not read."""

    bucket: str
    prefix: str = ""
    endpoint: str | None = Field(None, pattern=HTTP_URL)
    """None: AWS. Else the server's URL without the bucket, e.g. http://minio:9000."""
    public_endpoint: str | None = Field(None, pattern=HTTP_URL)
    """The same server's URL as clients reach it, for presigned links; None: `endpoint`."""
    region: str = "us-east-1"
    virtual_hosted: bool = False
    """Whether the bucket goes into the host name instead of the path."""


class StorageConfig(Part):
    """Where pictures lie, and for how long."""

    data_dir: FolderPath | None = None
    """Pictures, records and keys: absolute, or relative to the configuration's file. None: `data` in a checkout, the
    user's data directory where Darkroom is installed from a wheel."""
    s3: S3Config | None = None
    """None: files in the data directory."""
    public_url: str | None = Field(None, pattern=HTTP_URL)
    """Links to permanent pictures start with this, e.g. a CDN in front of the bucket (its prefix included); None: the
    service serves them."""
    temporary_s: float = Field(86400.0, gt=0)
    """How long links and files of jobs with `temp` live."""
    retention_s: float | None = Field(None, gt=0)
    """How long everything else lives after its job's end; None: for ever."""

    @model_validator(mode="after")
    def _presigned_links_last(self) -> Self:
        if self.s3 is not None and not 1 <= self.temporary_s <= LONGEST_PRESIGNED_S:
            raise ValueError(f"temporary_s: S3's links live from 1 to {LONGEST_PRESIGNED_S} seconds")
        return self

    @property
    def data_path(self) -> Path:
        """The data directory as a path."""
        return DEFAULT_DATA_DIR if self.data_dir is None else HOME / Path(self.data_dir).expanduser()

    @property
    def pictures_path(self) -> Path:
        """Where finished pictures lie, where they are files."""
        return self.data_path / "pictures"


class CourierConfig(Part):
    """The deployment that delivers webhooks, drives orphaned jobs and deletes what has expired."""

    num_replicas: int = Field(1, ge=1)
    num_cpus: float = Field(0.1, ge=0)
    sweep_s: float = Field(1.0, gt=0)
    """How often it looks for work."""


class PostprocessConfig(Part):
    """The last deployment: safety filter, encoding, storage."""

    num_replicas: int = Field(1, ge=1)
    num_cpus: float = Field(0.2, ge=0)
    torch_threads: int = Field(1, ge=1)
    spool_bytes: int = Field(256 * 2**20, gt=0)
    """Pictures that one replica holds, uncompressed, while the store does not take them; more jobs wait for room."""


class IngressConfig(Part):
    """The first deployment: as many replicas as HTTP traffic needs."""

    num_replicas: int = Field(1, ge=1)
    num_cpus: float = Field(0.2, ge=0)
