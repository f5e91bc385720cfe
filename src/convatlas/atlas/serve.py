"""A web server for one folder, for this machine alone."""

from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class _Files(SimpleHTTPRequestHandler):
    """Files of the folder, without a word to the terminal."""

    def send_head(self) -> Any:
        """Answer only who asks for this machine by its own name, so that no page from elsewhere can read along under a
        name that it points here.
        """
        host = (self.headers.get("Host") or "").rpartition(":")[0]
        if host not in ("127.0.0.1", "localhost"):
            self.send_error(HTTPStatus.FORBIDDEN, "asked for under another name")
            return None
        return super().send_head()

    def end_headers(self) -> None:
        """Headers, with the one that makes a browser look for what has changed."""
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


def server(folder: Path, port: int) -> ThreadingHTTPServer:
    """A server of `folder` on the loopback address; port 0 takes a free one. Raises OSError where the port is taken."""
    made = ThreadingHTTPServer(("127.0.0.1", port), partial(_Files, directory=str(folder)))
    made.daemon_threads = True
    return made
