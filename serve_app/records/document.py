"""Jobs as the records keep them: JSON without pixels, from which any driver makes the very same job again."""

from pydantic import BaseModel, ConfigDict

from serve_app.messages import Img2ImgJob, Lora, Pixels, SamplerChoice


class WrittenJob(BaseModel):
    """All of an `Img2ImgJob` but its pixels, and but its id, which is the record's own to say.

    `messages` says what each field is.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    model_id: str
    prompt: str
    negative_prompt: str
    width: int
    """Of the picture that is kept beside it; so is the height."""
    height: int
    samples: int
    steps: int
    guidance_scale: float
    strength: float
    seed: int
    sampler: SamplerChoice
    clip_skip: int
    token_merging: bool
    vae: str | None
    loras: tuple[Lora, ...]
    embeddings: tuple[str, ...]


def dump_job(job: Img2ImgJob) -> str:
    """The job as JSON, without pixels and id."""
    return WrittenJob.model_validate({name: getattr(job, name) for name in WrittenJob.model_fields}).model_dump_json()


def read_job(text: str) -> WrittenJob:
    """What `dump_job` wrote. Raises ValueError for anything else."""
    return WrittenJob.model_validate_json(text)


def load_job(job_id: int, text: str, pixels: Pixels) -> Img2ImgJob:
    """The job again, under its record's id. Raises ValueError where the pixels are not of the job's size."""
    written = read_job(text)
    if pixels.shape != (written.height, written.width, 3):
        raise ValueError(f"job {job_id} is {written.width}x{written.height}, its picture {pixels.shape}")
    plain = {name: getattr(written, name) for name in WrittenJob.model_fields if name not in ("width", "height")}
    return Img2ImgJob(id=job_id, init_image=pixels, **plain)
