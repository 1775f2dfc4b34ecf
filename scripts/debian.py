"""Bring programs that tests drive from Debian's packages: Prometheus without installing it, a browser by installing it.

usage: python scripts/debian.py prometheus | chromium

Prints where the program lies. What is on the path already is used; otherwise Prometheus is unpacked into the user's
cache folder (19 MB to fetch, no rights needed), while a browser needs libraries of the system and is installed
(about 100 MB to fetch, as root).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from strop.errors import StropError
from strop.places import cache_folder

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


class ProgramAbsentError(StropError):
    """A program is not on this machine and could not be brought."""


def main(arguments: list[str]) -> int:
    """Bring the program named on the command line; return the exit code."""
    if arguments == ["prometheus"]:
        print(prometheus())
    elif arguments == ["chromium"]:
        print(browser() or install_browser())
    else:
        print("usage: python scripts/debian.py prometheus | chromium", file=sys.stderr)
        return 2
    return 0


def prometheus() -> Path:
    """Return the folder that holds ``prometheus`` and ``promtool``, unpacking Debian's package when it is not there yet.

    Raises:
        ProgramAbsentError: this is not a Debian system, or the package cannot be fetched.
    """
    found = shutil.which("promtool")
    if found and shutil.which("prometheus"):
        return Path(found).parent
    folder = cache_folder() / "prometheus"
    if not (folder / "usr/bin/promtool").exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as place:
            package = _downloaded("prometheus", Path(place))
            _run(["dpkg-deb", "-x", str(package), str(Path(place) / "tree")])
            shutil.rmtree(folder, ignore_errors=True)
            (Path(place) / "tree").replace(folder)
    return folder / "usr" / "bin"


def browser() -> Path | None:
    """Return a browser of the Chromium family that is on the path, or ``None``."""
    found = next((path for path in map(shutil.which, BROWSERS) if path), None)
    return Path(found) if found else None


def install_browser() -> Path:
    """Install Chromium as root and return it.

    Raises:
        ProgramAbsentError: there are no rights to, or the package cannot be fetched.
    """
    command = ["apt-get", "install", "--yes", "--no-install-recommends", "chromium"]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        _run(command, environment=environment)
    except ProgramAbsentError:
        _run(["apt-get", "update"])
        _run(command, environment=environment)
    found = browser()
    if found is None:
        raise ProgramAbsentError(f"apt-get installed chromium, but none of {', '.join(BROWSERS)} is on the path.")
    return found


def _downloaded(package: str, folder: Path) -> Path:
    """Fetch a package into a folder, reading the lists of packages anew only where they do not know it."""
    try:
        _run(["apt-get", "download", package], folder)
    except ProgramAbsentError:
        _run(["apt-get", "update"])
        _run(["apt-get", "download", package], folder)
    return next(folder.glob(f"{package}_*.deb"))


def _run(command: list[str], folder: Path | None = None, environment: dict[str, str] | None = None) -> None:
    try:
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=900)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ProgramAbsentError(f"{command[0]} could not be run ({error}); this needs Debian or Ubuntu.") from error
    if done.returncode:
        raise ProgramAbsentError(f"{' '.join(command)} failed: {done.stderr.strip()[-300:]}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
