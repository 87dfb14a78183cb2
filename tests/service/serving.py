"""Servers on this machine for what talks to one: the app of a corridor under uvicorn, or a bare answer to each request."""

import json
import socket
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import uvicorn


@contextmanager
def listening(app):
    """The base URL of the app under uvicorn, on a free port."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


class Script:
    """Answers each request with what `answer(path, body)` gives: (status, JSON or bytes[, headers]). `asked`: what came.

    Where that takes `delay` seconds, the server is slow; `most`: how many requests were being answered at the same time.
    """

    def __init__(self, answer):
        self.answer, self.asked, self.headers = answer, [], []
        self.most, self._now, self._lock = 0, 0, threading.Lock()

    def __call__(self, path, body, headers):
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
            self.asked.append((path, body))
            self.headers.append(headers)
        try:
            return self.answer(path, body)
        finally:
            with self._lock:
                self._now -= 1


@contextmanager
def scripted(answer):
    """(base URL, `Script`) of a server that is not Winnow."""
    script = Script(answer)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self._respond(None)

        def do_POST(self):
            self._respond(json.loads(self.rfile.read(int(self.headers["content-length"]))))

        def _respond(self, body):
            status, content, *more = script(self.path, body, dict(self.headers))
            sent = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            for name, value in {"content-length": len(sent), **(more[0] if more else {})}.items():
                self.send_header(name, str(value))
            self.end_headers()
            self.wfile.write(sent)

        def log_message(self, *_):
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, request, address):
            pass  # a client that did not wait

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", script
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
