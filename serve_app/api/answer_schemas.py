"""JSON schemas of the answers' bodies, in the contract's types. A test holds `api.answers` against them."""

from serve_app.api.fields import ALGORITHM_TYPES
from serve_app.api.kinds import SEEDS, Schema
from serve_app.messages import SAMPLER_NAMES, SafetyType

STRING: Schema = {"type": "string"}
STRING_OR_NULL: Schema = {"type": ["string", "null"]}
INTEGER: Schema = {"type": "integer"}
NUMBER: Schema = {"type": "number"}
BOOLEAN: Schema = {"type": "boolean"}
BOOLEAN_OR_NULL: Schema = {"type": ["boolean", "null"]}
STRINGS: Schema = {"type": "array", "items": STRING}
YES_NO: Schema = {"enum": ["yes", "no"]}


JOB_ID: Schema = {"type": "integer", "minimum": 1, "maximum": 2**31 - 1}
COUNT: Schema = {"type": "integer", "minimum": 0}
TRACK_ID: Schema = {"type": ["string", "integer"], "description": "As it came; absent where none came."}
MOMENT: Schema = {"type": "string", "format": "date-time"}
MOMENT_OR_NULL: Schema = {"type": ["string", "null"], "format": "date-time"}


def whole(properties: dict[str, Schema], **optional: Schema) -> Schema:
    """An object that has all of these properties, and perhaps the optional ones."""
    return {"type": "object", "properties": properties | optional, "required": list(properties)}


