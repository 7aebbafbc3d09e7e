"""A web service: threads that answer with rows of a database, rendered pages and parsed bodies,
while another process asks. Sessions are kept, the oldest of them forgotten."""

import http.client
import json
import sqlite3
import subprocess
import sys
import threading
import time
from collections import OrderedDict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jinja2

REQUESTS, CLIENTS, SESSIONS = 400, 6, 300

page = jinja2.Template(
    "<html>{% for row in rows %}<li>{{ row.name }}: {{ row.tags | join(', ') }}</li>{% endfor %}"
)
sessions: OrderedDict = OrderedDict()
guard = threading.Lock()
base = sqlite3.connect(":memory:", check_same_thread=False)


def filled():
    """The database."""
    base.execute("create table item (id integer primary key, name text, tags text)")
    rows = [
        (i, f"item {i}", json.dumps([f"tag {i % n}" for n in range(2, 12)])) for i in range(9000)
    ]
    base.executemany("insert into item values (?, ?, ?)", rows)


class Handler(BaseHTTPRequestHandler):
    """Answers."""

    protocol_version, wbufsize = "HTTP/1.1", 1 << 16

    def do_GET(self):
        """A page of rows, or the rows as JSON."""
        first = int(self.path.partition("=")[2])
        with guard:
            rows = base.execute("select * from item where id >= ? limit 60", (first,)).fetchall()
        found = [{"id": i, "name": name, "tags": json.loads(tags)} for i, name, tags in rows]
        text = page.render(rows=found) if self.path.startswith("/page") else json.dumps(found)
        self.answer(text.encode())

    def do_POST(self):
        """A session that is kept."""
        told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with guard:
            sessions[told["who"]] = told
            sessions.move_to_end(told["who"])
            while len(sessions) > SESSIONS:
                sessions.popitem(last=False)
        self.answer(b"{}")

    def answer(self, body):
        """Send it."""
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Say nothing."""


def ask(port, client):
    """What one client does."""
    line = http.client.HTTPConnection("127.0.0.1", port)
    for turn in range(REQUESTS):
        if turn % 3 == 2:
            cart = [{"n": n, "what": f"thing {n * turn}"} for n in range(40)]
            body = json.dumps({"who": f"{client}.{turn % 97}", "cart": cart})
            line.request("POST", "/session", body)
        else:
            kind = "page" if turn % 3 else "rows"
            line.request("GET", f"/{kind}?from={(turn * 131 + client * 17) % 8900}")
        line.getresponse().read()


def main():
    """Serve until the clients have done."""
    if sys.argv[1:]:
        port = int(sys.argv[1])
        asking = [threading.Thread(target=ask, args=(port, n)) for n in range(CLIENTS)]
        for one in asking:
            one.start()
        for one in asking:
            one.join()
        return
    filled()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    serving = threading.Thread(target=server.serve_forever, daemon=True)
    serving.start()
    subprocess.run([sys.executable, __file__, str(server.server_port)], check=True)
    time.sleep(1.5)
    server.shutdown()


main()
