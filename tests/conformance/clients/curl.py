"""The command line everybody has: curl."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from harness import NotOffered, main, same
from plain import binary, needs_binary, same_binary


def curl(*arguments, data=None):
    """Run curl and return status, headers and body."""
    with tempfile.TemporaryDirectory() as folder:
        head, body, sent = (Path(folder) / name for name in ("head", "body", "sent"))
        if data is not None:
            sent.write_bytes(data)
            arguments = (*arguments, "--data-binary", f"@{sent}")
        command = ["curl", "--silent", "--show-error", "--max-time", "30", "-D", str(head), "-o", str(body), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"curl ended with {done.returncode}: {done.stderr.strip()}"
        blocks = head.read_text().replace("\r\n", "\n").strip().split("\n\n")
        first, *rest = blocks[-1].split("\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)}
        return int(first.split()[1]), headers, body.read_bytes() if body.exists() else b""


def check_health(t):
    """REST, API Definitions: live, ready and model ready can be used directly as probes."""
    for path in ("/v2/health/live", "/v2/health/ready", f"/v2/models/{t.model.name}/ready"):
        status, _, body = curl(t.url + path)
        assert status == 200, f"{path}: status {status}: {body[:200]!r}"


def check_infer(t):
    """REST, Inference: a POST with the JSON object in the body."""
    data = json.dumps(t.model.request(batch=2)).encode()
    status, _, body = curl(f"{t.url}/v2/models/{t.model.name}/infer", "-H", "Content-Type: application/json", data=data)
    assert status == 200, f"status {status}: {body[:300]!r}"
    same(json.loads(body), t.model, batch=2)


def check_chunked(t):
    """RFC 9112, 7.1: a recipient must be able to parse the chunked transfer coding."""
    data = json.dumps(t.model.request()).encode()
    status, _, body = curl(
        f"{t.url}/v2/models/{t.model.name}/infer",
        *("-H", "Content-Type: application/json", "-H", "Transfer-Encoding: chunked"),
        data=data,
    )
    assert status == 200, f"status {status}: {body[:300]!r}"
    same(json.loads(body), t.model)


def check_large_body_after_100_continue(t):
    """RFC 9110, 10.1.1: a server that gets Expect: 100-continue asks for the content or answers; curl sends it from 1 MB on."""
    batch = 1 + 1_500_000 // max(1, len(json.dumps(t.model.request())) - 100)
    data = json.dumps(t.model.request(batch)).encode()
    status, _, body = curl(
        f"{t.url}/v2/models/{t.model.name}/infer",
        *("-H", "Content-Type: application/json", "-H", "Expect: 100-continue"),
        data=data,
    )
    if status == 413:
        raise NotOffered(f"{len(data)} bytes are over the server's limit")
    assert status == 200, f"status {status}: {body[:300]!r}"
    same(json.loads(body), t.model, batch)


def check_binary(t):
    """Binary extension: the body holds the JSON object followed by the binary tensor data."""
    needs_binary(t)
    data, headers = binary(t.model, parameters={"binary_data_output": True})
    given = [part for name, value in headers.items() for part in ("-H", f"{name}: {value}")]
    status, received, body = curl(f"{t.url}/v2/models/{t.model.name}/infer", *given, data=data)
    assert status == 200, f"status {status}: {body[:300]!r}"
    same_binary(received, body, t.model)


def check_bad_json_is_an_error(t):
    """REST, Inference Response Error: an HTTP error status."""
    status, _, body = curl(f"{t.url}/v2/models/{t.model.name}/infer", "-H", "Content-Type: application/json", data=b"{oops")
    assert 400 <= status < 500, f"status {status}: {body[:200]!r}"


def check_http_1_0(t):
    """RFC 9110, 2.5: a server answers a request of a lower minor version."""
    status, _, body = curl("--http1.0", f"{t.url}/v2/health/live")
    assert status == 200, f"status {status}: {body[:200]!r}"


if __name__ == "__main__":
    main(sys.modules[__name__])
