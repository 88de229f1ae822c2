"""A collector of OpenTelemetry for tests: takes OTLP over HTTP in JSON, and answers what it is told to."""
import http.server
import json
import threading


class Collector:
    """`answers` are given out first, as (status, headers, body); then 200."""

    def __init__(self, context=None, port=0):
        self.requests, self.answers, self.heads = [], [], []
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.heads.append((self.path, dict(self.headers)))
                status, headers, answer = collector.answers.pop(0) if collector.answers else (200, {}, b"{}")
                if status == 200:
                    collector.requests.append(json.loads(body))
                self.send_response(status)
                for name, value in ({"Content-Type": "application/json"} | headers).items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        if context:
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def records(self):
        return [record for request in list(self.requests) for group in request["resourceLogs"] for scope in group["scopeLogs"]
                for record in scope["logRecords"]]

    def sequences(self):
        return [int(attributes(record)["sluice.seq"]) for record in self.records()]

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def attributes(thing):
    return {one["key"]: next(iter(one["value"].values())) for one in thing["attributes"]}
