#!/usr/bin/env python3
"""Check that our hub client and Python's huggingface_hub share one cache.

    cargo build --example hub_fetch
    check_hub_cache.py --fetch target/debug/examples/hub_fetch

Serves a model and a data set of seeded random bytes on this machine, in the hub's protocol, and has one client
fill a cache that the other reads without network, both ways; has each complete what the other began; and has
our client wait for a lock that Python holds. Prints one JSON object: a line of claims, each true or false, and
the versions. Exit status: 0 all true; 4 at least one false.
"""
from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

SEED = 0
COMMIT = "c0ffee" * 6 + "cafe"
SHARDS = [f"data/train-{idx:05}-of-00002.parquet" for idx in range(2)]
STORED = (".safetensors", ".parquet")


def make_files():
    """Contents by repository and name."""
    draw = random.Random(SEED)
    return {
        "models/org/model": {"config.json": b'{"a": 1}', "empty.txt": b"", "sub/model.safetensors": draw.randbytes(3_000_001)},
        "datasets/org/set": {"README.md": b"rows", **{name: draw.randbytes(1_000_000) for name in SHARDS}},
    }


class Hub(BaseHTTPRequestHandler):
    """Enough of the hub: listing, HEAD and GET of files, redirects for large ones, ranges."""

    files = make_files()
    requests = []

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        self.requests.append(f"{self.command} {self.path}")
        path = self.path.split("?")[0]
        if path.startswith("/storage/"):
            contents = (data for files in self.files.values() for data in files.values())
            return self.send_part(next(data for data in contents if hashlib.sha256(data).hexdigest() == path[9:]), {})
        if path.startswith("/api/"):
            repository = path[5:].split("/revision/")[0]
            names = [{"rfilename": name} for name in self.files[repository]]
            listing = {"id": "org/x", "sha": COMMIT, "siblings": names, "private": False, "tags": [], "downloads": 0}
            return self.send_part(json.dumps(listing).encode(), {"Content-Type": "application/json"})
        repository, rest = path[1:].split("/resolve/")
        repository = repository if repository.startswith("datasets/") else f"models/{repository}"
        name = rest.split("/", 1)[1]
        data = self.files[repository].get(name)
        if data is None:
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        if not name.endswith(STORED):
            checksum = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
            return self.send_part(data, {"X-Repo-Commit": COMMIT, "ETag": f'"{checksum}"'})
        checksum = hashlib.sha256(data).hexdigest()
        self.send_response(302)
        for header, value in {"Location": f"http://localhost:{self.server.server_port}/storage/{checksum}",
                              "X-Repo-Commit": COMMIT, "X-Linked-ETag": f'"{checksum}"',
                              "X-Linked-Size": len(data), "Content-Length": 0}.items():
            self.send_header(header, str(value))
        self.end_headers()

    def send_part(self, data, headers):
        wanted = self.headers.get("Range")
        first = int(wanted.removeprefix("bytes=").split("-")[0]) if wanted else 0
        self.send_response(206 if wanted else 200)
        if wanted:
            self.send_header("Content-Range", f"bytes {first}-{len(data) - 1}/{len(data)}")
        for header, value in {**headers, "Content-Length": len(data) - first}.items():
            self.send_header(header, str(value))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data[first:])


class Check:
    """One cache, and both clients on it."""

    def __init__(self, fetch, endpoint, home):
        self.fetch, self.cache = fetch, Path(home) / "hub"
        self.variables = {**os.environ, "HF_HOME": str(home), "HF_ENDPOINT": endpoint, "HF_TOKEN": "secret"}
        self.endpoint = endpoint

    def ours(self, *words, offline=False):
        """Contents of what our client prints the paths of."""
        variables = {**self.variables, "HF_HUB_OFFLINE": "1" if offline else ""}
        done = subprocess.run([self.fetch, *words], env=variables, capture_output=True, text=True, check=False)
        if done.returncode:
            print(done.stderr, file=sys.stderr)
        return [Path(line).read_bytes() for line in done.stdout.splitlines()]

    def python(self, repository, name, offline=False):
        """Contents of what Python's client returns the path of; None where it has nothing."""
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import LocalEntryNotFoundError
        kind, repository_id = repository.split("/", 1)
        try:
            path = hf_hub_download(repository_id, name, repo_type=kind.removesuffix("s"), cache_dir=self.cache,
                                   endpoint=self.endpoint, token="secret", local_files_only=offline)
        except LocalEntryNotFoundError as error:
            print(error, file=sys.stderr)
            return None
        return Path(path).read_bytes()


