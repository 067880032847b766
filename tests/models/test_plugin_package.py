import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.places import REPOSITORY

pytestmark = pytest.mark.slow

PLUGIN = REPOSITORY / "tests" / "plugin"

DISCOVER = """
import json
from importlib.metadata import entry_points
(found,) = entry_points(group="bench.models", name="tiny")
generator = found.load()
print(json.dumps({
    "value": found.value,
    "distribution": found.dist.name,
    "version": found.dist.version,
    "file": __import__(generator.__module__).__file__,
    "bases": [base.__module__ + "." + base.__name__ for base in generator.__bases__],
    "builtin": sorted(point.name for point in entry_points(group="bench.models")),
}))
"""


@pytest.fixture(scope="module")
def plugin_folder(tmp_path_factory) -> Path:
    """A folder that holds the installed package, and nothing of it in the source tree."""
    source = tmp_path_factory.mktemp("source") / "tiny"
    shutil.copytree(PLUGIN, source)
    target = tmp_path_factory.mktemp("installed")
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*install, "--no-index", "--target", str(target), str(source)], check=True)
    return target


def test_an_installed_third_party_generator_is_found_by_its_entry_point(plugin_folder):
    environment = os.environ | {"PYTHONPATH": str(plugin_folder)}
    found = json.loads(
        subprocess.run(
            [sys.executable, "-c", DISCOVER], env=environment, check=True, capture_output=True, text=True
        ).stdout
    )
    assert found["value"] == "tiny_generator:TinyGenerator"
    assert (found["distribution"], found["version"]) == ("tiny-generator", "0.1.0")
    assert found["file"] == str(plugin_folder / "tiny_generator.py")
    assert found["bases"] == ["models.base.Generator"]
    assert {"activa", "scgan", "cscgan", "real", "poisson", "tiny"} <= set(found["builtin"])
