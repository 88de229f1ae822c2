"""Upstreams for programs: a package index with one small wheel, and git repositories served by git itself."""
import os
import subprocess
import zipfile
from http.server import SimpleHTTPRequestHandler


def index_with_a_wheel(folder):
    """`thing` 1.0, under simple/thing/."""
    name = folder / "simple" / "thing" / "thing-1.0-py3-none-any.whl"
    name.parent.mkdir(parents=True)
    with zipfile.ZipFile(name, "w") as archive:
        archive.writestr("thing.py", "value = 1\n")
        archive.writestr("thing-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: thing\nVersion: 1.0\n")
        archive.writestr("thing-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("thing-1.0.dist-info/RECORD", "")
    (name.parent / "index.html").write_text(f'<a href="{name.name}">{name.name}</a>')
    return name


def bare_repository(folder):
    """An empty one that takes pushes, as folder/repo.git."""
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", folder / "repo.git"], check=True)
    subprocess.run(["git", "-C", folder / "repo.git", "config", "http.receivepack", "true"], check=True)


def repository(folder, text="content\n"):
    """The same with one commit in it."""
    bare_repository(folder)
    work = folder / "work"
    git = ["git", "-C", work, "-c", "user.name=a", "-c", "user.email=a@example.com"]
    subprocess.run(["git", "clone", "-q", folder / "repo.git", work], check=True, capture_output=True)
    (work / "file").write_text(text)
    for step in (["add", "file"], ["commit", "-qm", "one"], ["push", "-q", "origin", "HEAD:main"]):
        subprocess.run([*git, *step], check=True)


def files(root):
    """A handler that serves the files below a folder."""
    class Files(SimpleHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(root))

        def log_message(self, *arguments):
            pass

    return Files


def git_backend(root):
    """A handler that serves root/repo.git as git does, and the other files below the folder."""
    class Git(files(root)):
        def do_GET(self):
            if self.path.startswith("/repo.git/"):
                self.ask_git()
            else:
                super().do_GET()

        def ask_git(self):
            path, _, query = self.path.partition("?")
            length = int(self.headers.get("Content-Length", 0))
            body = self.rfile.read(length)
            if self.headers.get("Transfer-Encoding") == "chunked":
                while size := int(self.rfile.readline(), 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
            environment = os.environ | {
                "GIT_PROJECT_ROOT": str(root), "GIT_HTTP_EXPORT_ALL": "1", "PATH_INFO": path, "QUERY_STRING": query,
                "REQUEST_METHOD": self.command, "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "CONTENT_LENGTH": str(len(body)), "REMOTE_USER": "tester", "REMOTE_ADDR": "127.0.0.1",
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", "")}
            answer = subprocess.run(["git", "http-backend"], input=body, env=environment, capture_output=True, timeout=60).stdout
            head, _, content = answer.partition(b"\r\n\r\n")
            fields = [line.split(": ", 1) for line in head.decode().split("\r\n")]
            self.send_response(next((int(value.split()[0]) for key, value in fields if key == "Status"), 200))
            for key, value in fields:
                if key != "Status":
                    self.send_header(key, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = ask_git

    return Git
