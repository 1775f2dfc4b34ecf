"""Where the cache lies."""

from __future__ import annotations

from pathlib import Path

import pytest

from strop.places import cache_folder


@pytest.mark.parametrize(
    ("variables", "wanted"),
    [
        ({"STROP_CACHE": "mine", "XDG_CACHE_HOME": "/xdg", "HOME": "/me"}, "mine"),
        ({"STROP_CACHE": "", "XDG_CACHE_HOME": "/xdg", "HOME": "/me"}, "/xdg/strop"),
        ({"XDG_CACHE_HOME": "", "HOME": "/me"}, "/me/.cache/strop"),
        ({"XDG_CACHE_HOME": "relative", "HOME": "/me"}, "/me/.cache/strop"),
        ({"HOME": "/me"}, "/me/.cache/strop"),
    ],
)
def test_the_cache_lies_where_it_was_named(variables: dict[str, str], wanted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("STROP_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert cache_folder() == Path(wanted)
