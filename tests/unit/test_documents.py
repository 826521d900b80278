"""What the pages show: every block is marked, JSON and YAML are read, and every command names what there is.

tests/integration/test_documents.py runs the blocks without a mark.
"""

import json
import subprocess

import pytest
import yaml

from serve_app.config import AppConfig
from tests.documents import MARKS, OURS, SHELLS, Block, blocks, commands, fault, inline_commands, last_line_of_make

OTHER_NAMES = ("shell", "console", "zsh", "py", "python3", "yml")
"""Of the languages that are looked at here."""


@pytest.mark.parametrize("block", blocks(), ids=str)
def test_no_block_hides_a_command_behind_another_name_or_none_and_marks_are_ours(block: Block) -> None:
    assert block.language not in OTHER_NAMES
    assert block.language != "" or not OURS.match(block.text)
    assert block.mark == "" or block.mark in MARKS


@pytest.mark.parametrize("block", [block for block in blocks() if block.language in SHELLS], ids=str)
def test_every_shell_block_is_shell_and_its_commands_name_what_there_is(block: Block) -> None:
    subprocess.run(["bash", "-n"], input=block.text, text=True, check=True, timeout=60)
    assert [found for words in commands(block.text) if (found := fault(words))] == []


@pytest.mark.parametrize("block", [block for block in blocks() if block.language == "python"], ids=str)
def test_every_python_block_is_python(block: Block) -> None:
    compile(block.text, str(block), "exec")


@pytest.mark.parametrize("block", [block for block in blocks() if block.language == "json"], ids=str)
def test_every_json_block_is_json(block: Block) -> None:
    json.loads(block.text)


@pytest.mark.parametrize("block", [block for block in blocks() if block.language == "yaml" and not block.mark], ids=str)
def test_every_yaml_block_is_a_part_of_a_configuration(block: Block) -> None:
    AppConfig.model_validate(yaml.safe_load(block.text))


@pytest.mark.parametrize(("page", "code"), inline_commands())
def test_every_command_in_the_text_names_what_there_is(page: str, code: str) -> None:
    assert [found for words in commands(code) if (found := fault(words))] == [], page


@pytest.mark.parametrize(
    ("target", "line"),
    [
        ("demo", ".venv/bin/darkroom demo --host 127.0.0.1 --port 8123"),
        ("serve", ".venv/bin/darkroom serve --host 127.0.0.1 --port 8123 --config 'my own.yaml' --data-dir 'my data'"),
        ("key", ".venv/bin/darkroom keys create 'phone' --config 'my own.yaml' --data-dir 'my data'"),
    ],
)
def test_make_calls_the_same_commands(target: str, line: str) -> None:
    variables = ("PORT=8123", "CONFIG=my own.yaml", "DATA_DIR=my data", "NAME=phone")
    assert last_line_of_make(target, *variables) == line
    assert [found for words in commands(line) if (found := fault(words))] == []


def test_a_make_that_runs_the_tests_changes_nothing_about_it(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = last_line_of_make("demo", "PORT=8123")
    made = {"MAKEFLAGS": "w -- HOST=0.0.0.0", "MAKELEVEL": "1", "HOST": "0.0.0.0", "VENV": "/elsewhere"}
    for name, text in made.items():
        monkeypatch.setenv(name, text)
    assert last_line_of_make("demo", "PORT=8123") == expected


@pytest.mark.parametrize(
    "line",
    [
        "make nonsense", "make demo PROT=1", "darkroom key create", "darkroom submit docs/init.png --modl pocket",
        "python -m bench.nothing", "python -m bench.service --quikc", "serve run deployments.app:ap", "darkrom demo",
        "X=1 serve deploy serve_conf.yaml", "darkroom submit docs/none.png --prompt x", "echo a | frobnicate",
    ],
)  # fmt: skip
def test_a_planted_fault_is_found(line: str) -> None:
    assert any(fault(words) for words in commands(line))
