"""A cache folder, and a server on the loopback address that can break off."""

import http.server
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest


@dataclass
class Server:
    """What a loopback server holds and was asked.

    `break_after` bytes of a body it closes the connection, `breaks` times. Without `tells_length`, nobody
    can see from the answer that something is missing.
    """

    address: str = ""
    contents: dict[str, bytes] = field(default_factory=dict)
    ranges: list[str | None] = field(default_factory=list)
    break_after: int = 0
    breaks: int = 0
    tells_length: bool = True
    version: str = '"1"'


@pytest.fixture
def server() -> Iterator[Server]:
    held = Server()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = held.contents.get(self.path)
            if content is None:
                self.send_error(404)
                return
            wanted = self.headers["Range"]
            held.ranges.append(wanted)
            start = 0
            if wanted and self.headers["If-Range"] == held.version:
                start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])
            self.send_response(206 if start else 200)
            self.send_header("ETag", held.version)
            if held.tells_length:
                self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            body = content[start:]
            if held.breaks:
                held.breaks -= 1
                body = body[: held.break_after]
            self.wfile.write(body)

        def log_message(self, *words: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        held.address = f"http://127.0.0.1:{listening.server_port}"
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        yield held
        listening.shutdown()
        thread.join()


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"
