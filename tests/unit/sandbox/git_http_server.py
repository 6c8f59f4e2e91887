"""A real git server over HTTP on a free loopback port: git's own http-backend behind Python's HTTP server.

usage: git_http_server.py ROOT [--token T] [--redirect-to URL] [--hang]; prints its port, serves until stdin closes.
"""
import argparse
import base64
import os
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

arguments = argparse.ArgumentParser()
arguments.add_argument("root")
arguments.add_argument("--token", default="")
arguments.add_argument("--redirect-to", default="")
arguments.add_argument("--hang", action="store_true")
options = arguments.parse_args()
wanted = "Basic " + base64.b64encode(f"x-access-token:{options.token}".encode()).decode()


class handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def refuse(self, status, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def answer(self):
        with open(os.path.join(options.root, "requests.log"), "a") as log:
            log.write(f"{self.command} {self.path} {self.headers.get('Authorization', '-')}\n")
        if options.hang:
            time.sleep(60)
        if options.redirect_to:
            return self.refuse(302, Location=options.redirect_to + self.path)
        if options.token and self.headers.get("Authorization") != wanted:
            return self.refuse(401, WWW_Authenticate='Basic realm="git"')
        path, _, query = self.path.partition("?")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        done = subprocess.run(["git", "http-backend"], input=body, stdout=subprocess.PIPE, check=False, env={
            "PATH": os.environ["PATH"], "GIT_PROJECT_ROOT": options.root, "GIT_HTTP_EXPORT_ALL": "1", "PATH_INFO": path,
            "QUERY_STRING": query, "REQUEST_METHOD": self.command, "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            "CONTENT_TYPE": self.headers.get("Content-Type", ""), "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""), "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"})
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        fields = [line.split(": ", 1) for line in head.decode().split("\r\n") if ": " in line]
        status = next((value.split()[0] for name, value in fields if name == "Status"), "200")
        self.send_response(int(status))
        for name, value in fields:
            if name != "Status":
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = answer


server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
server.daemon_threads = True
print(server.server_port, flush=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
sys.stdin.read()
