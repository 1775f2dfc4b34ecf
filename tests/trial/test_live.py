"""Objects of a notebook: handed to child processes through a private pipe, and never on a disk."""

from __future__ import annotations

import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import strop
from strop.contract.recipe import Recipe
from strop.errors import WorkloadError
from strop.pipeline import Outcome
from strop.testing.models import Mlp
from strop.trial.live import LiveObject, fetch
from strop.trial.materials import build_model, materialise
from strop.trial.reference import Reference

NOTEBOOK = """
import subprocess, sys
from strop.trial.live import LiveObject

class Cell:
    def __init__(self, word):
        self.word = word
    def shout(self):
        return self.word.upper()

fetching = "import sys; from strop.trial.live import fetch; print(fetch(sys.argv[1]).shout())"
with LiveObject(Cell("written in a cell")) as live:
    subprocess.run([sys.executable, "-c", fetching, live.address], check=True)
"""


def test_classes_of_a_notebook_travel_by_value() -> None:
    done = subprocess.run([sys.executable, "-"], input=NOTEBOOK, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "WRITTEN IN A CELL"


def test_an_object_can_be_fetched_as_often_as_processes_ask() -> None:
    value = {"字": list(range(100_000))}
    with LiveObject(value) as live:
        assert [fetch(live.address) for _ in range(3)] == [value] * 3


def test_a_receiver_that_leaves_halfway_does_not_end_the_service() -> None:
    with LiveObject(bytes(64 << 20)) as live:  # far more than a socket's buffer, so that sending breaks off
        for _ in range(2):
            with socket.socket(socket.AF_UNIX) as leaver:
                leaver.settimeout(60)
                leaver.connect(live.address)
                leaver.recv(1)
        assert len(fetched_within(live.address, 60)) == 64 << 20


def fetched_within(address: str, seconds: float) -> Any:
    """Fetch in a thread: a service that has ended leaves its callers waiting for ever."""
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(fetch(address)), daemon=True)
    thread.start()
    thread.join(seconds)
    assert found, "nobody answers any more"
    return found[0]


def test_an_object_that_cannot_travel_is_told_with_the_remedy() -> None:
    with pytest.raises(WorkloadError, match=r"cannot be handed to another process \(.*lock.*\); put it in a file"):
        LiveObject({"lock": threading.Lock()})


def test_nothing_but_a_socket_in_a_folder_of_this_user_alone_is_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with LiveObject("a secret") as live:
        (folder,) = tmp_path.iterdir()
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert [path for path in tmp_path.rglob("*") if path != folder] == [Path(live.address)]
        assert Path(live.address).is_socket()
    assert list(tmp_path.iterdir()) == []


def test_an_address_that_the_system_finds_too_long_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path / ("深" * 40)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    with pytest.raises(WorkloadError, match=r"the temporary folder .* Set TMPDIR to a shorter path"), LiveObject(1):
        pass
    assert list(deep.iterdir()) == []


def test_the_service_ends_with_its_context() -> None:
    with LiveObject(bytes(1 << 20)) as live:
        thread = next(t for t in threading.enumerate() if t.name == "strop-live")
        address = live.address
        fetch(address)
        time.sleep(0.1)  # so that it waits for the next caller, which is what it must be woken from
    thread.join(20)
    assert not thread.is_alive(), "the thread, and with it the object, is kept for ever"
    with pytest.raises(WorkloadError, match="live object of a process that has ended; only file references can be replayed"):
        fetch(address)


def test_a_sender_that_stops_halfway_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("live")
        server.listen()

        def stop_halfway() -> None:
            with server.accept()[0] as connection:
                connection.sendall(b"\0" * 7 + b"\x09" + b"half")

        threading.Thread(target=stop_halfway, daemon=True).start()
        with pytest.raises(WorkloadError, match="process that has ended") as caught:
            fetch("live")
        assert "closed early" in str(caught.value.__cause__)


def live_workload(net: torch.nn.Module) -> strop.InferenceWorkload:
    draws = [torch.randn(4, 16, generator=torch.Generator().manual_seed(n)) for n in range(8)]
    splits = {name: strop.Split(inputs=draws[n : n + 2]) for n, name in ((2, "calibration"), (4, "screening"), (6, "confirming"))}
    return strop.InferenceWorkload(model=lambda: net, inputs={"all": draws[:2]}, **splits)


def test_a_live_model_is_prepared_untouched_and_reaches_no_disk(
    place: Any, kit: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole way: pipe, data on disk, both ways of preparing; then the same again when the pipe is gone."""
    scratch = place.folder / "tmp"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    net = Mlp().train()
    net.note = "a secret of " + "this notebook"
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    modules = [(name, type(module)) for name, module in net.named_modules()]
    with LiveObject(live_workload(net)) as live:
        reference = Reference(kind="live", value=live.address)
        workload = reference.load()
        model = build_model(workload, 0)
        assert model.note == net.note
        materials = materialise(workload, model, place.folder / "材料 data")
        shop = place.shop(reference, materials)
        original = shop.prepare_original(workload, model)
        (fused,) = shop.prepare([Recipe([kit.fuse()])], 300)
        assert (original.ready, fused.preparation.tallies) == (True, {"kernel_fusion": {"linear+activation": 1}})
    assert net.training
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    assert [(name, type(module)) for name, module in net.named_modules()] == modules
    written = [path for path in place.folder.rglob("*") if path.is_file()]
    assert len(written) > 8
    assert [path for path in written if net.note.encode() in path.read_bytes()] == []

    (late,) = shop.prepare([Recipe([kit.fuse(2)])], 300)
    assert late.preparation.outcome is Outcome.FAILED
    assert "live object of a process that has ended; only file references can be replayed" in late.preparation.reason
