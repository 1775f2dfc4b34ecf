from __future__ import annotations

from strop.contract.service import Service
from strop.serve.policy import policy_of


def test_as_it_comes_every_request_is_a_call_of_its_own() -> None:
    policy = policy_of(Service())
    assert (policy.max_rows, policy.objective) == (1, 0.1)


def test_every_setting_reaches_the_scheduler() -> None:
    service = Service(objective=0.2, executors=2, max_rows=64, first_rows=32, min_rows=8, scale=1.5, headroom=0.2)
    policy = policy_of(service)
    assert all(getattr(policy, name) == getattr(service, name) for name in Service.__dataclass_fields__)
