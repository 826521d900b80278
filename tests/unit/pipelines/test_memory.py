"""How much memory rows in flight may hold where nobody says it: a share of what there is."""

import os
from pathlib import Path

import pytest
import torch

from serve_app.pipelines import memory
from serve_app.pipelines.memory import SHARE_OF_ALL, share_for_rows

CPU = torch.device("cpu")


@pytest.mark.parametrize(("limit", "bytes_"), [("1600\n", 1600), ("max\n", None), (None, None)])
def test_a_container_counts_its_own_limit_and_a_machine_all_of_its_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str | None, bytes_: int | None
) -> None:
    file = tmp_path / "memory.max"
    if limit is not None:
        file.write_text(limit)
    monkeypatch.setattr(memory, "CGROUP_LIMIT", file)
    monkeypatch.setattr(os, "sysconf", lambda name: {"SC_PHYS_PAGES": 1000, "SC_PAGE_SIZE": 4096}[name])
    assert share_for_rows(CPU) == int(SHARE_OF_ALL * (bytes_ or 1000 * 4096))


def test_an_accelerator_gives_a_share_of_what_its_model_has_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (8000, 24000))
    assert share_for_rows(torch.device("cuda")) == 2000