SEED: Schema = {"type": "integer", "minimum": 0, "maximum": SEEDS - 1}
META = whole(
    {
        "prompt": STRING,
        "model_id": STRING,
        "scheduler": {"enum": list(SAMPLER_NAMES)},
        "safetychecker": YES_NO,
        "safety_checker": YES_NO,
        "safety_checker_type": {"enum": [kind.value for kind in SafetyType]},
        "negative_prompt": STRING,
        "W": INTEGER,
        "H": INTEGER,
        "guidance_scale": NUMBER,
        "init_image": STRING,
        "steps": INTEGER,
        "n_samples": INTEGER,
        "strength": NUMBER,
        "multi_lingual": YES_NO,
        "full_url": YES_NO,
        "upscale": YES_NO,
        "seed": SEED,
        "seeds": {
            "type": "array",
            "items": SEED,
            "description": "Of each picture, in the order of output.",
        },
        "tomesd": YES_NO,
        "use_karras_sigmas": YES_NO,
        "algorithm_type": {"enum": [*sorted({name for name in ALGORITHM_TYPES.values() if name}), None]},
        "vae": STRING_OR_NULL,
        "lora": STRING_OR_NULL,
        "lora_strength": STRING_OR_NULL,
        "embeddings": STRING_OR_NULL,
        "clip_skip": INTEGER,
        "temp": YES_NO,
        "base64": YES_NO,
        "outdir": STRING,
        "file_prefix": STRING,
    }
)
OUTPUT = STRINGS | {"description": "Links, or base64 text where base64 was asked for."}
OUTCOME: dict[str, Schema] = {
    "nsfw_content_detected": BOOLEAN | {"description": "Whether the safety filter changed any picture."},
    "pictures": {
        "type": "array",
        "items": whole(
            {
                "seed": SEED | {"description": "Its own: with this one, and samples 1, it is made again."},
                "replaced": BOOLEAN_OR_NULL
                | {"description": "Whether the safety filter changed it; null: an older record does not tell."},
            }
        ),
        "description": "Of each picture, in the order of output.",
    },
    "timings": {
        "type": "object",
        "additionalProperties": NUMBER,
        "description": "Seconds of each stage: reach, queue, engine, handover, finish.",
    },
}
HOOK_STATUS = STRING | {"description": "How far the webhook's delivery is; empty where there is none."}
SUCCESS = whole(
    {
        "status": {"const": "success"},
        "generationTime": NUMBER | {"description": "Seconds."},
        "id": JOB_ID,
        "output": OUTPUT,
        "webhook_status": HOOK_STATUS,
        "meta": META,
        **OUTCOME,
    },
    track_id=TRACK_ID,
)
PROCESSING = whole(
    {
        "status": {"const": "processing"},
        "tip": STRING,
        "eta": NUMBER | {"description": "Seconds, measured from the real queue."},
        "messege": STRING | {"description": "Same as message, as the hosted API spells it."},
        "message": STRING,
        "webhook_status": HOOK_STATUS,
        "fetch_result": STRING | {"description": "Where to POST the key for the result."},
        "id": JOB_ID,
        "output": STRINGS | {"maxItems": 0, "description": "Empty until the job is done."},
        "meta": META,
        "future_links": STRINGS | {"description": "What output will hold; 404 until the pictures are there."},
    },
    track_id=TRACK_ID,
)
MESSAGE: Schema = {
    "type": ["string", "object"],
    "description": "A text; for bad fields, each one's name with its sentences.",
    "additionalProperties": STRINGS,
}
FAILED = whole(
    {"status": {"const": "failed"}, "id": JOB_ID, "message": MESSAGE, "output": {"const": ""}}, track_id=TRACK_ID
)
UNKNOWN_JOB = whole(
    {
        "status": {"const": "failed"},
        "id": {"const": ""},
        "message": {"const": "Request not found"},
        "output": {"const": ""},
    }
)
HOOK_SUCCESS = whole(
    {
        "status": {"const": "success"},
        "id": JOB_ID,
        "output": OUTPUT,
        "generationTime": NUMBER | {"description": "Seconds."},
        "track_id": {"type": ["string", "integer", "null"]},
        "meta": META,
        **OUTCOME,
    }
)
HOOK_FAILURE = whole(
    {
        "status": {"const": "failed"},
        "id": JOB_ID,
        "message": MESSAGE,
        "track_id": {"type": ["string", "integer", "null"]},
    }
)
STANDING: dict[str, Schema] = {
    "id": JOB_ID,
    "status": {"enum": ["queued", "running", "success", "failed", "cancelled"]},
    "progress": whole({"done": COUNT, "total": COUNT}) | {"description": "UNet evaluations."},
    "queue_position": {
        "type": ["integer", "null"],
        "minimum": 0,
        "description": "Jobs before it that have not started; 0: it runs or is the next; null: it has ended.",
    },
    "eta": {"type": ["number", "null"], "description": "Seconds; null: it has ended."},
    "attempts": COUNT | {"description": "Runs that broke off because a replica died or hung."},
    "output": STRINGS | {"description": "Links, when it has succeeded."},
    "message": {**MESSAGE, "type": ["string", "object", "null"]},
}
JOB = whole(
    {
        **STANDING,
        "model_id": STRING,
        "meta": META,
        "track_id": {"type": ["string", "integer", "null"], "description": "As it came."},
        "created_at": MOMENT,
        "started_at": MOMENT_OR_NULL,
        "ended_at": MOMENT_OR_NULL,
        "webhook_status": HOOK_STATUS,
        "links": whole({"self": STRING, "events": STRING, "fetch": STRING}),
    }
)
TICKET = whole(
    {
        "ticket": STRING | {"description": "Opens this job's events and nothing else."},
        "expires_at": MOMENT,
        "events": STRING | {"description": "The URL for an EventSource, with the ticket in it."},
    }
)
SHEET = (
    "All pictures as they are now, a data URI of a PNG: 128 pixels or more on each long side; two are side by side, "
    "three and four in two rows."
)
EVENT = whole(STANDING, preview=STRING | {"description": SHEET})
"""The data of one event of the stream."""
HEALTH = whole({"status": {"const": "ok"}})
SYSTEM_LOAD = whole(
    {
        "queue_num": COUNT | {"description": "Jobs that have not ended."},
        "queue_time": COUNT | {"description": "Seconds until all of them will have."},
        "status": {"const": "ok"},
    }
)
READINESS: Schema = {
    "type": "object",
    "properties": {
        "status": {"enum": ["ok", "error"]},
        "missing": STRINGS | {"description": "The parts that do not answer, e.g. records, or a model by its id."},
        "message": STRING,
    },
    "required": ["status", "missing"],
}
ERROR: Schema = {
    "type": "object",
    "properties": {
        "status": {"const": "error"},
        "message": MESSAGE,
        "retry_after": INTEGER | {"description": "Seconds."},
    },
    "required": ["status", "message"],
}
MODEL_LIST: Schema = {
    "type": "array",
    "items": whole(
        {
            "model_id": STRING,
            "status": {"const": "model_ready"},
            "created_at": STRING,
            "instance_prompt": STRING,
            "model_name": STRING,
            "description": STRING,
            "screenshots": STRING,
            "model_type": STRING,
        }
    ),
}
MODEL = whole(
    {
        "id": STRING,
        "object": {"const": "model"},
        "created": INTEGER | {"description": "Seconds since 1970; 0: not known."},
        "owned_by": STRING,
    }
)
"""As OpenAI's clients read it."""
MODELS = whole(
    {
        "object": {"const": "list"},
        "data": {"type": "array", "items": MODEL},
        "models": {
            "type": "array",
            "items": whole(
                {
                    "id": STRING,
                    "title": STRING,
                    "description": STRING,
                    "family": STRING,
                    "default_scheduler": STRING,
                    "vaes": STRINGS,
                    "loras": STRINGS,
                    "embeddings": STRINGS,
                }
            ),
        },
    }
)
SCHEDULERS = whole({"schedulers": {"type": "array", "items": {"enum": list(SAMPLER_NAMES)}}})

