import pytest
from starlette.requests import Request

from generation.callers import NOBODY, Allowance, Caller, CallerLimit, caller_of
from kit.problems import Problem

ADA, SHOP = Caller("10.0.0.1"), Caller("10.0.0.2", "shop")


def request(*headers: tuple[str, str], client: tuple[str, int] | None = ("10.0.0.1", 5)) -> Request:
    raw = [(name.lower().encode(), value.encode()) for name, value in headers]
    return Request({"type": "http", "headers": raw, "client": client})


def limit(**allowances: Allowance) -> CallerLimit:
    return CallerLimit(**({kind: Allowance() for kind in ("reader", "key", "address")} | allowances))


def test_a_caller_is_known_by_key_and_address_and_the_key_is_not_kept() -> None:
    caller = caller_of(request(("Authorization", "Bearer sk-secret")))
    assert caller.address == "10.0.0.1"
    assert caller.key
    assert "secret" not in repr(caller)
    assert caller == caller_of(request(("authorization", "bearer  sk-secret")))
    assert caller != caller_of(request(("Authorization", "Bearer sk-other")))
    assert caller.source == caller.key


@pytest.mark.parametrize("headers", [[], [("Authorization", "Bearer ")], [("Authorization", "Basic YTpi")]])
def test_without_a_key_it_is_the_address(headers: list[tuple[str, str]]) -> None:
    assert caller_of(request(*headers)) == Caller("10.0.0.1")
    assert caller_of(request(*headers)).source == "10.0.0.1"
    assert caller_of(request(*headers, client=None)) == NOBODY


def test_a_reader_who_has_enough_requests_in_flight_is_told_to_come_back_and_others_are_served() -> None:
    limits = limit(reader=Allowance(requests=1))
    with limits.admitted(ADA, "ada", 60):
        with pytest.raises(Problem) as raised, limits.admitted(SHOP, "ada", 60):
            pass
        with limits.admitted(ADA, "bob", 60), limits.admitted(ADA, None, 60), limits.admitted(NOBODY, None, 60):
            pass
    assert (raised.value.status, raised.value.retry_after_s) == (429, 1)
    with limits.admitted(ADA, "ada", 60):
        pass


@pytest.mark.parametrize("kind", ["key", "address"])
def test_a_key_and_an_address_have_bounds_of_their_own(kind: str) -> None:
    limits = limit(**{kind: Allowance(requests=2)})
    with limits.admitted(SHOP, "a", 60), limits.admitted(SHOP, "b", 60):
        with pytest.raises(Problem, match=kind), limits.admitted(SHOP, "c", 60):
            pass
        with limits.admitted(Caller("10.0.0.9", "other"), "c", 60):
            pass


def test_tokens_in_flight_are_bounded_and_the_only_request_is_never_too_much() -> None:
    limits = limit(reader=Allowance(tokens=100))
    with limits.admitted(ADA, "ada", 500), pytest.raises(Problem, match="500 tokens"), limits.admitted(ADA, "ada", 1):
        pass
    with limits.admitted(ADA, "ada", 60), limits.admitted(ADA, "ada", 40), pytest.raises(Problem):
        limits.admitted(ADA, "ada", 1).__enter__()


def test_nothing_is_kept_of_who_has_nothing_in_flight() -> None:
    limits = limit()
    for number in range(100):
        with limits.admitted(ADA, f"reader-{number}", 60):
            pass
    assert not limits._requests
    assert not limits._tokens
