"""The balance of requests, and that it can be off."""

from __future__ import annotations

from strop.serve.accounts import Accounts
from strop.serve.request import Outcome


def test_every_request_is_open_or_ended_once() -> None:
    accounts = Accounts()
    for outcome in Outcome:
        accounts.begin()
        assert (accounts.open, accounts.unaccounted) == (1, 0)
        accounts.end(outcome)
    assert (accounts.sent, accounts.open, accounts.unaccounted) == (5, 0, 0)
    assert accounts.ended == dict.fromkeys(Outcome, 1)


def test_a_wrong_word_can_be_corrected() -> None:
    accounts = Accounts()
    accounts.begin()
    accounts.end(Outcome.OK)
    accounts.correct(Outcome.OK, Outcome.FAILED)
    assert (accounts.ended[Outcome.OK], accounts.ended[Outcome.FAILED], accounts.unaccounted) == (0, 1, 0)


def test_a_request_counted_outside_of_the_books_is_noticed() -> None:
    accounts = Accounts()
    accounts.begin()
    accounts.ended[Outcome.OK] += 1
    assert accounts.unaccounted == -1