def ours_then_python(check):
    from huggingface_hub import scan_cache_dir, snapshot_download
    model, data = Hub.files["models/org/model"], Hub.files["datasets/org/set"]
    claims = {"ours_fetches_the_model": check.ours("model", "org/model", *model) == list(model.values()),
              "ours_fetches_the_split": check.ours("split", "org/set", "train") == [data[name] for name in SHARDS]}
    n_requests = len(Hub.requests)
    claims["python_reads_our_model"] = all(check.python("models/org/model", n, True) == model[n] for n in model)
    claims["python_reads_our_split"] = all(check.python("datasets/org/set", n, True) == data[n] for n in SHARDS)
    folder = Path(snapshot_download("org/model", cache_dir=check.cache, local_files_only=True))
    claims["python_takes_our_snapshot"] = all((folder / name).read_bytes() == model[name] for name in model)
    scan = scan_cache_dir(check.cache)
    claims["python_scans_our_cache_without_a_warning"] = len(scan.repos) == 2 and not scan.warnings
    claims["none_of_it_asked_the_hub"] = len(Hub.requests) == n_requests
    claims["python_completes_what_we_began"] = check.python("datasets/org/set", "README.md") == data["README.md"]
    return claims


def python_then_ours(check):
    model, data = Hub.files["models/org/model"], Hub.files["datasets/org/set"]
    claims = {"python_fetches": all(check.python("models/org/model", name) == model[name] for name in model)
              and check.python("datasets/org/set", SHARDS[0]) == data[SHARDS[0]]}
    n_requests = len(Hub.requests)
    claims["ours_reads_pythons_model"] = check.ours("model", "org/model", *model, offline=True) == list(model.values())
    claims["ours_reads_it_online_too_without_asking"] = (
        check.ours("model", "org/model", *model) == list(model.values()) and len(Hub.requests) == n_requests)
    claims["ours_misses_the_shard_that_python_lacks"] = check.ours("split", "org/set", "train", offline=True) == []
    claims["ours_completes_what_python_began"] = (
        check.ours("split", "org/set", "train") == [data[name] for name in SHARDS])
    first = hashlib.sha256(data[SHARDS[0]]).hexdigest()
    claims["ours_fetches_the_missing_shard_alone"] = not any(first in line for line in Hub.requests[n_requests:])
    return claims


def python_locks_ours_out(check):
    """Holds the lock that Python takes for a blob while our client wants that blob."""
    from huggingface_hub.utils import WeakFileLock
    contents = Hub.files["models/org/model"]["sub/model.safetensors"]
    lock = check.cache / ".locks" / "models--org--model" / f"{hashlib.sha256(contents).hexdigest()}.lock"
    lock.parent.mkdir(parents=True)
    n_requests = len(Hub.requests)
    done = threading.Event()
    results = []

    def fetch():
        results.append(check.ours("model", "org/model", "sub/model.safetensors"))
        done.set()

    with WeakFileLock(lock):
        threading.Thread(target=fetch).start()
        time.sleep(1.5)
        has_waited = not done.is_set() and not any("GET" in line for line in Hub.requests[n_requests:])
    done.wait(30)
    return {"ours_waits_for_pythons_lock": has_waited, "and_goes_on_after_it": results == [[contents]]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fetch", required=True, help="the program built from examples/hub_fetch.rs")
    fetch = str(Path(parser.parse_args().fetch).resolve())
    import huggingface_hub
    warnings.simplefilter("ignore")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    claims = {}
    for part in [ours_then_python, python_then_ours, python_locks_ours_out]:
        with tempfile.TemporaryDirectory() as home:
            claims.update(part(Check(fetch, endpoint, home)))
    print(json.dumps({"claims": claims, "huggingface_hub": huggingface_hub.__version__, "seed": SEED}, indent=1))
    return 0 if all(claims.values()) else 4


if __name__ == "__main__":
    sys.exit(main())
