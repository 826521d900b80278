"""The tables of the records, once for SQLite and PostgreSQL. `migrations/` brings a database to this shape.

Times are seconds since 1970 as floats; JSON is kept as text, so that both databases keep the same bytes.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData()

jobs = Table(
    "jobs",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),  # random, 1 .. 2^31 - 1
    Column("key_name", String(128), nullable=False),  # whose job it is
    Column("model_id", String(128), nullable=False),
    Column("file_prefix", String(36), nullable=False, unique=True),
    Column("request", Text, nullable=False),  # api.wire.Img2ImgRequest as JSON, without the init image's bytes
    Column("job", Text, nullable=False),  # messages.Img2ImgJob as JSON, without pixels
    Column("links", Text, nullable=False),  # JSON list: the URLs of its pictures, made when it was accepted
    Column("fetch_url", Text, nullable=False),
    Column("webhook", Text),
    Column("state", String(16), nullable=False),  # queued | running | success | failed | cancelled
    Column("version", Integer, nullable=False),  # one more with every change that a watcher would want to see
    Column("cost", BigInteger, nullable=False),  # UNet evaluations × rows × pixels, estimated
    Column("done", Integer, nullable=False),  # evaluations
    Column("total", Integer, nullable=False),
    Column("preview", LargeBinary),  # a small PNG; only while somebody watches
    Column("watched_until", Float, nullable=False),
    Column("attempts", Integer, nullable=False),  # runs on replicas that died or hung
    Column("cancel_asked", Boolean, nullable=False),
    Column("lease_owner", String(64)),  # which driver has it
    Column("lease_until", Float, nullable=False),
    Column("fence", Integer, nullable=False),  # one more with every claim; writes of an older one are refused
    Column("created_at", Float, nullable=False),
    Column("started_at", Float),  # when it first ran
    Column("ended_at", Float),
    Column("deadline_at", Float, nullable=False),
    Column("seconds", Float),  # of generation
    Column("sampler", String(64)),  # that really ran
    Column("flagged", Boolean),
    Column("result", Text),  # jobs.results.Result as JSON; of jobs that ended well
    Column("message", Text),  # why it failed, for its client
    Column("temporary", Boolean, nullable=False),
    Column("delete_at", Float),  # when its pictures go; None: never
    Column("failure", Text),  # the same for programs: a code and bad fields, as JSON
    Column("hook_status", String(16)),  # what became of its webhook, once the outbox has forgotten that
    Column("deleting_until", Float, nullable=False, server_default="0"),  # a courier deletes its pictures until then
    Index("ix_jobs_lease", "state", "lease_until"),
    Index("ix_jobs_created", "created_at", "id"),
    Index("ix_jobs_state_created", "state", "created_at", "id"),
    Index("ix_jobs_key_created", "key_name", "created_at", "id"),
    Index("ix_jobs_ended", "ended_at"),
    Index("ix_jobs_model", "model_id", "state", "created_at"),
    Index("ix_jobs_delete", "delete_at"),
)

inputs = Table(
    "inputs",
    metadata,
    # Beside the job and not in the store: one transaction accepts a job, whatever the store is doing.
    Column("job_id", Integer, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("png", LargeBinary, nullable=False),  # at the job's size; gone with a success, else some time after the end
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("key_name", String(128), primary_key=True),
    Column("idempotency_key", String(255), primary_key=True),
    Column("body_sha256", String(64), nullable=False),
    Column("job_id", Integer, nullable=False),
    Column("created_at", Float, nullable=False),
    Index("ix_idempotency_created", "created_at"),
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", String(64), primary_key=True),  # the webhook-id, the same in every attempt
    Column("job_id", Integer, nullable=False),
    Column("key_name", String(128), nullable=False),
    Column("url", Text, nullable=False),
    Column("host", String(255), nullable=False),  # host:port, so that one dead host cannot starve others
    Column("payload", Text, nullable=False),  # the exact bytes that are sent and signed
    Column("state", String(16), nullable=False),  # pending | delivered | dead
    Column("attempts", Integer, nullable=False),
    Column("next_at", Float, nullable=False),
    Column("lease_owner", String(64)),
    Column("lease_until", Float, nullable=False),
    Column("last_status", Integer),  # HTTP status; None where there was no answer
    Column("last_error", Text),
    Column("created_at", Float, nullable=False),
    Column("ended_at", Float),
    UniqueConstraint("job_id", name="uq_outbox_job"),
    Index("ix_outbox_due", "state", "host", "next_at"),
    Index("ix_outbox_ended", "ended_at"),
    Index("ix_outbox_created", "created_at", "id"),
    Index("ix_outbox_state_created", "state", "created_at", "id"),
)

disabled_hooks = Table(
    "disabled_hooks",
    metadata,
    Column("key_name", String(128), primary_key=True),
    Column("url_sha256", String(64), primary_key=True),  # answered 410: gone for good
    Column("url", Text, nullable=False),
    Column("disabled_at", Float, nullable=False),
)

hook_secrets = Table(
    "hook_secrets",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("key_name", String(128), nullable=False),
    Column("secret", String(128), nullable=False),  # whsec_...
    Column("created_at", Float, nullable=False),
    Column("retires_at", Float),  # after a rotation the old one signs along until then
    Index("ix_hook_secrets_key", "key_name"),
)

settings = Table(
    "settings",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value", Text, nullable=False),  # e.g. the secret that signs links to temporary pictures
)
