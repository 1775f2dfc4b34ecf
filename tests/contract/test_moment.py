"""The life of a trial: its order is what the docstring says, and each moment has one method."""

from __future__ import annotations

import re

from strop.contract.moment import Moment


def test_the_docstring_tells_the_same_order_as_the_enum() -> None:
    told = re.findall(r"^ {8}([A-Z]+) {2,}\S", Moment.__doc__ or "", flags=re.MULTILINE)
    assert told == [moment.name for moment in Moment] == [moment.name for moment in sorted(Moment)]


def test_training_is_over_before_the_model_is_frozen_and_options_come_after_the_artefact() -> None:
    assert Moment.LOOP < Moment.FINISH < Moment.FREEZE < Moment.LOWER < Moment.ENGINE < Moment.SERVE
    assert min(Moment) is Moment.DATA


def test_each_moment_has_a_method_of_its_own() -> None:
    methods = [moment.method for moment in Moment]
    assert len(set(methods)) == len(methods)
    assert Moment.LOWER.method == "at_lower"
    assert all(re.fullmatch(r"at_[a-z]+", method) for method in methods)
