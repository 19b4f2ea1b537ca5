"""The page of runs that go on, served to browsers of this machine."""

from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from plotly.offline import get_plotlyjs

from dino_plugin import __version__
from dino_plugin.report.known_runs import BYTES, Runs
from dino_plugin.report.page import as_json, page
from dino_plugin.report.pictures import film_as_webp, picture_as_webp

LOOPBACK = ('127.0.0.1', 'localhost')
SERVED = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data: blob:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'"
)
_KEPT = 256  # pictures and films that were made ready


class ReportServer(ThreadingHTTPServer):
    """Serves the page of the runs below some folders: `serve_forever`.

    It answers with the page and with files that the page shows, and with nothing else: pictures and films in known
    places of a working directory, made into WebP. Links that lead out of it are not followed. If it listens to this
    machine alone, it answers no request for another host name, lest a page of the internet reads it under a name of its
    own that points here.

    Args:
        folders: Working directories, or folders that hold some.
        host: Address to listen at.
        port: Port; 0 chooses a free one.

    Raises:
        OSError: If the port is taken, or the address is not one of this machine.
    """

    def __init__(self, folders: Sequence[str | Path], host: str = LOOPBACK[0], port: int = 8765) -> None:
        self.runs = Runs(folders)
        self.hosts = LOOPBACK if host in LOOPBACK else ()
        super().__init__((host, port), Handler)

    def answers_to(self, host: str) -> bool:
        """Whether a browser may call the server by this name and port."""
        return not self.hosts or urlsplit(f'//{host}').hostname in self.hosts

    def answer(self, path: str, query: dict[str, list[str]]) -> tuple[str, bytes]:
        """Type and body for an address.

        Raises:
            KeyError: If there is nothing at this address.
            ValueError: If the picture or film is damaged.
            OSError: If it cannot be read.
        """
        if path in ('/', '/runs'):
            return 'text/html', page(self._content(query), SERVED, plotly='plotly.js').encode(errors='replace')
        if path == '/content':
            return 'application/json', as_json(self._content(query)).encode()
        if path == '/plotly.js':
            return 'text/javascript', get_plotlyjs().encode()
        file = self.runs.file(query['run'][0], query['place'][0])
        written = file.stat().st_mtime_ns
        if path == '/picture':
            return 'image/webp', _picture(file, written)
        return 'image/webp', _film(file, written)[('/film', '/still').index(path)]

    def _content(self, query: dict[str, list[str]]) -> dict[str, Any]:
        return self.runs.content(query.get('run', []))


class Handler(BaseHTTPRequestHandler):
    """Answers GET with what the server says."""

    server: ReportServer
    server_version = f'dino_plugin/{__version__}'
    sys_version = ''

    def do_GET(self) -> None:
        """Answer, or say in one line why not."""
        try:
            if not self.server.answers_to(self.headers.get('Host', '')):
                self._send(HTTPStatus.FORBIDDEN, 'text/plain', b'This server answers to localhost only.\n')
                return
            parts = urlsplit(self.path)
            kind, body = self.server.answer(parts.path, parse_qs(parts.query, errors=BYTES))
        except (KeyError, ValueError, OSError):
            self._send(HTTPStatus.NOT_FOUND, 'text/plain', b'There is nothing here.\n')
            return
        self._send(HTTPStatus.OK, kind, body, kept=kind in ('image/webp', 'text/javascript'))

    def log_message(self, format: str, *args: object) -> None:
        """Requests are not logged: a page asks every few seconds."""

    def _send(self, status: HTTPStatus, kind: str, body: bytes, kept: bool = False) -> None:
        headers = {
            'Content-Type': kind if kind.startswith('image/') else f'{kind}; charset=utf-8',
            'Content-Length': str(len(body)),
            'Cache-Control': 'private, max-age=86400' if kept else 'no-store',
            'X-Content-Type-Options': 'nosniff',
            'X-Frame-Options': 'DENY',
            'Cross-Origin-Resource-Policy': 'same-origin',
        }
        with suppress(ConnectionError):  # the browser left
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)


@lru_cache(maxsize=_KEPT)
def _picture(path: Path, written: int) -> bytes:
    return picture_as_webp(path)


@lru_cache(maxsize=_KEPT)
def _film(path: Path, written: int) -> tuple[bytes, bytes]:
    return film_as_webp(path)
