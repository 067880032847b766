"""MLflow's view of a run folder: one experiment a data set, one parent run a run, one child run a Job.

Everything is read from the run folder, so it can be uploaded at any time and as often as one likes.
"""

from bench.tracking.naming import run_name
from bench.tracking.store import TrackingUnavailable, is_server, ui_command, uri_of
from bench.tracking.upload import TrackingResult, sync

__all__ = ["TrackingResult", "TrackingUnavailable", "is_server", "run_name", "sync", "ui_command", "uri_of"]
