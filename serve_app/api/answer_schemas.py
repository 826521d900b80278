"""JSON schemas of the answers' bodies, in the contract's types. A test holds `api.answers` against them."""

from serve_app.api.fields import ALGORITHM_TYPES
from serve_app.api.kinds import SEEDS, Schema
from serve_app.messages import SAMPLER_NAMES, SafetyType

STRING: Schema = {"type": "string"}
STRING_OR_NULL: Schema = {"type": ["string", "null"]}
INTEGER: Schema = {"type": "integer"}
NUMBER: Schema = {"type": "number"}
BOOLEAN: Schema = {"type": "boolean"}
STRINGS: Schema = {"type": "array", "items": STRING}
YES_NO: Schema = {"enum": ["yes", "no"]}


def whole(properties: dict[str, Schema]) -> Schema:
    """An object that has all of these properties."""
    return {"type": "object", "properties": properties, "required": list(properties)}


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
        "seed": {"type": "integer", "minimum": 0, "maximum": SEEDS - 1},
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
SUCCESS = whole(
    {
        "status": {"const": "success"},
        "generationTime": NUMBER,
        "id": {"type": "integer", "minimum": 1, "maximum": 2**31 - 1},
        "output": STRINGS | {"description": "Links, or base64 text where base64 was asked for."},
        "nsfw_content_detected": BOOLEAN,
        "webhook_status": STRING,
        "meta": META,
    }
)
ERROR: Schema = {
    "type": "object",
    "properties": {
        "status": {"const": "error"},
        "message": {
            "type": ["string", "object"],
            "description": "A text; for bad fields, each one's name with its sentences.",
            "additionalProperties": STRINGS,
        },
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
MODELS = whole(
    {
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
        }
    }
)
SCHEDULERS = whole({"schedulers": {"type": "array", "items": {"enum": list(SAMPLER_NAMES)}}})

SCHEMAS: dict[str, Schema] = {
    "Success": SUCCESS,
    "Error": ERROR,
    "ModelList": MODEL_LIST,
    "Models": MODELS,
    "Schedulers": SCHEDULERS,
}
"""By the names under which the OpenAPI document refers to them."""
