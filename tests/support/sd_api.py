"""A stand-in for the Stable Diffusion web API: draws a picture for each prompt."""

from __future__ import annotations

import base64
import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from PIL import Image

from support.pictures import as_png


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self._answer({"sd_model_checkpoint": "drawn"})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        image = Image.linear_gradient("L").resize((asked.get("width", 64), asked.get("height", 96))).convert("RGB")
        content = base64.b64encode(as_png(image)).decode("ascii")
        self._answer({"images": [content], "parameters": asked, "info": json.dumps({"seed": asked.get("seed", 1)})})

    def _answer(self, content: object) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextlib.contextmanager
def drawing_api() -> Iterator[str]:
    """Serves on loopback until the context ends; yields the address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
