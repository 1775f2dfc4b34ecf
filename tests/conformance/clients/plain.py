"""Nothing but ``http.client``: full control over bytes, headers and connections."""

from __future__ import annotations

import http.client
import json
import sys
from urllib.parse import urlsplit

from harness import SIZES, NotOffered, cases, flatten, main, pack, same

PATIENCE = 20


def send(t, method, path, body=None, headers=None):
    """Return status, headers (lower-case names) and body of one request on a fresh connection."""
    connection = http.client.HTTPConnection(urlsplit(t.url).netloc, timeout=PATIENCE)
    try:
        return exchange(connection, method, path, body, headers)
    finally:
        connection.close()


def exchange(connection, method, path, body=None, headers=None):
    """Send one request on an open connection."""
    connection.request(method, path, body=body, headers=headers or {})
    answer = connection.getresponse()
    return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()


def infer(t, model, request, headers=None, path=None):
    """Post an inference request; return status and the decoded body."""
    body = request if isinstance(request, bytes) else json.dumps(request).encode()
    given = headers or {"Content-Type": "application/json"}
    status, _, answer = send(t, "POST", path or f"/v2/models/{model.name}/infer", body, given)
    return status, decoded(answer)


def decoded(body):
    """Return JSON, or the bytes where they are none."""
    try:
        return json.loads(body)
    except ValueError:
        return body


def refused(status, answer):
    """Check that a request was refused as the client's fault, in words."""
    assert 400 <= status < 500, f"status {status} for a bad request: {str(answer)[:200]}"
    in_words = isinstance(answer, dict) and isinstance(answer.get("error"), str) and answer["error"]
    assert in_words, f'the body of {status} is no {{"error": $string}}: {str(answer)[:200]}'


def binary(model, batch=1, **more):
    """Return body and headers of a request whose tensors are raw bytes."""
    rows, raw = [], []
    for name, datatype, shape, flat in model.tensors(batch):
        raw.append(pack(datatype, flat))
        rows.append({"name": name, "datatype": datatype, "shape": shape, "parameters": {"binary_data_size": len(raw[-1])}})
    head = json.dumps({"inputs": rows, **more}).encode()
    headers = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(head))}
    return head + b"".join(raw), headers


def needs_binary(t):
    """Go on only where the server lists the extension."""
    if "binary_tensor_data" not in t.extensions():
        raise NotOffered("the server does not list the extension binary_tensor_data")


def same_binary(headers, body, model, batch=1):
    """Check a response whose tensors are raw bytes."""
    assert "inference-header-content-length" in headers, "Inference-Header-Content-Length is missing"
    head = int(headers["inference-header-content-length"])
    answer, rest = json.loads(body[:head]), body[head:]
    assert int(headers.get("content-length", len(body))) == len(body)
    rows = {row["name"]: row for row in answer["outputs"]}
    parts = {}
    for row in answer["outputs"]:
        size = row["parameters"]["binary_data_size"]
        assert "data" not in row, f"{row['name']} is in the JSON and in the bytes"
        parts[row["name"]], rest = rest[:size], rest[size:]
    assert not rest, f"{len(rest)} bytes belong to no tensor"
    for (_, datatype, shape, flat), name in zip(model.tensors(batch), model.outputs, strict=True):
        assert (rows[name]["datatype"], rows[name]["shape"]) == (datatype, shape), f"{name} is {rows[name]}"
        assert parts[name] == pack(datatype, flat), (
            f"{name} has the bytes {parts[name][:16]!r}, not {pack(datatype, flat)[:16]!r}"
        )


def check_live(t):
    """REST, API Definitions: "server live" indicates if the server is able to receive and respond to requests."""
    status, _, body = send(t, "GET", "/v2/health/live")
    assert status == 200, f"status {status}: {body[:200]!r}"


def check_ready(t):
    """REST, API Definitions: "server ready" indicates if all the models are ready for inferencing."""
    status, _, body = send(t, "GET", "/v2/health/ready")
    assert status == 200, f"status {status}: {body[:200]!r}"


