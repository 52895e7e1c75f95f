"""A hub on this machine: the few endpoints that creating a repository, one commit, and the download of a data set need.
Keeps what it was sent.
"""

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN = "hf_test"


class Hub:
    """A context manager. `repositories`: name -> {"private": bool, "files": {path: bytes}}; `datasets`: name -> {"sha":
    commit of main, "files": {path: bytes}}, `models` likewise, for download; `requests`: (method, path) in order.
    """

    def __init__(self):
        self.repositories: dict[str, dict] = {}
        self.datasets: dict[str, dict] = {}
        self.models: dict[str, dict] = {}
        self.objects: dict[str, bytes] = {}
        self.requests: list[tuple[str, str]] = []

    def __enter__(self) -> "Hub":
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error) -> None:
        self.server.shutdown()
        self.server.server_close()

    def environment(self, token: str | None = TOKEN) -> dict[str, str]:
        return {
            "HF_ENDPOINT": self.address,
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_OFFLINE": "0",
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
            **({"HF_TOKEN": token} if token else {}),
        }


def _handler(hub: Hub):
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def _answer(self, value, status: int = 200) -> None:
            body = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _body(self) -> bytes:
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))

        def _is_allowed(self) -> bool:
            hub.requests.append((self.command, self.path))
            if self.headers.get("Authorization") == f"Bearer {TOKEN}" or self.path.startswith("/upload/"):
                return True
            self._answer({"error": "Invalid credentials"}, 401)
            return False

        def do_GET(self):
            if not self._is_allowed():
                return
            if "/datasets/" in self.path:
                self._download(hub.datasets, self.path.split("?")[0].split("/datasets/")[1])
                return
            wanted = self.path.split("?")[0].removeprefix("/api/models").removeprefix("/")
            if any(wanted.startswith(f"{name}/") for name in hub.models):
                self._download(hub.models, wanted)
                return
            name = self.path.removeprefix("/api/models/").split("?")[0].split("/revision/")[0]
            if name in hub.repositories:
                self._answer(
                    {
                        "id": name,
                        "modelId": name,
                        "private": hub.repositories[name]["private"],
                        "siblings": [],
                        "tags": [],
                        "sha": "0" * 40,
                    }
                )
            else:
                self._answer({"error": "Repository not found"}, 404)

        do_HEAD = do_GET

        def _download(self, known: dict[str, dict], wanted: str) -> None:
            """What a repository is at main or at its commit, its list of files, or one of them."""
            is_file = not self.path.startswith("/api/")
            what = "resolve" if is_file else "tree" if "/tree/" in self.path else "revision"
            name, _, rest = wanted.partition(f"/{what}/")
            found, (commit, _, path) = known.get(name), rest.partition("/")
            if found is None or commit not in ("main", found["sha"]) or (is_file and path not in found["files"]):
                self._answer({"error": "not found"}, 404)
            elif what == "tree":
                self._answer(
                    [
                        {"type": "file", "path": file, "oid": hashlib.sha1(body).hexdigest(), "size": len(body)}
                        for file, body in found["files"].items()
                    ]
                )
            elif not is_file:
                self._answer(
                    {
                        "id": name,
                        "private": False,
                        "sha": found["sha"],
                        "siblings": [{"rfilename": file} for file in found["files"]],
                        "tags": [],
                    }
                )
            else:
                body = found["files"][path]
                self.send_response(200)
                for header, value in (
                    ("X-Repo-Commit", found["sha"]),
                    ("ETag", f'"{hashlib.sha1(body).hexdigest()}"'),
                    ("Content-Length", str(len(body))),
                ):
                    self.send_header(header, value)
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body)

        def do_PUT(self):
            body = self._body()
            if self._is_allowed():
                hub.objects[self.path.removeprefix("/upload/")] = body
                self._answer({})

        def do_POST(self):
            body = self._body()
            if not self._is_allowed():
                return
            path = self.path.split("?")[0]
            if path == "/api/repos/create":
                self._create(json.loads(body))
            elif path == "/api/validate-yaml":
                self._answer({"errors": [], "warnings": []})
            elif "/preupload/" in path:
                files = json.loads(body)["files"]
                self._answer(
                    {
                        "files": [
                            {
                                "path": f["path"],
                                "uploadMode": "lfs" if f["path"].endswith(".safetensors") else "regular",
                                "shouldIgnore": False,
                            }
                            for f in files
                        ]
                    }
                )
            elif path.endswith("/info/lfs/objects/batch"):
                objects = json.loads(body)["objects"]
                self._answer(
                    {
                        "transfer": "basic",
                        "objects": [
                            {**o, "actions": {"upload": {"href": f"{hub.address}/upload/{o['oid']}"}}} for o in objects
                        ],
                    }
                )
            elif "/commit/" in path:
                self._commit(
                    path.removeprefix("/api/models/").split("/commit/")[0],
                    [json.loads(line) for line in body.splitlines()],
                )
            else:
                self._answer({"error": f"no such endpoint {path}"}, 404)

        def _create(self, asked: dict) -> None:
            name = f"{asked['organization']}/{asked['name']}" if asked.get("organization") else asked["name"]
            is_private = asked.get("private", asked.get("visibility") == "private")
            if name in hub.repositories:
                self._answer({"error": "You already created this model repo", "url": f"{hub.address}/{name}"}, 409)
                return
            hub.repositories[name] = {"private": bool(is_private), "files": {}}
            self._answer({"url": f"{hub.address}/{name}", "name": name})

        def _commit(self, name: str, lines: list[dict]) -> None:
            for line in lines:
                value = line["value"]
                if line["key"] == "file":
                    hub.repositories[name]["files"][value["path"]] = base64.b64decode(value["content"])
                elif line["key"] == "lfsFile":
                    hub.repositories[name]["files"][value["path"]] = hub.objects[value["oid"]]
            self._answer(
                {"commitUrl": f"{hub.address}/{name}/commit/{'1' * 40}", "commitOid": "1" * 40, "success": True}
            )

    return Handler
