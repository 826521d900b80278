"""`darkroom submit`: a picture in, a picture out, and a bar in between."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from serve_app.cli.replies import Refused, Standing, Unreachable
from serve_app.cli.service import Service
from serve_app.errors import ConfigError

INTERRUPTED = 130
"""The exit status after Ctrl-C, as shells have it."""
SUFFIX = ".png"

Picture = Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="PNG, JPEG or WebP.")]
Url = Annotated[str, typer.Option(envvar="DARKROOM_URL", help="Where the service listens.")]
Key = Annotated[str, typer.Option(envvar="DARKROOM_KEY", help="A key, see `darkroom keys create`.")]
Out = Annotated[
    Path | None, typer.Option(help="The file to write, or a folder; several pictures get numbers. Else this folder.")
]
Field = Annotated[
    list[str] | None, typer.Option(metavar="NAME=VALUE", help="Any other field of the API; may come several times.")
]


def submit(
    picture: Picture,
    prompt: Annotated[str, typer.Option(help="What to draw.")],
    key: Key,
    url: Url = "http://127.0.0.1:8000",
    model: Annotated[str | None, typer.Option(help="A model of the catalogue; else the server's default.")] = None,
    negative: Annotated[str | None, typer.Option(help="What to keep out.")] = None,
    strength: Annotated[float | None, typer.Option(help="0 keeps the picture, 1 gives it up.")] = None,
    steps: Annotated[int | None, typer.Option(help="Denoising steps.")] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed draws the same picture.")] = None,
    guidance: Annotated[float | None, typer.Option(help="How closely the prompt is followed.")] = None,
    sampler: Annotated[str | None, typer.Option(help="A name like EulerDiscreteScheduler.")] = None,
    samples: Annotated[int | None, typer.Option(help="How many pictures.")] = None,
    out: Out = None,
    field: Field = None,
) -> None:
    """Send a picture to a running service and save what it makes of it. Ctrl-C cancels the job."""
    given = {
        "prompt": prompt,
        "model_id": model,
        "negative_prompt": negative,
        "strength": strength,
        "num_inference_steps": steps,
        "seed": seed,
        "guidance_scale": guidance,
        "scheduler": sampler,
        "samples": samples,
    }
    fields = {name: str(value) for name, value in given.items() if value is not None}
    fields |= dict(_named(text) for text in field or ()) | {"instant_response": "yes"}
    _check_target(out)
    with _told_on_stderr(), Service(url, key) as service:
        accepted = service.submit(fields, picture.name, picture.read_bytes())
        ended = accepted if accepted.ended else _followed(service, int(accepted.id))
        if ended.status != "success":
            raise Refused(ended.words or f"the job ended as {ended.status}")
        links = [ended.output] if isinstance(ended.output, str) else ended.output
        for path, link in zip(_paths(out, picture, accepted.id, len(links)), links, strict=True):
            path.write_bytes(service.download(link))
            print(path)


def _followed(service: Service, job: int) -> Standing:
    """The job's end. Ctrl-C cancels it."""
    try:
        with _bar() as bar:
            task = bar.add_task("accepted", total=None, left="")
            for now in service.follow(job):
                steps = now.progress
                left = "" if now.eta is None or now.ended else f"about {now.eta:.0f} s"
                bar.update(
                    task, description=_described(now), completed=steps.done, total=steps.total or None, left=left
                )
        return now
    except KeyboardInterrupt:
        typer.echo(_cancelled(service, job), err=True)
        raise typer.Exit(INTERRUPTED) from None


def _cancelled(service: Service, job: int) -> str:
    try:
        service.cancel(job)
    except (Refused, Unreachable) as error:
        return f"job {job} could not be cancelled: {error}"
    return f"job {job} was cancelled"


def _bar() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
    return Progress(*columns, TextColumn("{task.fields[left]}"), console=Console(stderr=True), transient=True)


def _described(now: Standing) -> str:
    return f"{now.status}, {now.queue_position} before it" if now.queue_position else now.status


@contextmanager
def _told_on_stderr() -> Iterator[None]:
    """What goes wrong ends the command with status 1 and one message."""
    try:
        yield
    except (Refused, Unreachable, OSError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error
    except ConfigError as error:
        raise typer.BadParameter(str(error), param_hint="--url") from error


def _named(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise typer.BadParameter(f"{text!r} is not NAME=VALUE", param_hint="--field")
    return name, value


def _check_target(out: Path | None) -> None:
    """Before anything is made: whether it can be saved."""
    if out is None or out.is_dir():
        return
    if out.suffix.lower() != SUFFIX:
        raise typer.BadParameter("the pictures are PNG files", param_hint="--out")
    if not out.parent.is_dir():
        raise typer.BadParameter(f"there is no folder {out.parent}", param_hint="--out")


def _paths(out: Path | None, picture: Path, job: int | str, count: int) -> Sequence[Path]:
    folder = out if out is not None and out.is_dir() else Path()
    whole = folder / f"{picture.stem}-{job}{SUFFIX}" if out is None or out.is_dir() else out
    return [whole] if count == 1 else [whole.with_stem(f"{whole.stem}-{number}") for number in range(count)]