SCHEMAS: dict[str, Schema] = {
    "Success": SUCCESS,
    "Processing": PROCESSING,
    "Failed": FAILED,
    "UnknownJob": UNKNOWN_JOB,
    "Job": JOB,
    "JobEvent": EVENT,
    "Ticket": TICKET,
    "WebhookSuccess": HOOK_SUCCESS,
    "WebhookFailure": HOOK_FAILURE,
    "SystemLoad": SYSTEM_LOAD,
    "Readiness": READINESS,
    "Health": HEALTH,
    "Error": ERROR,
    "ModelList": MODEL_LIST,
    "Model": MODEL,
    "Models": MODELS,
    "Schedulers": SCHEDULERS,
}
"""By the names under which the OpenAPI document refers to them."""

DESCRIPTIONS = {
    "Img2ImgRequest": "A picture and a prompt. Aliases of fields are read too; unknown fields are passed over.",
    "DefaultModelRequest": "The same where model_id may be left out.",
    "Img2ImgUpload": "The same with the picture as a file part.",
    "DefaultModelUpload": "The same with the picture as a file part, where model_id may be left out.",
    "KeyOnly": "The key, unless a header carries it.",
    "FetchRequest": "Which job.",
    "Meta": "What was asked and what is really used.",
    "Model": "A model as OpenAI's clients read it.",
    "Success": "The job is done.",
    "Processing": "The job is not done yet.",
    "Failed": "The job failed or was cancelled.",
    "UnknownJob": "No job has this id, or another key made it.",
    "Job": "A job as a resource.",
    "JobEvent": "The data of one event.",
    "Ticket": "What a browser's EventSource shows instead of a key.",
    "WebhookSuccess": "What a webhook is sent of a job that succeeded.",
    "WebhookFailure": "What a webhook is sent of a job that failed or was cancelled.",
    "SystemLoad": "How much is waiting.",
    "Health": "The process lives.",
    "Readiness": "Which parts answer.",
    "Error": "Why a request was refused or failed.",
    "ModelList": "The catalogue as the hosted API lists it.",
    "Models": "The catalogue with everything that a request can choose from.",
    "Schedulers": "The names that scheduler may have.",
}
"""Of the schemas, those of bodies too."""
