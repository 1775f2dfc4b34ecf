"""What counts as a target."""

from strop.measure.target import Target
from strop.testing.tiny import TinyTarget


class Half:
    """Can be run but not asked about its answers."""

    def __init__(self) -> None:
        self.points = {"p": 1}

    def run(self, point: str, index: int) -> None:
        pass


def test_a_target_is_known_by_what_it_can_do() -> None:
    assert isinstance(TinyTarget(), Target)
    assert not isinstance(Half(), Target)


def test_optional_abilities_are_optional() -> None:
    for ability in ("synchronize", "compile_events", "answer_digest", "run_variant"):
        assert not hasattr(Target, ability)
        assert ability in (Target.__doc__ or "")
