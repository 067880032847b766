"""Download a file over plain HTTP(S), going on where an interrupted download stopped."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from datasets.cache import full_disk_told, require_space
from datasets.declaration import Progress
from datasets.errors import DatasetError

TIMEOUT_SECONDS = 10.0
"""How long a connection, or the next piece of a file, may take."""

_PIECE = 1 << 20


class Unreachable(Exception):
    """The address did not answer, refused, or broke off; the message is the reason."""


@dataclass
class _PartialFile:
    """What has arrived so far, and the server's mark of the version it belongs to."""

    path: Path

    @property
    def mark(self) -> Path:
        return self.path.with_name(self.path.name + ".version")

    @property
    def n_bytes(self) -> int:
        """How much can be kept: nothing, if the server gave no mark by which to recognise the rest."""
        return self.path.stat().st_size if self.path.exists() and self.mark.exists() else 0

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self.mark.unlink(missing_ok=True)


def download(address: str, partial_path: Path, *, progress: Progress) -> None:
    """Bring the file behind `address` to `partial_path`, whole.

    What an earlier, interrupted call left at `partial_path` is kept and completed (HTTP Range, guarded by
    If-Range so that two versions of a file are never joined). A broken connection is taken up again as
    long as each attempt brings something.

    Parameters
    ----------
    address
        Address of the file, ``http://`` or ``https://``.
    partial_path
        Path of the file that is written; its folder exists.
    progress
        Function called with the number of bytes so far and in all.

    Raises
    ------
    Unreachable
        If the address does not answer; what has arrived stays for the next call.
    DatasetError
        If the disk is full; nothing stays.
    """
    partial = _PartialFile(partial_path)
    while True:
        before = partial.n_bytes
        try:
            with full_disk_told(partial_path.parent):
                if _transfer(address, partial, progress):
                    partial.mark.unlink(missing_ok=True)
                    return
        except DatasetError:
            partial.remove()
            raise
        except (OSError, http.client.HTTPException) as error:
            if partial.n_bytes <= before:
                raise Unreachable(str(error).strip("<>") or type(error).__name__) from error
        if partial.n_bytes <= before:
            raise Unreachable("the connection broke off")


def _transfer(address: str, partial: _PartialFile, progress: Progress) -> bool:
    """Ask for what is missing and append it; return whether the file is whole now."""
    done = partial.n_bytes
    request = urllib.request.Request(address, headers={"User-Agent": "scgenbench"})
    if done:
        request.add_header("Range", f"bytes={done}-")
        request.add_header("If-Range", partial.mark.read_text())
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        if not done or error.code != http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        partial.remove()
        return _transfer(address, partial, progress)
    with response:
        if response.status != http.client.PARTIAL_CONTENT:
            done = 0
            partial.remove()
            if (version := response.headers["ETag"] or response.headers["Last-Modified"]) is not None:
                partial.mark.write_text(version)
        length = response.headers["Content-Length"]
        total = None if length is None else done + int(length)
        require_space(partial.path.parent, 0 if total is None else total - done)
        with partial.path.open("ab") as file:
            while piece := response.read(_PIECE):
                file.write(piece)
                done += len(piece)
                progress(f"downloading {address.rpartition('/')[2]}", done, total)
    return total is None or done >= total
