import importlib
import math
import subprocess
import sys
import tomllib

import pytest

from metrics.declaration import Score
from metrics.seeds import derived_seed
from tests.places import REPOSITORY

PYPROJECT = REPOSITORY / "pyproject.toml"
ENTRY_POINTS = tomllib.loads(PYPROJECT.read_text())["project"]["entry-points"]["bench.metrics"]

# The paper's four, one for copies, one for lost types: what fits beside the times in 80 characters.
DEFAULT = {"rf_auc", "mmd", "cd", "augmentation_f1", "copied_share", "scarcest_type"}
# Their modules say why.
WITHOUT_FLOOR = (
    "library_size_error",
    "augmentation_f1",
    "conditioner_f1",
    "donor_attack",
    "precision",
    "mean_variance_error",
)


def test_the_first_value_is_the_headline():
    assert Score({"b": 2.0, "a": 1.0}).headline == 2.0


@pytest.mark.parametrize("name", ENTRY_POINTS)
def test_the_entry_point_names_a_declaration_of_that_name(name):
    module, attribute = ENTRY_POINTS[name].split(":")
    declared = getattr(importlib.import_module(module), attribute)
    assert declared.name == name
    assert declared.bounds[0] <= declared.ideal <= declared.bounds[1]
    assert declared.reference.startswith("doi:")
    cheats = declared.group == "memorisation"
    assert set(declared.floors) <= ({"memorise"} if cheats else {"shuffle", "shuffle_within_type", "poisson"})
    assert bool(declared.floors) != (name in WITHOUT_FLOOR)
    assert declared.default == (name in DEFAULT)


def test_declarations_load_without_heavy_packages():
    modules = ", ".join({point.split(":")[0] for point in ENTRY_POINTS.values()})
    code = (
        f"import sys, {modules}\n"
        "print([name for name in ('sklearn', 'pandas', 'anndata', 'scanpy', 'torch') if name in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PYPROJECT.parent
    )
    assert found.stdout.strip() == "[]"


def test_seeds_differ_by_purpose_and_root_and_are_stable():
    assert derived_seed(0, "pca") == derived_seed(0, "pca")
    seeds = {derived_seed(root, purpose) for root in range(20) for purpose in ("pca", "rf_auc", "test cells")}
    assert len(seeds) == 60
    assert all(0 <= seed < 2**32 for seed in seeds)
    assert not math.isnan(derived_seed(2**40, "pca"))
