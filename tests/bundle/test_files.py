from __future__ import annotations

from pathlib import Path

import pytest

from strop.bundle.files import compare_files, digest_files
from strop.errors import ArtefactError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "artefact" / "inner").mkdir(parents=True)
    (tmp_path / "artefact" / "a.bin").write_bytes(b"weights")
    (tmp_path / "artefact" / "inner" / "b.json").write_text("{}")
    return tmp_path


def test_digests_are_by_path_below_the_artefact(folder: Path) -> None:
    assert set(digest_files(folder)) == {"a.bin", "inner/b.json"}
    compare_files(folder, digest_files(folder))


def test_one_changed_byte_is_found_and_named(folder: Path) -> None:
    expected = digest_files(folder)
    (folder / "artefact" / "a.bin").write_bytes(b"weightz")
    with pytest.raises(ArtefactError, match=r"artefact/a\.bin is damaged"):
        compare_files(folder, expected)


def test_a_missing_and_an_added_file_are_named(folder: Path) -> None:
    expected = digest_files(folder)
    (folder / "artefact" / "inner" / "smuggled.so").write_bytes(b"")
    with pytest.raises(ArtefactError, match=r"artefact/inner/smuggled\.so does not belong"):
        compare_files(folder, expected)
    (folder / "artefact" / "inner" / "smuggled.so").unlink()
    (folder / "artefact" / "a.bin").unlink()
    with pytest.raises(ArtefactError, match=r"artefact/a\.bin is missing"):
        compare_files(folder, expected)


@pytest.mark.parametrize("name", ["../secret", "inner/../../secret", "/etc/passwd", "..\\secret", "C:secret"])
def test_paths_that_leave_the_bundle_are_refused(name: str, folder: Path) -> None:
    (folder / "secret").write_text("x")
    with pytest.raises(ArtefactError, match="outside of the bundle"):
        compare_files(folder, digest_files(folder) | {name: "0" * 64})


def test_links_are_refused(folder: Path) -> None:
    (folder / "outside").write_text("x")
    (folder / "artefact" / "link").symlink_to(folder / "outside")
    with pytest.raises(ArtefactError, match="artefact/link is a link"):
        digest_files(folder)
    (folder / "artefact" / "link").unlink()
    (folder / "artefact").rename(folder / "elsewhere")
    (folder / "artefact").symlink_to(folder / "elsewhere")
    with pytest.raises(ArtefactError, match="no folder artefact/"):
        digest_files(folder)