def check_health_is_told_in_the_body(t):
    """REST, Server Live Response: {"live": $bool}; "ready" says the same under "live" or, as in KServe, under "ready"."""
    live, ready = (decoded(send(t, "GET", f"/v2/health/{name}")[2]) for name in ("live", "ready"))
    assert isinstance(live, dict) and live.get("live") is True, f"the body of live is {live!r}"
    assert isinstance(ready, dict) and True in (ready.get("live"), ready.get("ready")), f"the body of ready is {ready!r}"


def check_model_ready(t):
    """REST, Model Ready: returns the readiness of the model, with its name where there is a body."""
    status, _, body = send(t, "GET", f"/v2/models/{t.model.name}/ready")
    assert status == 200, f"status {status}: {body[:200]!r}"
    if body:
        assert decoded(body).get("name", t.model.name) == t.model.name, f"the body names {body!r}"


def check_unknown_model_is_not_ready(t):
    """KServe required_api, Health: a 200 status code indicates true and a 4xx status code indicates false."""
    status, _, body = send(t, "GET", "/v2/models/no-such-model/ready")
    assert 400 <= status < 500, f"status {status}: {body[:200]!r}"


def check_server_metadata(t):
    """REST, Server Metadata: name and version are strings, extensions an array of strings."""
    status, headers, body = send(t, "GET", "/v2")
    answer = decoded(body)
    assert status == 200 and isinstance(answer, dict), f"status {status}: {body[:200]!r}"
    assert isinstance(answer.get("name"), str) and isinstance(answer.get("version"), str), f"the body is {answer}"
    listed = answer.get("extensions")
    assert isinstance(listed, list) and all(isinstance(item, str) for item in listed), f"extensions are {listed!r}"
    assert headers.get("content-type", "").startswith("application/json"), f"Content-Type is {headers.get('content-type')!r}"


def check_model_metadata(t):
    """REST, Model Metadata: name, platform, inputs and outputs; a tensor has name, datatype and shape, -1 where it varies."""
    for model in t.models:
        status, _, body = send(t, "GET", f"/v2/models/{model.name}")
        answer = decoded(body)
        assert status == 200 and isinstance(answer, dict), f"status {status}: {body[:200]!r}"
        assert answer.get("name") == model.name and isinstance(answer.get("platform"), str), f"the body is {answer}"
        for row in answer["inputs"] + answer["outputs"]:
            assert row["datatype"] in {*SIZES, "BYTES"}, f"datatype {row['datatype']!r} is none of the protocol"
            assert all(isinstance(size, int) and size >= -1 for size in row["shape"]), f"shape {row['shape']}"


def check_metadata_of_an_unknown_model_is_an_error_in_words(t):
    """REST, Model Metadata: a failed request has an HTTP error status; the body must contain {"error": $string}."""
    status, _, body = send(t, "GET", "/v2/models/no-such-model")
    refused(status, decoded(body))


def check_unknown_model_is_404(t):
    """Triton protocol README, HTTP status codes: NOT_FOUND is 404 (the specification says only "typically 400")."""
    status, answer = infer(t, t.model, t.model.request(), path="/v2/models/no-such-model/infer")
    assert status == 404, f"status {status}: {str(answer)[:200]}"


def check_listed_versions_can_be_asked(t):
    """REST, Model Metadata: "versions" may be explicitly requested via the appropriate endpoint."""
    _, _, body = send(t, "GET", f"/v2/models/{t.model.name}")
    versions = decoded(body).get("versions") or []
    if not versions:
        raise NotOffered("the model lists no versions")
    for version in versions:
        status, answer = infer(t, t.model, t.model.request(), path=f"/v2/models/{t.model.name}/versions/{version}/infer")
        assert status == 200, f"version {version}: status {status}: {str(answer)[:200]}"


def check_unknown_version_is_an_error(t):
    """REST, Inference: the version is in the URL; a failed request must be indicated by an HTTP error status."""
    status, answer = infer(t, t.model, t.model.request(), path=f"/v2/models/{t.model.name}/versions/no-such-version/infer")
    assert 400 <= status < 500, f"status {status}: {str(answer)[:200]}"


def check_infer(t):
    """REST, Inference Response: status 200, the model's name, and every output with name, shape, datatype and data."""
    for model in t.models:
        status, answer = infer(t, model, model.request())
        assert status == 200, f"status {status}: {str(answer)[:300]}"
        same(answer, model)


