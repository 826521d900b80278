"""The move below `darkroom`: every import of ours gets the name, and nothing else changes."""

import pytest

from setup import moved

SOURCE = '''"""from serve_app.api import x stays in a text"""
from serve_app.api import routes
from   models.pocket.world import (
    Scene,
)
import torch, serve_app.errors as errors, deployments.app as é
if True:
    from deployments import app; from serve_app import x
CHILD = "serve_app.inputs.decode_child"
APP = 'deployments.app:build_app'
HOOK = "deployments.proxy.guards"
KEPT = ("models/pocket", "models.nowhere", "the serve_app.errors", serve_app.errors, "models")
from modelslab import models
from . import models
'''
MOVED = '''"""from serve_app.api import x stays in a text"""
from darkroom.serve_app.api import routes
from   darkroom.models.pocket.world import (
    Scene,
)
import torch, darkroom.serve_app.errors as errors, darkroom.deployments.app as é
if True:
    from darkroom.deployments import app; from darkroom.serve_app import x
CHILD = "darkroom.serve_app.inputs.decode_child"
APP = 'darkroom.deployments.app:build_app'
HOOK = "darkroom.deployments.proxy.guards"
KEPT = ("models/pocket", "models.nowhere", "the serve_app.errors", serve_app.errors, "models")
from modelslab import models
from . import models
'''


def test_imports_and_names_of_modules_are_moved_and_nothing_else_is() -> None:
    assert moved(SOURCE.encode(), "x.py").decode() == MOVED
    assert moved(MOVED.encode(), "x.py").decode() == MOVED


@pytest.mark.parametrize("text", ["import serve_app.errors", "import os, models", 'x = r"serve_app.errors"'])
def test_what_cannot_be_moved_fails_the_build(text: str) -> None:
    with pytest.raises(ValueError, match=r"import|prefix"):
        moved(text.encode(), "x.py")
