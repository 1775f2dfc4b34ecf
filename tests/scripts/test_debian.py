"""Bringing programs: the real package manager is asked by the tests that need Prometheus; here it is one that is planted."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts import debian
from scripts.debian import ProgramAbsentError


def planted(folder: Path, monkeypatch: pytest.MonkeyPatch, **scripts: str) -> Path:
    """Put programs of the test's own on the path, before the shell's; return their log."""
    folder.mkdir()
    log = folder / "log"
    for name, text in scripts.items():
        script = folder / name.replace("_", "-")
        script.write_text(f'#!/bin/sh\necho {name} "$@" >> "{log}"\n{text}\n')
        script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setattr(debian.shutil, "which", lambda name: str(folder / name) if (folder / name).exists() else None)
    monkeypatch.setenv("STROP_CACHE", str(folder / "cache"))
    return log


UNPACK = 'mkdir -p "$3/usr/bin" && touch "$3/usr/bin/promtool" "$3/usr/bin/prometheus"'


def test_prometheus_is_fetched_once_and_unpacked_into_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = planted(tmp_path / "bin", monkeypatch, apt_get="touch prometheus_1_all.deb", dpkg_deb=UNPACK)
    folder = debian.prometheus()
    assert (folder / "promtool").exists() and folder.is_relative_to(tmp_path / "bin" / "cache")
    assert debian.prometheus() == folder
    assert log.read_text().count("apt_get download prometheus") == 1
    assert [path.name for path in (tmp_path / "bin" / "cache").iterdir()] == ["prometheus"], "nothing else is left"


def test_lists_of_packages_are_read_when_they_do_not_know_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = (
        '[ "$1" = update ] && touch "$(dirname "$0")/known" && exit 0; [ -e "$(dirname "$0")/known" ] && touch prometheus_1.deb'
    )
    log = planted(tmp_path / "bin", monkeypatch, apt_get=script, dpkg_deb=UNPACK)
    debian.prometheus()
    assert [line.split()[1] for line in log.read_text().splitlines()][:3] == ["download", "update", "download"]


def test_what_the_package_manager_says_is_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planted(tmp_path / "bin", monkeypatch, apt_get="echo no such package >&2; exit 100")
    with pytest.raises(ProgramAbsentError, match="apt-get update failed: no such package"):
        debian.prometheus()
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    with pytest.raises(ProgramAbsentError, match="this needs Debian or Ubuntu"):
        debian.prometheus()


def test_what_is_on_the_path_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = planted(tmp_path / "bin", monkeypatch, promtool="", prometheus="", chromium="")
    assert debian.prometheus() == tmp_path / "bin"
    assert debian.browser() == tmp_path / "bin" / "chromium"
    assert not log.exists()


def test_usage_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert debian.main(["grafana"]) == 2
    assert "usage:" in capsys.readouterr().err
