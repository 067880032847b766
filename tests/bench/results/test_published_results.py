"""The results that this repository publishes: its packs are whole, and its page says what they say."""

import pytest

from bench.commands.packs import site
from tests.places import REPOSITORY

pytestmark = pytest.mark.slow
DOCS = REPOSITORY / "docs"


def test_the_page_of_results_is_what_the_packs_say(tmp_path):
    packs = sorted((DOCS / "results").glob("*.json"))
    assert packs
    site(packs, tmp_path / "board")
    written = (tmp_path / "board" / "results.md").read_text(encoding="utf-8")
    assert written == (DOCS / "results.md").read_text(encoding="utf-8"), (
        "python -m bench site docs/results/*.json --out board writes it: copy board/results.md to docs/"
    )
