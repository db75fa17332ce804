"""The budget: what may be spent in a minute, counted in memory and in Redis."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from community_gql.http import exchange, rate_limit
from community_gql.http import redis as shared
from community_gql.http.rate_limit import Budget, MemoryBudget, RateLimited, key_of
from community_gql.http.redis import RedisBudget
from community_gql.http.server import warn_of_open_trust
from community_gql.identity.development import DevelopmentIssuer
from tests.http.server import free_port
from tests.support import factories as make
from tests.support.client import serving
from tests.support.redis import redis_server

FOUR = "{ users(first: 3) { nodes { id } } }"


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


async def test_a_budget_refills_continuously(clock: Clock) -> None:
    budget = MemoryBudget(600)

    assert await budget.charge("a", 600) == (600, 0, 60)
    with pytest.raises(RateLimited) as refused:
        await budget.charge("a", 100)
    assert (refused.value.wait, refused.value.balance) == (10, (600, 0, 60))
    assert await budget.charge("b", 1) == (600, 599, 1)

    clock.now += 5
    assert await budget.charge("a", 50) == (600, 0, 60)
    clock.now += 9.5
    with pytest.raises(RateLimited):
        await budget.charge("a", 100)
    clock.now += 0.5
    assert (await budget.charge("a", 100)).remaining == 0
    clock.now += 3600
    assert await budget.charge("a", 0) == (600, 600, 0)


@pytest.mark.parametrize(
    ("proxies", "is_said"),
    [
        (("*",), True),
        (("10.0.0.5", "0.0.0.0/0"), True),
        (("::/0",), True),
        (("127.0.0.1", "10.0.0.0/8"), False),
    ],
)
def test_a_budget_for_each_address_that_is_made_up_is_warned_of(
    proxies: tuple[str, ...], is_said: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("WARNING", "community_gql.server"):
        warn_of_open_trust(proxies)
    said = [line.getMessage() for line in caplog.records]
    assert len(said) == is_said
    assert all(f"TRUSTED_PROXIES={','.join(proxies)} believes" in text for text in said)


async def test_what_is_not_there_is_not_spent_on_an_event(clock: Clock) -> None:
    budget = MemoryBudget(600)
    assert budget.spend(["a", "b"], 600) == []
    assert budget.spend(["c", "a", "b"], 1) == [1, 2]
    clock.now += 0.2
    assert budget.spend(["a", "a", "c", "a"], 1) == [3]
    assert (await budget.charge("c", 1)).remaining == 598
    clock.now += 120
    assert (await budget.charge("a", 1)).remaining == 599


async def test_the_buckets_are_bounded(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limit, "_MAX_BUCKETS", 10)
    budget = MemoryBudget(600)
    for number in range(100):
        await budget.charge(str(number), 1)
        await budget.charge("often", 1)
    assert len(budget._young) + len(budget._old) <= 10
    assert (await budget.charge("often", 1)).remaining == 600 - 101
    assert (await budget.charge("99", 1)).remaining == 600 - 2
    assert (await budget.charge("0", 1)).remaining == 600 - 1
    keys = [str(number) for number in range(100, 200)]
    assert budget.spend([*keys, *keys[-3:]], 500) == [100, 101, 102]
    assert len(budget._young) + len(budget._old) <= 10


def test_whose_budget_it_is() -> None:
    assert key_of("auth0|a", "192.0.2.1") == "person:auth0|a"
    assert key_of(None, "192.0.2.1") == key_of(None, "::ffff:192.0.2.1") == "address:192.0.2.1"
    assert key_of(None, "2001:db8:1:2:3::4") == key_of(None, "2001:db8:1:2:ffff::1")
    assert key_of(None, "2001:db8:1:3::1") != key_of(None, "2001:db8:1:2::1")
    assert key_of(None, None) == "address:None"


@pytest.fixture
def no_charge_for_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "POINTS_PER_MILLISECOND", 0)


@pytest.mark.usefixtures("no_charge_for_time")
async def test_what_is_spent_is_told_and_too_much_is_429(
    database_url: str, issuer: DevelopmentIssuer, db: Any
) -> None:
    anna, ben = await make.person(db, "Anna"), await make.person(db, "Ben")
    async with serving(database_url, issuer, cost_per_minute=10) as api:
        await api(FOUR, ben)  # the first to send a document pays for reading it
        first, second, third = [await api(FOUR) for _ in range(3)]
        hers = await api(FOUR, anna)

    spent = [answer.response.headers["ratelimit-remaining"] for answer in (first, second, hers)]
    assert spent == ["6", "2", "6"]
    assert first.response.headers["ratelimit-limit"] == "10"
    assert int(first.response.headers["ratelimit-reset"]) == 24
    assert (third.status, third.codes) == (429, ["RATE_LIMITED"])
    assert third.statements == []
    assert int(third.response.headers["retry-after"]) in range(1, 13)
    assert third.response.headers["ratelimit-remaining"] == "2"


async def test_what_cannot_be_run_is_charged_too(
    database_url: str, issuer: DevelopmentIssuer
) -> None:
    async with serving(database_url, issuer, cost_per_minute=2500) as api:
        coerced = "query($n: Int) { users(first: $n) { totalCount } }"
        answers = [await api("{ nope }"), await api(coerced, n="x"), await api("{ nope }")]

    assert [answer.status for answer in answers] == [422, 422, 429]


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Redis of its own, from Debian's ``redis-server``."""
    port = free_port()
    with redis_server(port, tmp_path_factory.mktemp("redis")):
        yield f"redis://127.0.0.1:{port}/0"