def check_response_is_json(t):
    """REST, Inference Request Examples: the response has Content-Type application/json."""
    body = json.dumps(t.model.request()).encode()
    _, headers, _ = send(t, "POST", f"/v2/models/{t.model.name}/infer", body, {"Content-Type": "application/json"})
    assert headers.get("content-type", "").startswith("application/json"), f"Content-Type is {headers.get('content-type')!r}"


def check_id_is_returned(t):
    """REST, Inference Request: "id", if specified, must be returned in the response."""
    status, answer = infer(t, t.model, t.model.request(id="request 42 é"))
    assert status == 200 and answer.get("id") == "request 42 é", f"status {status}, id {answer.get('id')!r}"


def check_data_may_be_nested(t):
    """KServe required_api, Tensor Data: elements in their natural multi-dimensional form or flattened."""
    request = t.model.request(batch=2)
    for row in request["inputs"]:
        width = max(1, len(row["data"]) // 2)
        if len(row["shape"]) == 2:
            row["data"] = [row["data"][:width], row["data"][width:]]
    status, answer = infer(t, t.model, request)
    assert status == 200, f"status {status}: {str(answer)[:300]}"
    same(answer, t.model, batch=2)


@cases("1", "2", "33")
def check_batch(t, size):
    """REST, Request Input: if the input is batched, shape and data represent the entire batch."""
    status, answer = infer(t, t.model, t.model.request(batch=int(size)))
    assert status == 200, f"status {status}: {str(answer)[:300]}"
    same(answer, t.model, batch=int(size))


def check_empty_batch(t):
    """REST, Request Input: each dimension is an unsigned integer, so 0 is one: an empty answer, or a refusal in words."""
    status, answer = infer(t, t.model, t.model.request(batch=0))
    if status == 200:
        same(answer, t.model, batch=0)
    else:
        refused(status, answer)


def check_only_requested_outputs(t):
    """REST, Inference Request: "outputs" are the output tensors requested."""
    model = t.with_many()
    status, answer = infer(t, model, model.request(outputs=[{"name": model.outputs[1]}]))
    assert status == 200, f"status {status}: {str(answer)[:300]}"
    names = [row["name"] for row in answer["outputs"]]
    assert names == [model.outputs[1]], f"{model.outputs[1]} was requested; {names} came"


def check_unknown_output_is_an_error(t):
    """REST, Request Output: "name" is the name of the output tensor."""
    refused(*infer(t, t.model, t.model.request(outputs=[{"name": "no-such-output"}])))


@cases("BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "BF16", "FP32", "FP64", "BYTES")
def check_json_datatype(t, datatype):
    """KServe required_api, Tensor Data: explicit data is a JSON array; values come back exactly."""
    model = t.with_datatype(datatype)
    status, answer = infer(t, model, model.request(batch=3))
    assert status == 200, f"status {status}: {str(answer)[:300]}"
    same(answer, model, batch=3)


@cases("BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "BF16", "FP32", "FP64", "BYTES")
def check_binary_datatype(t, datatype):
    """Binary extension: little-endian, row-major, without padding; BYTES elements follow their 4-byte lengths."""
    needs_binary(t)
    model = t.with_datatype(datatype)
    body, headers = binary(model, 3, parameters={"binary_data_output": True})
    status, received, answer = send(t, "POST", f"/v2/models/{model.name}/infer", body, headers)
    assert status == 200, f"status {status}: {answer[:300]!r}"
    same_binary(received, answer, model, 3)


def check_binary_in_json_out(t):
    """Binary extension: without "binary_data" the output is returned as JSON."""
    needs_binary(t)
    body, headers = binary(t.model)
    status, answer = infer(t, t.model, body, headers)
    assert status == 200, f"status {status}: {str(answer)[:300]}"
    same(answer, t.model)


def check_json_in_binary_out(t):
    """Binary extension: "binary_data" on a requested output returns that output as binary data."""
    needs_binary(t)
    wanted = [{"name": name, "parameters": {"binary_data": True}} for name in t.model.outputs]
    body = json.dumps(t.model.request(outputs=wanted)).encode()
    status, headers, answer = send(t, "POST", f"/v2/models/{t.model.name}/infer", body, {"Content-Type": "application/json"})
    assert status == 200, f"status {status}: {answer[:300]!r}"
    same_binary(headers, answer, t.model)


def check_an_output_overrides_binary_data_output(t):
    """Binary extension: "binary_data" on an output overrides "binary_data_output"."""
    needs_binary(t)
    wanted = [{"name": name, "parameters": {"binary_data": False}} for name in t.model.outputs]
    request = t.model.request(outputs=wanted, parameters={"binary_data_output": True})
    status, answer = infer(t, t.model, request)
    assert status == 200, f"status {status}: {str(answer)[:300]}"
    same(answer, t.model)


@cases("-1", "999999999", "many", "")
def check_a_wrong_header_length_is_refused(t, length):
    """Binary extension: Inference-Header-Content-Length must give the length of the JSON object."""
    needs_binary(t)
    body, headers = binary(t.model)
    refused(*infer(t, t.model, body, headers | {"Inference-Header-Content-Length": length}))


def check_a_wrong_binary_size_is_refused(t):
    """Binary extension: "binary_data_size" indicates the size of the tensor binary data, in bytes."""
    needs_binary(t)
    body, headers = binary(t.model)
    refused(*infer(t, t.model, body[:-1], headers))
    refused(*infer(t, t.model, body + b"x", headers))


@cases("Content-Type", "CONTENT-TYPE", "content-type")
def check_header_names_have_no_case(t, name):
    """RFC 9110, 5.1: field names are case-insensitive."""
    if "binary_tensor_data" in t.extensions():
        body, headers = binary(t.model)
        status, answer = infer(t, t.model, body, {_cased(key, name): value for key, value in headers.items()})
    else:
        status, answer = infer(t, t.model, t.model.request(), {name: "application/json"})
    assert status == 200, f"status {status}: {str(answer)[:300]}"
    same(answer, t.model)


def _cased(key, like):
    return key.upper() if like.isupper() else key.lower() if like.islower() else key


@cases("", "{", "[]", "null", "7", '{"inputs": 5}', '{"inputs": [5]}', "{}", '{"inputs": []}', '{"inputs": [{}]}')
def check_a_body_that_is_no_request_is_refused(t, body):
    """REST, Inference Response Error: a failed request must have an HTTP error status and {"error": $string} in the body."""
    refused(*infer(t, t.model, body.encode()))


def check_wrong_utf8_is_refused(t):
    """REST: the API uses JSON, which is UTF-8 (RFC 8259, 8.1)."""
    refused(*infer(t, t.model, b'{"inputs": [{"name": "\xff\xfe"}]}'))


@cases("name", "datatype", "shape", "data")
def check_an_input_without_a_field_is_refused(t, field):
    """REST, Request Input: name, shape, datatype and data are required."""
    request = t.model.request()
    del request["inputs"][0][field]
    refused(*infer(t, t.model, request))


def check_a_wrong_datatype_is_refused(t):
    """REST, Model Metadata: "datatype" is that of the tensor elements the model requires."""
    request = t.model.request()
    other = "FP64" if t.model.inputs[0][1] != "FP64" else "INT8"
    request["inputs"][0]["datatype"] = other
    refused(*infer(t, t.model, request))


def check_an_unknown_datatype_is_refused(t):
    """REST, Request Input: "datatype" is one of the Tensor Data Types."""
    request = t.model.request()
    request["inputs"][0]["datatype"] = "FP33"
    refused(*infer(t, t.model, request))


@cases("too few", "too many")
def check_data_of_another_size_than_the_shape_is_refused(t, which):
    """REST, Request Input: shape and data must represent the full shape and contents."""
    request = t.model.request(batch=2)
    row = request["inputs"][0]
    row["data"] = row["data"][:-1] if which == "too few" else row["data"] + row["data"][:1]
    refused(*infer(t, t.model, request))


@cases("[-1, 2]", "[1, 2, 1, 1, 1]", '["1", 2]', "[1.5, 2]", "[18446744073709551616, 2]", "null", '"12"')
def check_a_wrong_shape_is_refused(t, shape):
    """REST, Request Input: each dimension must be an integer representable as an unsigned 64-bit integer value."""
    request = t.model.request()
    request["inputs"][0]["shape"] = json.loads(shape)
    refused(*infer(t, t.model, request))


def check_an_unknown_input_is_refused(t):
    """REST, Model Metadata: "inputs" are the inputs required by the model."""
    request = t.model.request()
    request["inputs"][0]["name"] = "no-such-input"
    refused(*infer(t, t.model, request))


def check_an_input_given_twice_is_refused(t):
    """REST, Model Metadata: "inputs" are the inputs required by the model; one name is one tensor."""
    request = t.model.request()
    request["inputs"].append(request["inputs"][0])
    refused(*infer(t, t.model, request))


def check_words_for_numbers_are_refused(t):
    """KServe required_api, Tensor Data: an error is returned if an unexpected value is received and cannot be coerced."""
    place = next((n for n, (_, d, _) in enumerate(t.model.inputs) if d != "BYTES"), None)
    if place is None:
        raise NotOffered("the model takes BYTES only")
    request = t.model.request()
    request["inputs"][place]["data"] = ["word"] * len(request["inputs"][place]["data"])
    refused(*infer(t, t.model, request))


def check_too_large_is_413(t):
    """RFC 9110, 15.5.14: 413 for content larger than the server is able to process; 1 TiB is announced, none of it sent."""
    connection = http.client.HTTPConnection(urlsplit(t.url).netloc, timeout=5)
    try:
        connection.putrequest("POST", f"/v2/models/{t.model.name}/infer")
        connection.putheader("Content-Type", "application/json")
        connection.putheader("Content-Length", str(2**40))
        connection.endheaders(b"{")
        status = connection.getresponse().status
    except TimeoutError:
        raise AssertionError("no answer within 5 s: the server waits for all of it") from None
    finally:
        connection.close()
    assert status == 413, f"status {status}"


def check_deep_json_is_refused(t):
    """RFC 8259, 9: a parser may limit nesting; a limit is a refusal, not an error of the server."""
    refused(*infer(t, t.model, b'{"inputs": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"))


def check_unknown_path_is_404(t):
    """RFC 9110, 15.5.5: 404 where there is no such resource."""
    assert send(t, "GET", "/v2/no-such-path")[0] == 404


def check_wrong_method_is_405(t):
    """RFC 9110, 15.5.6: 405 for a method that a known resource does not support, with Allow."""
    status, headers, _ = send(t, "GET", f"/v2/models/{t.model.name}/infer")
    assert status == 405, f"status {status}"
    assert "POST" in headers.get("allow", ""), f"Allow is {headers.get('allow')!r}"


def check_a_connection_survives_a_refusal(t):
    """RFC 9112, 9.3: connections persist; the request after a refused one is answered on the same connection."""
    connection = http.client.HTTPConnection(urlsplit(t.url).netloc, timeout=PATIENCE)
    path, headers = f"/v2/models/{t.model.name}/infer", {"Content-Type": "application/json"}
    try:
        refused_with, _, _ = exchange(connection, "POST", path, b"{", headers)
        assert refused_with >= 400
        status, _, body = exchange(connection, "POST", path, json.dumps(t.model.request()).encode(), headers)
    finally:
        connection.close()
    assert status == 200, f"status {status}: {body[:200]!r}"
    same(json.loads(body), t.model)


def check_answers_do_not_mix(t):
    """REST, Inference Response: the answer is that of this request; 40 connections at once, each with its own id and batch."""
    import threading

    problems = []

    def one(number):
        batch = 1 + number % 3
        try:
            status, answer = infer(t, t.model, t.model.request(batch, id=str(number)))
            assert status == 200, f"status {status}: {str(answer)[:200]}"
            assert answer.get("id") == str(number), f"id {answer.get('id')!r} came for {number}"
            same(answer, t.model, batch)
        except (AssertionError, OSError, KeyError) as error:
            problems.append(str(error))

    threads = [threading.Thread(target=one, args=(number,)) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems, f"{len(problems)} of 40: {problems[0]}"


def check_metadata_and_answer_agree(t):
    """REST, Model Metadata: "outputs" are the outputs produced by the model."""
    status, answer = infer(t, t.model, t.model.request())
    assert status == 200 and [row["name"] for row in answer["outputs"]] == t.model.outputs
    assert all(len(flatten(row["data"])) for row in answer["outputs"])


if __name__ == "__main__":
    main(sys.modules[__name__])
