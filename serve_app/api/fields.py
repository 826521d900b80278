"""The fields of an img2img request, one row each: name, kind, default, aliases, what it is for.

`wire` reads requests by this table and `schema` describes it, so the two cannot disagree.
"""

from dataclasses import dataclass

from serve_app.api.kinds import (
    Choice,
    Flag,
    Ids,
    Integer,
    Kind,
    LenientFlag,
    Number,
    Picture,
    Seed,
    Strengths,
    Tag,
    Text,
    Url,
)
from serve_app.messages import SAMPLER_NAMES, SafetyType

PROMPT_CHARS = 8000
ID_CHARS = 256
LIST_CHARS = 2000
URL_CHARS = 2048

ALGORITHM_TYPES = {
    "none": None,
    "dpmsolver": "dpmsolver",
    "dpmsolver++": "dpmsolver++",
    "dpmsolver+++": "dpmsolver++",  # as the vendor's docs spell it
    "sde-dpmsolver": "sde-dpmsolver",
    "sde-dpmsolver++": "sde-dpmsolver++",
}


@dataclass(frozen=True, slots=True)
class Field:
    """One field of the request."""

    name: str
    kind: Kind
    about: str
    default: object = None
    """What not giving it means."""
    aliases: tuple[str, ...] = ()
    required: bool = False

    @property
    def label(self) -> str:
        """The name as the vendor's sentences write it."""
        return self.name.replace("_", " ")


FIELDS = (
    Field("model_id", Text(ID_CHARS, trimmed=True), "A model of the catalogue."),
    Field("prompt", Text(PROMPT_CHARS), "What to draw. Web-UI weights such as (word:1.3) are honoured.", required=True),
    Field("negative_prompt", Text(PROMPT_CHARS), "What to keep out, in the prompt's syntax.", default=""),
    Field("init_image", Picture(), "URL, data URI or base64 of a PNG, JPEG or WebP; or a file part.", required=True),
    Field("width", Integer(64, 1024), "Pixels, rounded down to a multiple of 8; else the init image's own."),
    Field("height", Integer(64, 1024), "Pixels, rounded down to a multiple of 8; else the init image's own."),
    Field("samples", Integer(1, 4), "Number of pictures; the n-th uses seed + n.", default=1),
    Field("num_inference_steps", Integer(1, 50), "Denoising steps.", default=20, aliases=("steps",)),
    Field("guidance_scale", Number(1, 20), "How closely the prompt is followed; 1 switches guidance off.", default=7.5),
    Field(
        "strength",
        Number(0, 1),
        "How much of the init image is given up; 1 is all.",
        default=0.7,
        aliases=("prompt_strength",),
    ),
    Field("seed", Seed(), "Same seed, same picture; -1 or null is random, larger numbers count modulo 2^32."),
    Field("scheduler", Choice({name: name for name in SAMPLER_NAMES}), "The sampler; else the model's own."),
    Field("use_karras_sigmas", Flag(), "Karras noise levels, where the scheduler has them.", default=True),
    Field("algorithm_type", Choice(ALGORITHM_TYPES), "For the DPMSolver schedulers."),
    Field("clip_skip", Integer(1, 8), "The text encoder's layer, 1 is the last.", default=1, aliases=("clipskip",)),
    Field("tomesd", Flag(), "Token merging: faster, slightly less exact.", default=True),
    Field("vae", Text(ID_CHARS, trimmed=True), "A VAE of the model; else its own."),
    Field("lora_model", Ids(LIST_CHARS), "Comma-separated LoRAs of the model.", default=(), aliases=("lora",)),
    Field("lora_strength", Strengths(-10, 10), "One strength for all LoRAs, or one each, comma-separated; else 1."),
    Field(
        "embeddings_model",
        Ids(LIST_CHARS),
        "Comma-separated textual inversions of the model.",
        default=(),
        aliases=("embeddings",),
    ),
    Field("enhance_prompt", Flag(), "Adds the model's quality words to both prompts.", default=True),
    Field("safety_checker", Flag(), "Looks for unsafe content.", default=True),
    Field(
        "safety_checker_type",
        Choice({kind.value: kind for kind in SafetyType}),
        "How a flagged picture is changed.",
        default=SafetyType.CARD,
    ),
    Field("base64", Flag(), "Answer with base64 pictures instead of links.", default=False),
    Field("temp", Flag(), "Links die and files go after 24 hours.", default=False),
    Field("webhook", Url(URL_CHARS), "Is sent the result in a POST when the job has ended."),
    Field("track_id", Tag(ID_CHARS), "Echoed with the type it came in."),
    Field("instant_response", LenientFlag(), "Answer at once and let the result be fetched.", default=False),
    Field("multi_lingual", LenientFlag(), "Only echoed in meta.", default=False),
    Field("full_url", LenientFlag(), "Only echoed in meta.", default=False),
    Field("upscale", LenientFlag(), "Only echoed in meta.", default=False),
)
"""Fields that are not here are ignored."""
PICTURE_FIELDS = frozenset(field.name for field in FIELDS if isinstance(field.kind, Picture))
"""Those that may hold a picture's bytes or its base64."""
