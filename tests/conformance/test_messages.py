"""Our messages beside those that clients generate: both in one process, field for field the same, bytes for bytes."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "src"
ORDERS = ("{ours}\n{theirs}", "{theirs}\n{ours}")
OURS = "from strop.serve.grpc_messages import MESSAGES"
THEIRS = {
    "triton_grpc": "import tritonclient.grpc\nfrom tritonclient.grpc import service_pb2 as theirs, model_config_pb2 as more",
    "kserve_client": "import kserve\nfrom kserve.protocol.grpc import grpc_predict_v2_pb2 as theirs\nmore = theirs",
}
OTHERS = {"Any", "Duration", "HealthCheckRequest", "HealthCheckResponse", "RetryInfo", "Status"}
NVIDIA = {
    "ModelConfig", "ModelConfigRequest", "ModelConfigResponse", "ModelIndex", "ModelInput", "ModelOutput",
    "RepositoryIndexRequest", "RepositoryIndexResponse",
}  # fmt: skip
ABSENT = {"triton_grpc": OTHERS, "kserve_client": OTHERS | NVIDIA}
"""Client → those of our messages that it does not have."""

COMPARE = """
found = {}
def walk(descriptors):
    for d in descriptors:
        found[d.name] = d
        walk(d.nested_types)
for module in (theirs, more):
    walk(module.DESCRIPTOR.message_types_by_name.values())
INT32, ENUM = 5, 14
def rows(d):
    return {f.name: (f.number, INT32 if f.type == ENUM else f.type, f.is_repeated) for f in d.fields}
absent, wrong = set(), []
for name, kind in MESSAGES.items():
    if name not in found:
        absent.add(name)
        continue
    mine, other = rows(kind.DESCRIPTOR), rows(found[name])
    wrong += [(name, f, row) for f, row in mine.items() if other.get(f, row) != row]
    taken = {row[0] for f, row in other.items() if f not in mine}
    wrong += [(name, f, row) for f, row in mine.items() if row[0] in taken]
print(sorted(absent), wrong)
request = theirs.ModelInferRequest(model_name="m", id="é", raw_input_contents=[b"12"])
request.inputs.add(name="x", datatype="FP32", shape=[1, -2]).contents.fp32_contents.extend([1.5, 2.5])
request.parameters["timeout"].int64_param = 7
request.outputs.add(name="y").parameters["binary_data"].bool_param = False
read = MESSAGES["ModelInferRequest"].FromString(request.SerializeToString())
assert theirs.ModelInferRequest.FromString(read.SerializeToString()) == request
assert read.inputs[0].shape == [1, -2] and read.parameters["timeout"].int64_param == 7
"""


@pytest.mark.slow
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("client", THEIRS)
def test_ours_and_a_client_s_live_in_one_process_and_agree(client: str, order: str, interpreter: Callable[[str], str]) -> None:
    code = order.format(ours=OURS, theirs=THEIRS[client]) + COMPARE
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    command = [interpreter(client), "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, f"{sorted(ABSENT[client])} []"), done.stderr
