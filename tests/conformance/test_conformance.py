"""What a server of the Open Inference Protocol v2 must do, seen by the clients people use. Needs ``--url``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.conformance.conftest import PACKAGES, checks_of, option

if TYPE_CHECKING:
    from tests.conformance.conftest import Ask

CASES = [
    pytest.param(client, check, marks=[pytest.mark.slow] if packages else [], id=f"{client}-{check}")
    for client, packages in PACKAGES.items()
    for check in checks_of(client)
]


@pytest.mark.parametrize(("client", "check"), CASES)
def test_the_server_keeps_the_protocol(client: str, check: str, ask: Ask, request: pytest.FixtureRequest) -> None:
    url, grpc, models = (option(request.config, name) for name in ("--url", "--grpc", "--models"))
    said = ask(client, url, grpc, models)[check]
    if not said.offered:
        pytest.skip(f"not offered: {said.problem}")
    if said.problem is not None:
        pytest.fail(f"{said.says}\n{said.problem}", pytrace=False)
