"""Reads an img2img request as leniently as the hosted API does, and checks it.

In: the body as `api.body` read it. Out: a frozen `Img2ImgRequest`, or all bad fields at once.
Pictures, URLs and keys are judged elsewhere.
"""

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict

from serve_app.api.fields import FIELDS, Field
from serve_app.api.values import Refusal, is_given
from serve_app.config import ModelEntry, Weights
from serve_app.errors import InvalidFields
from serve_app.messages import LACKING_ALGORITHMS, Lora, SafetyType

Problems = dict[str, list[str]]
DEFAULT_LORA_STRENGTH = 1.0
UNCHECKED = "The safety checker field must be no: the model {model} has no safety checker."
"""Also where the field is not sent, for then it means yes: nobody takes a picture for checked that was not."""


class Img2ImgRequest(BaseModel):
    """One request, typed and in range; `api.fields` says what each field is for."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    model_id: str | None
    """None: the default model."""
    prompt: str
    negative_prompt: str
    init_image: str | bytes
    """A URL, a data URI, base64 text, or an uploaded file's bytes."""
    width: int | None
    height: int | None
    samples: int
    num_inference_steps: int
    guidance_scale: float
    strength: float
    seed: int | None
    """None: random."""
    scheduler: str | None
    use_karras_sigmas: bool
    algorithm_type: str | None
    clip_skip: int
    tomesd: bool
    vae: str | None
    loras: tuple[Lora, ...]
    embeddings: tuple[str, ...]
    enhance_prompt: bool
    safety_checker: bool
    safety_checker_type: SafetyType
    base64: bool
    temp: bool
    webhook: str | None
    track_id: str | int | None
    instant_response: bool
    """Answer `processing` at once, whatever the sync window."""
    multi_lingual: bool
    full_url: bool
    upscale: bool


def parse_img2img(body: Mapping[str, object], *, model_required: bool) -> Img2ImgRequest:
    """The request in a body. Raises InvalidFields with every bad field."""
    values: dict[str, object] = {}
    problems: Problems = {}
    for field in FIELDS:
        required = field.required or (model_required and field.name == "model_id")
        try:
            values[field.name] = _read(field, body, required=required)
        except Refusal as refusal:
            problems[field.name] = [refusal.sentence.format(label=field.label)]
    if "lora_model" in values and "lora_strength" in values:
        _pair_loras(values, problems)
    if problems:
        raise InvalidFields(problems)
    values["embeddings"] = values.pop("embeddings_model")
    return Img2ImgRequest.model_validate(values)


def _read(field: Field, body: Mapping[str, object], *, required: bool) -> object:
    for name in (field.name, *field.aliases):
        value = body.get(name)
        if is_given(value):
            return field.kind.read(value)
    if required:
        raise Refusal("The {label} field is required.")
    return field.default


def _pair_loras(values: dict[str, object], problems: Problems) -> None:
    """Turns the two lists into `loras`; one strength serves all."""
    ids, strengths = values.pop("lora_model"), values.pop("lora_strength") or (DEFAULT_LORA_STRENGTH,)
    assert isinstance(ids, tuple)
    assert isinstance(strengths, tuple)
    if len(strengths) == 1:
        strengths *= len(ids)
    if ids and len(strengths) != len(ids):
        problems["lora_strength"] = ["The lora strength must contain one number, or as many as the lora model."]
    values["loras"] = tuple(Lora(id=name, strength=strength) for name, strength in zip(ids, strengths, strict=False))


def check_against(request: Img2ImgRequest, entry: ModelEntry) -> None:
    """Raises InvalidFields where the request names weights that the model does not have, or what no sampler can do."""
    asked = {
        "lora_model": (entry.loras, [lora.id for lora in request.loras]),
        "vae": (entry.vaes, [] if request.vae is None else [request.vae]),
        "embeddings_model": (entry.embeddings, request.embeddings),
    }
    problems: Problems = {
        name: [f"The selected {name.replace('_', ' ')} is invalid."]
        for name, (there, wanted) in asked.items()
        if not _ids(there).issuperset(wanted)
    }
    if request.algorithm_type in LACKING_ALGORITHMS.get(request.scheduler or entry.default_sampler, ()):
        problems["scheduler"] = ["The selected scheduler cannot run with this algorithm type."]
        problems["algorithm_type"] = ["The selected algorithm type cannot run with this scheduler."]
    if request.safety_checker and entry.goes_unchecked:
        problems["safety_checker"] = [UNCHECKED.format(model=entry.id)]
    if problems:
        raise InvalidFields(problems)


def _ids(weights: tuple[Weights, ...]) -> set[str]:
    return {one.id for one in weights}
