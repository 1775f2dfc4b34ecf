"""The messages by themselves; that they agree with the clients' own is tested where those clients are installed."""

from __future__ import annotations

import subprocess
import sys

import pytest
from google.protobuf import descriptor_pool

from strop.serve.grpc_messages import MESSAGES, retry_details


def test_the_pool_of_the_process_is_left_alone() -> None:
    assert MESSAGES["ModelInferRequest"].DESCRIPTOR.full_name == "inference.ModelInferRequest"
    with pytest.raises(KeyError):
        descriptor_pool.Default().FindMessageTypeByName("inference.ModelInferRequest")


def test_a_request_is_the_bytes_that_the_specification_says() -> None:
    message = MESSAGES["ModelInferRequest"](model_name="m", inputs=[{"name": "x", "shape": [1]}], raw_input_contents=[b"\1"])
    message.parameters["p"].int64_param = 5
    assert (
        message.SerializeToString(deterministic=True)
        == b"\x0a\x01m\x22\x07\x0a\x01p\x12\x02\x10\x05*\x06\x0a\x01x\x1a\x01\x01:\x01\x01"
    )


def test_of_a_parameter_one_kind_is_set() -> None:
    parameter = MESSAGES["InferParameter"](bool_param=False)
    assert parameter.WhichOneof("choice") == "bool_param"
    parameter.string_param = ""
    assert parameter.WhichOneof("choice") == "string_param"


def test_when_to_retry_is_said_to_the_millisecond() -> None:
    status = MESSAGES["Status"].FromString(retry_details(8, "later", 1.25))
    (detail,) = status.details
    assert (status.code, status.message) == (8, "later")
    assert detail.type_url.endswith("/google.rpc.RetryInfo")
    delay = MESSAGES["RetryInfo"].FromString(detail.value).retry_delay
    assert (delay.seconds, delay.nanos) == (1, 250_000_000)


def test_without_the_package_the_extra_is_named() -> None:
    code = "import sys; sys.modules['google.protobuf'] = None; import strop.serve.grpc_messages"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "gRPC needs packages that are not installed. Run: pip install 'strop[serve]'" in done.stderr
