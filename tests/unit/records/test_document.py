"""Jobs in the records: what decides a picture comes back to the bit."""

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serve_app.messages import SAMPLER_NAMES, Img2ImgJob, Lora, SamplerChoice
from serve_app.records.document import WrittenJob, dump_job, load_job, read_job

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
JOBS = st.builds(
    Img2ImgJob,
    id=st.integers(1, 2**31 - 1),
    model_id=TEXTS,
    prompt=TEXTS,
    negative_prompt=TEXTS,
    init_image=st.tuples(st.integers(1, 4), st.integers(1, 4)).map(
        lambda s: np.zeros((8 * s[0], 8 * s[1], 3), np.uint8)
    ),
    samples=st.integers(1, 4),
    steps=st.integers(1, 50),
    guidance_scale=NUMBERS,
    strength=NUMBERS,
    seed=st.integers(0, 2**32 - 1),
    sampler=st.builds(
        SamplerChoice,
        name=st.none() | st.sampled_from(SAMPLER_NAMES),
        karras=st.booleans(),
        algorithm_type=st.none() | TEXTS,
    ),
    clip_skip=st.integers(1, 8),
    token_merging=st.booleans(),
    vae=st.none() | TEXTS,
    loras=st.lists(st.builds(Lora, id=TEXTS, strength=NUMBERS), max_size=3).map(tuple),
    embeddings=st.lists(TEXTS, max_size=3).map(tuple),
)
JOB = Img2ImgJob(
    id=7, model_id="pocket", prompt="a red star", negative_prompt="", init_image=np.full((64, 128, 3), 7, np.uint8),
    samples=1, steps=20, guidance_scale=7.5, strength=0.7, seed=42, loras=(Lora("stripes", 0.1),),
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(job=JOBS)
def test_a_job_comes_back_with_its_pixels_as_it_was(job: Img2ImgJob) -> None:
    back = load_job(job.id, dump_job(job), job.init_image)
    for field in fields(Img2ImgJob):
        if field.name != "init_image":
            assert repr(getattr(back, field.name)) == repr(getattr(job, field.name))
    assert back.init_image is job.init_image


def test_a_job_comes_back_under_the_id_that_its_record_has() -> None:
    assert load_job(8, dump_job(JOB), JOB.init_image).id == 8
    assert dump_job(replace(JOB, id=8)) == dump_job(JOB)


def test_everything_but_the_pixels_and_the_id_is_written() -> None:
    assert set(WrittenJob.model_fields) == {field.name for field in fields(Img2ImgJob)} - {"id", "init_image"} | {
        "width",
        "height",
    }
    assert len(dump_job(JOB)) < 1000


def test_a_written_job_tells_what_answers_need_without_its_picture() -> None:
    written = read_job(dump_job(JOB))
    assert (written.width, written.height) == (128, 64)
    assert (written.model_id, written.prompt, written.seed) == ("pocket", "a red star", 42)


def test_the_same_job_is_written_in_the_same_words() -> None:
    assert dump_job(load_job(8, dump_job(JOB), JOB.init_image)) == dump_job(JOB)


@pytest.mark.parametrize("shape", [(128, 64, 3), (64, 128), (64, 128, 4), (64, 64, 3)])
def test_a_picture_of_another_size_is_not_the_jobs(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="128x64"):
        load_job(7, dump_job(JOB), np.zeros(shape, np.uint8))


@pytest.mark.parametrize("text", ["", "null", "{}", dump_job(JOB)[:-1], dump_job(JOB)[:-1] + ',"more":1}'])
def test_what_is_no_written_job_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="WrittenJob"):
        read_job(text)


def test_a_seed_of_another_type_is_refused_where_it_is_written() -> None:
    with pytest.raises(ValueError, match="seed"):
        dump_job(replace(JOB, seed="42"))  # type: ignore[arg-type]