async def test_redis_counts_for_several_processes(redis: str) -> None:
    here, there = RedisBudget(redis, 1000), RedisBudget(redis, 1000)
    try:
        first, second = await here.charge("a", 600), await there.charge("a", 300)
        assert (first.limit, first.remaining, second.remaining) == (1000, 400, 100)
        with pytest.raises(RateLimited) as refused:
            await here.charge("a", 300)
        assert refused.value.balance.remaining == 100
        assert 1 <= refused.value.wait <= 60
        assert (await there.charge("b", 1)).remaining == 999
        # What was done already takes all that is left.
        assert (await here.debit("a", 5000)).remaining == 0
    finally:
        await here.close()
        await there.close()


@pytest.mark.usefixtures("no_charge_for_time")
async def test_the_app_counts_in_redis_when_it_is_configured(
    database_url: str, issuer: DevelopmentIssuer, db: Any, redis: str
) -> None:
    options: dict[str, Any] = {"redis_url": f"{redis[:-1]}1", "cost_per_minute": 10}
    async with (
        serving(database_url, issuer, **options) as one,
        serving(database_url, issuer, **options) as other,
    ):
        for app, name in ((one, "Ben"), (other, "Cleo")):
            await app(FOUR, await make.person(db, name))  # who pays for reading it
        answers = [await one(FOUR), await other(FOUR), await one(FOUR)]

    assert [answer.status for answer in answers] == [200, 200, 429]
    assert answers[2].codes == ["RATE_LIMITED"]


async def test_without_redis_each_process_counts(caplog: pytest.LogCaptureFixture) -> None:
    budget: Budget = RedisBudget(f"redis://127.0.0.1:{free_port()}/0", 1000)
    left = [(await budget.charge("a", 300)).remaining for _ in range(3)]
    with pytest.raises(RateLimited):
        await budget.charge("a", 300)
    assert (await budget.debit("a", 300)).remaining == 0
    await budget.close()

    assert all(abs(a - b) <= 20 for a, b in zip(left, (700, 400, 100), strict=True))
    assert [record.levelname for record in caplog.records] == ["WARNING"]


async def test_nobody_waits_for_a_redis_that_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(shared, "_PING_SECONDS", 0.1)
    port = free_port()
    budget = RedisBudget(f"redis://127.0.0.1:{port}/0", 1000)
    with redis_server(port, tmp_path) as process:
        assert (await budget.charge("a", 100)).remaining == 900
        process.send_signal(signal.SIGSTOP)
        for _ in range(3):
            await budget.charge("b", 1)
        start = time.monotonic()
        for _ in range(100):
            await budget.charge("b", 1)
        assert time.monotonic() - start < 0.4

        process.send_signal(signal.SIGCONT)
        for _ in range(100):
            if "counted in Redis again" in caplog.text:
                break
            await asyncio.sleep(0.1)
        assert (await budget.charge("a", 100)).remaining in range(780, 920)
        assert (await budget.charge("b", 1)).remaining > 990  # Redis knows of no 103
        await budget.close()
