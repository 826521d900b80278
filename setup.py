"""Builds the wheel, in which all our packages lie below one, `darkroom`, so that none collides with another `models`.

What a name of ours is in the source, it is with `darkroom.` before it in the wheel: imports, and strings that name a
module. They are changed in the built copy, as tools do that vendor packages; a checkout, and an editable install of it,
stay as they are. pyproject.toml says everything else.
"""

import ast
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.egg_info import egg_info

ABOVE = "darkroom"
MOVED = ("serve_app", "deployments", "models")
OURS = re.compile(rf"({'|'.join(MOVED)})(\.[A-Za-z_]\w*)*")
STRING = re.compile(rf"(?P<module>({'|'.join(MOVED)})(\.[A-Za-z_]\w*)+)(:[A-Za-z_]\w*)?")
FROM = re.compile(rb"from\s+")
QUOTE = re.compile(rb"""['"]""")


class BelowOnePackage(build_py):
    """`build_py` that puts each package below `darkroom`."""

    packages: list[str]
    package_data: dict[str, list[str]]

    def run(self) -> None:
        """Build from nothing, lest an older layout is left in the folder."""
        if not self.editable_mode:
            shutil.rmtree(self.build_lib, ignore_errors=True)
            self.packages = [_below(package) for package in self.packages]
            self.package_dir = {_below(package): package for package in (ABOVE, *MOVED)}
            self.package_data = {_below(package): patterns for package, patterns in self.package_data.items()}
            self.__dict__.pop("data_files", None)  # kept from the time before
        super().run()
        if not self.editable_mode:
            for file in Path(self.build_lib, ABOVE).rglob("*.py"):
                file.write_bytes(moved(file.read_bytes(), str(file)))


class NamesOnePackage(egg_info):
    """`egg_info` that tells what is on the top of the wheel."""

    def run(self) -> None:
        """Write the metadata."""
        super().run()
        Path(self.egg_info, "top_level.txt").write_text(f"{ABOVE}\n")


def moved(source: bytes, name: str) -> bytes:
    """A module's text with `darkroom.` before each of our modules that it names.

    Raises ValueError for `import serve_app.x` without `as`: it would bind another name than the code uses.
    """
    lines = source.splitlines(keepends=True)
    for row, column in sorted(_places(ast.parse(source), lines, name), reverse=True):
        lines[row] = lines[row][:column] + f"{ABOVE}.".encode() + lines[row][column:]
    return b"".join(lines)


def _places(tree: ast.AST, lines: list[bytes], name: str) -> Iterator[tuple[int, int]]:
    """Row and column, both from 0 and in bytes, of each name."""
    for node in ast.walk(tree):
        match node:
            case ast.ImportFrom(module=str(module), level=0) if OURS.fullmatch(module):
                yield node.lineno - 1, _after(FROM, lines, node)
            case ast.Import(names=aliases):
                for alias in filter(lambda alias: OURS.fullmatch(alias.name), aliases):
                    if alias.asname is None:
                        raise ValueError(f"{name}:{alias.lineno}: say `from ... import` instead of import {alias.name}")
                    yield alias.lineno - 1, alias.col_offset
            case ast.Constant(value=str(text)) if (found := STRING.fullmatch(text)) and _is_there(found["module"]):
                yield node.lineno - 1, _after(QUOTE, lines, node)


def _after(opening: re.Pattern[bytes], lines: list[bytes], node: ast.stmt | ast.expr) -> int:
    found = opening.match(lines[node.lineno - 1], node.col_offset)
    if found is None:
        raise ValueError(f"line {node.lineno}: write it without a prefix and on one line")
    return found.end()


def _is_there(name: str) -> bool:
    """Whether it is a module, or, as some settings are written, something in one."""
    path = Path(__file__).parent.joinpath(*name.split("."))
    return path.is_dir() or any(one.with_suffix(".py").is_file() for one in (path, path.parent))


def _below(package: str) -> str:
    return package if package == ABOVE else f"{ABOVE}.{package}"


if __name__ == "__main__":
    setup(cmdclass={"build_py": BelowOnePackage, "egg_info": NamesOnePackage})
