"""Arrays through nameless memory: whole, aligned, never outside of it, and nothing left behind."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import numpy as np
import pytest

from strop.serve.arena import ALIGN, SMALLEST, Arena, ArenaError


def test_arrays_of_any_kind_come_out_as_they_went_in() -> None:
    writer = Arena()
    reader = Arena(os.dup(writer.fd))
    sent = [
        np.arange(6, dtype=np.int64).reshape(2, 3),
        np.array([True, False]),
        np.float32(1.5) * np.ones((), np.float32),
        np.ones((4, 6), np.float16)[:, ::2],
        np.array([[1, 2]], dtype=">i4"),
    ]
    places = writer.write(sent)
    assert all(start % ALIGN == 0 for _, _, start in places)
    for came, array in zip(reader.read(places), sent, strict=True):
        assert (came.dtype, came.shape) == (array.dtype, array.shape)
        assert np.array_equal(came, array)
    writer.close()
    reader.close()


def test_memory_grows_on_both_sides_and_cannot_be_taken_away() -> None:
    writer = Arena()
    reader = Arena(os.dup(writer.fd))
    small = reader.read(writer.write([np.ones(4)]))
    large = np.random.default_rng(0).random(SMALLEST)
    assert np.array_equal(reader.read(writer.write([large]))[0], large)
    assert small[0].shape == (4,)
    with pytest.raises(PermissionError):
        os.ftruncate(writer.fd, 0)


@pytest.mark.parametrize(
    "place",
    [["<f4", [1 << 40], 0], ["<f4", [4], SMALLEST - 8], ["<f4", [4], -64], ["<f4", [-1, -8], 0], ["|O", [1], 0]],
)
def test_places_outside_of_the_memory_are_refused(place: list[object]) -> None:
    with pytest.raises(ArenaError, match="does not lie within"):
        Arena().read([place])


def test_it_has_no_name_and_goes_with_its_last_array() -> None:
    def held() -> tuple[int, int]:
        maps = Path("/proc/self/maps").read_text(encoding="utf-8")
        return maps.count("memfd:strop"), len(list(Path("/proc/self/fd").iterdir()))

    before = held()
    arena = Arena()
    (kept,) = arena.read(arena.write([np.ones(mmap.PAGESIZE)]))
    arena.close()
    arena.close()
    assert held()[0] == before[0] + 1
    assert kept.sum() == mmap.PAGESIZE
    del kept
    assert held() == before
