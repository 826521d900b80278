"""The blocks and the commands in the pages that users read, and what is wrong with one that cannot be run here."""

import importlib.util
import os
import re
import shlex
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import typer.core
from markdown_it import MarkdownIt

from deployments.command import app
from serve_app.config import PROJECT

PAGES = [PROJECT / "README.md", *sorted((PROJECT / "docs").rglob("*.md"))]
INLINE_ONLY = [PROJECT / "ARCHITECTURE.md", *sorted((PROJECT / "models").rglob("*.md"))]
MARKS = ("minutes", "cluster", "fill-in")
"""Why a block is not run: it takes long or never ends; it needs a cluster; its reader puts something in."""
SHELLS, RUN = ("sh", "bash"), ("sh", "bash", "python")
OURS = re.compile(r"(\.venv/bin/)?(make|darkroom|python|serve|pytest) ")
ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
IMPORT_PATH = re.compile(r"[a-z_.]+:[a-z_]+")
FOREIGN = (
    "curl",
    "export",
    "source",
    "cd",
    "pip",
    "git",
    "cat",
    "printf",
    "echo",
    "ray",
    "docker",
    "npx",
    "npm",
    "psql",
)
"""Commands that are not ours to check."""


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block."""

    page: str
    line: int
    language: str
    mark: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def last_line_of_make(target: str, *variables: str, venv: Path | None = None) -> str:
    """The last command line that a target runs, whatever make runs the tests and whatever it was told."""
    folder = venv or Path(".venv")
    command = ["make", "--dry-run", "-o", f"{folder}/.installed", f"VENV={folder}", target, *variables]
    ours = {"PATH": os.environ["PATH"]}
    done = subprocess.run(command, cwd=PROJECT, env=ours, check=True, capture_output=True, text=True, timeout=60)
    return done.stdout.splitlines()[-1].strip()


def blocks() -> list[Block]:
    """All of them, in all pages."""
    return [block for page in PAGES for block in _blocks(page)]


def _blocks(page: Path) -> Iterator[Block]:
    for token in MarkdownIt().parse(page.read_text()):
        if token.type == "fence" and token.map is not None:
            language, mark, *_ = (*token.info.split(), "", "")
            yield Block(page.relative_to(PROJECT).as_posix(), token.map[0] + 1, language, mark, token.content)


def inline_commands() -> list[tuple[str, str]]:
    """Commands of ours in running text, each with its page."""
    found = []
    for page in (*PAGES, *INLINE_ONLY):
        tokens = (
            child for token in MarkdownIt().enable("table").parse(page.read_text()) for child in token.children or ()
        )
        codes = {token.content for token in tokens if token.type == "code_inline"}
        found += [(page.relative_to(PROJECT).as_posix(), code) for code in sorted(codes) if _is_command(code)]
    return found


def _is_command(code: str) -> bool:
    return OURS.match(code) is not None or "python -m" in code


def commands(text: str) -> Iterator[list[str]]:
    """The words of each simple command of a shell text; Raises ValueError where quotes do not close."""
    for line in text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
        lexer.whitespace_split = True
        words: list[str] = []
        for word in (*lexer, ";"):
            if set(word) <= set("|&;"):
                yield from [words] if words else []
                words = []
            else:
                words.append(word)


def fault(words: Sequence[str]) -> str | None:
    """Why a command cannot work, as far as that can be told without running it."""
    words = [word for i, word in enumerate(words) if not (ASSIGNMENT.match(word) and i == _leading(words, i))]
    if words[:2] == ["taskset", "-c"]:
        words = words[3:]
    if not words:
        return None
    name, *rest = words
    name = name.removeprefix(".venv/bin/")
    if missing := [word for word in rest if _is_path_of_ours(word) and not (PROJECT / word).exists()]:
        return f"there is no {missing[0]}"
    known = {"make": _make, "darkroom": _darkroom, "python": _python, "serve": _serve, "kubectl": _nothing}
    return known[name](rest) if name in known else None if name in FOREIGN else f"what is {name}?"


def _leading(words: Sequence[str], i: int) -> int:
    """i where all words up to it are assignments, else -1."""
    return i if all(ASSIGNMENT.match(word) for word in words[: i + 1]) else -1


def _is_path_of_ours(word: str) -> bool:
    return "/" in word and word.partition("/")[0] in (
        "docs",
        "k8s",
        "models",
        "tests",
        "bench",
        "serve_app",
        "deployments",
    )


def _nothing(_: Sequence[str]) -> None:
    return None


def _make(words: Sequence[str]) -> str | None:
    text = (PROJECT / "Makefile").read_text()
    for word in words:
        name, equals, _ = word.partition("=")
        pattern = rf"\$\({name}\)" if equals else rf"^{re.escape(name)}:"
        if not re.search(pattern, text, re.MULTILINE):
            return f"the Makefile has no {name}"
    return None


def _darkroom(words: Sequence[str]) -> str | None:
    command = typer.main.get_command(app)
    for word in words:
        option = word.partition("=")[0] if word.startswith("--") else ""
        if isinstance(command, typer.core.TyperGroup) and not word.startswith("-"):
            if word not in command.commands:
                return f"{command.name} has no {word}"
            command = command.commands[word]
        elif option not in ("", "--help", *(name for one in command.params for name in one.opts)):
            return f"{command.name} has no {word}"
    return None


def _python(words: Sequence[str]) -> str | None:
    if words[:1] != ["-m"]:
        return None
    module = words[1].removeprefix("darkroom.") if words[1].startswith("darkroom.") else words[1]
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        return f"there is no module {module}"
    if module.partition(".")[0] not in ("bench", "models", "deployments", "serve_app"):
        return None
    source = Path(spec.origin).read_text()
    options = [word.partition("=")[0] for word in words[2:] if word.startswith("--")]
    return next((f"{module} has no {option}" for option in options if f'"{option}"' not in source), None)


def _serve(words: Sequence[str]) -> str | None:
    _, target, *_ = (*words, "", "")
    if IMPORT_PATH.fullmatch(target):
        module, _, name = target.removeprefix("darkroom.").partition(":")
        path = PROJECT.joinpath(*module.split(".")).with_suffix(".py")
        return None if path.exists() and re.search(rf"^(def )?{name}\b", path.read_text(), re.M) else f"no {target}"
    return None if (PROJECT / target).exists() else f"there is no {target}"
