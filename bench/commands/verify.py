"""``bench verify``: whether a run is what it says."""

from __future__ import annotations

from bench.commands.options import Run
from bench.console import plain_console
from bench.errors import DONE, SOME_FAILED
from bench.progress import Progress


def verify(run: Run) -> int:
    """Compute every score of RUN again from its stored cells, and say what differs."""
    from bench.results.run_folder import RunFolder
    from bench.scoring.verify import verify

    progress = Progress(plain_console())
    folder = RunFolder.open(run)
    with folder.locked():
        found = verify(folder, progress=progress)
    for line in found.differs:
        progress.say(f"differs: {line}")
    for line in found.unverified:
        progress.say(f"not verified: {line}")
    progress.say(
        f"{found.n_scores} scores are as stored, within {found.tolerance:g}; {len(found.differs)} things "
        f"differ, {len(found.unverified)} could not be verified"
    )
    return SOME_FAILED if found.differs or found.unverified else DONE
