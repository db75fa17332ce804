"""GraphQL over WebSocket: what the protocol and its limits ask for, with clients over TCP.

What is told to whom is tested in ``tests/operations``; here ``Script`` stands for it where a test
must decide when something is told.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import json
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import asyncpg
import httpx
import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Frame, Opcode

from community_gql.errors import Unavailable
from community_gql.http.limits import LiveLimits, open_files
from community_gql.http.sockets import Operation, Socket
from community_gql.http.websocket import MAX_FRAMES, MAX_MESSAGE_BYTES
from community_gql.identity.development import DevelopmentIssuer
from community_gql.identity.sessions import COOKIE, remember
from community_gql.operations.live import EndReason, Subscription
from community_gql.operations.subscriptions import MAX_WRITTEN, Delivery
from tests.http.script import FOLLOW, Script, Scripted, script
from tests.support import factories as make
from tests.support.listening import HOST, PROTOCOL, Listening, init, listening, opened
from tests.support.waiting import until

HURRIED = LiveLimits(
    init_timeout=0.3, ping_interval=0.3, pong_timeout=0.3, read_timeout=0.6, comment_interval=0.2
)
ASK = "{ __typename }"


@pytest.fixture
async def server(database_url: str, issuer: DevelopmentIssuer) -> AsyncIterator[Listening]:
    async with listening(database_url, issuer, live=Script) as running:
        yield running


@pytest.fixture
async def hurried(database_url: str, issuer: DevelopmentIssuer) -> AsyncIterator[Listening]:
    async with listening(database_url, issuer, live=Script, limits=HURRIED) as running:
        yield running


def subscribe(id_: str, query: str, **payload: Any) -> str:
    return json.dumps({"type": "subscribe", "id": id_, "payload": {"query": query, **payload}})


def masked(text: str) -> bytes:
    """A message as a client's bytes."""
    return Frame(Opcode.TEXT, text.encode()).serialize(mask=True)


async def told(client: ClientConnection) -> Any:
    return json.loads(await asyncio.wait_for(client.recv(), 20))


async def closing(client: ClientConnection) -> int:
    """The code that the server closes with."""
    await asyncio.wait_for(client.wait_closed(), 20)
    assert client.close_code is not None
    return client.close_code


# --- the handshake ---


CONNECTING: list[tuple[dict[str, Any], int]] = [
    ({"subprotocols": None}, 400),
    ({"subprotocols": ["graphql-ws"]}, 400),
    ({"origin": "https://evil.example"}, 403),
    ({"origin": "null"}, 403),
    ({"origin": "https://app.example.com"}, 101),
    ({}, 101),
]


async def test_who_may_connect(database_url: str, issuer: DevelopmentIssuer) -> None:
    origins = "https://app.example.com"
    async with listening(database_url, issuer, live=Script, cors_origins=origins) as server:
        for options, status in [*CONNECTING, ({"origin": server.url}, 101)]:
            if status == 101:
                async with server.connect(**options) as client:
                    assert client.subprotocol == PROTOCOL
                    await client.send(init())
                    assert await told(client) == {"type": "connection_ack"}
                continue
            with pytest.raises(InvalidStatus) as refused:
                await server.connect(**options)
            assert refused.value.response.status_code == status, options
            (error,) = json.loads(refused.value.response.body or b"")["errors"]
            assert error["extensions"] == {"code": "BAD_REQUEST"}


HANDSHAKE = (
    b"GET %b HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n"
    b"Sec-WebSocket-Version: %b\r\nSec-WebSocket-Key: %b\r\n"
    b"Sec-WebSocket-Protocol: other, graphql-transport-ws\r\n%b\r\n"
)
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="


HANDSHAKES: list[tuple[bytes, int]] = [
    (HANDSHAKE % (b"/graphql", b"13", KEY, b""), 101),
    (HANDSHAKE % (b"/?x=y", b"13", KEY, b""), 101),
    (HANDSHAKE % (b"/graphql", b"12", KEY, b""), 400),
    (HANDSHAKE % (b"/graphql", b"13", b"short", b""), 400),
    (HANDSHAKE % (b"/healthz", b"13", KEY, b""), 200),
    (HANDSHAKE % (b"/nowhere", b"13", KEY, b""), 404),
    (b"POST" + (HANDSHAKE % (b"/graphql", b"13", KEY, b""))[3:], 406),
    (HANDSHAKE % (b"/graphql", b"13", KEY, b"Content-Length: 3\r\n") + b"abc", 406),
    (HANDSHAKE % (b"/graphql", b"13", KEY, b"Origin: a\r\nOrigin: b\r\n"), 403),
]


async def test_handshakes_as_bytes(server: Listening) -> None:
    for request, status in HANDSHAKES:
        reader, writer = await asyncio.open_connection(HOST, server.port)
        writer.write(request.replace(b"\r\n\r\n", b"\r\nAccept: image/png\r\n\r\n", 1))
        line = await asyncio.wait_for(reader.readline(), 20)
        assert int(line.split()[1]) == status, request
        writer.close()


async def test_frames_that_come_with_the_handshake_are_read(server: Listening) -> None:
    reader, writer = await asyncio.open_connection(HOST, server.port)
    writer.write(HANDSHAKE % (b"/graphql", b"13", KEY, b"") + masked(init()))
    await asyncio.wait_for(reader.readuntil(b'{"type":"connection_ack"}'), 20)
    writer.close()


async def test_the_connection_does_not_count_as_one_for_requests(
    database_url: str, issuer: DevelopmentIssuer
) -> None:
    async with listening(
        database_url, issuer, live=Script, max_connections_per_address=3, trusted_proxies="10.0.0.1"
    ) as server:
        clients = [await server.connect() for _ in range(8)]
        assert (await asked(server)).status_code == 200
        for client in clients:
            await client.send(init())
            assert await told(client) == {"type": "connection_ack"}
            await client.close()
        assert not server.server.server_state.connections


async def asked(server: Listening, query: str = ASK, **options: Any) -> httpx.Response:
    async with httpx.AsyncClient() as http:
        return await http.post(f"{server.url}/graphql", json={"query": query}, **options)


# --- who it is ---


async def test_the_token_is_in_the_payload(server: Listening, db: asyncpg.Connection) -> None:
    ada = await make.person(db, "Ada")
    for payload in (
        '{"Authorization": "TOKEN"}',
        '{"AUTHORIZATION": "TOKEN"}',
        '{"headers": {"authorization": "TOKEN"}}',
        '{"authorization": "", "headers": {"Authorization": "TOKEN"}}',
    ):
        async with server.connect() as client:
            token = payload.replace("TOKEN", server.bearer(ada.sub))
            await client.send('{"type":"connection_init","payload":%s}' % token)
            assert await told(client) == {"type": "connection_ack"}
            assert await emailed(client) == ada.email


async def emailed(client: ClientConnection) -> str | None:
    """The e-mail address of whom the server takes the client for."""
    await client.send(subscribe("who", "{ viewer { email } }"))
    answer = await told(client)
    assert await told(client) == {"id": "who", "type": "complete"}
    viewer = answer["payload"]["data"]["viewer"]
    return viewer and str(viewer["email"])


async def test_the_payload_counts_before_the_handshake(
    server: Listening, db: asyncpg.Connection
) -> None:
    ada, ben = await make.person(db, "Ada"), await make.person(db, "Ben")
    header = {"Authorization": server.bearer(ben.sub)}
    for payload, expected in ((init(server.bearer(ada.sub)), ada), (init(), ben)):
        async with server.connect(additional_headers=header) as client:
            await client.send(payload)
            await told(client)
            assert await emailed(client) == expected.email
    async with opened(server) as client:
        assert await emailed(client) is None


async def test_a_session_counts_on_pages_of_ours_alone(
    database_url: str, issuer: DevelopmentIssuer, db: asyncpg.Connection
) -> None:
    ada = await make.person(db, "Ada")
    app = "https://app.example.com"
    async with listening(database_url, issuer, live=Script, cors_origins=app) as server:
        sessions = issuer.sessions()
        identity = await issuer.verifier().verify(issuer.token(ada.sub))
        sealed = sessions.seal({"viewer": remember(identity)}, 600)
        cookie = {"Cookie": f"{COOKIE}={sealed}"}
        for origin, expected in ((server.url, ada.email), (app, None), (None, None)):
            async with server.connect(additional_headers=cookie, origin=origin) as client:
                await client.send(init())
                await told(client)
                assert await emailed(client) == expected


async def test_a_bad_token_is_4403(server: Listening) -> None:
    for token in ("Bearer nonsense", "nonsense", 5):
        async with server.connect() as client:
            payload = {"type": "connection_init", "payload": {"authorization": token}}
            await client.send(json.dumps(payload))
            assert await closing(client) == 4403
            assert client.close_reason


async def test_a_token_that_ends_closes_with_4403(
    server: Listening, db: asyncpg.Connection
) -> None:
    ada = await make.person(db, "Ada")
    async with opened(server, server.bearer(ada.sub, seconds=2)) as client:
        await client.send(subscribe("1", FOLLOW))
        subscription = await script(server).next()
        assert await closing(client) == 4403
        assert subscription.closed
    (line,) = server.log.of("subscriptions")
    assert (line["reason"], line["transport"]) == ("token ended", "websocket")


async def test_a_deleted_account_closes_with_4403(
    server: Listening, db: asyncpg.Connection
) -> None:
    ada = await make.person(db, "Ada")
    async with opened(server, server.bearer(ada.sub)) as client:
        await client.send(subscribe("1", FOLLOW))
        (await script(server).next()).subscriber.end(EndReason.ACCOUNT_GONE)
        assert await closing(client) == 4403
    token = server.bearer(ada.sub)
    async with opened(server, token) as first, opened(server, token) as second:
        delete = 'mutation { deleteAccount(input: {id: "%s"}) { deletedId } }' % ada.id
        await first.send(subscribe("1", delete))
        assert (await told(first))["payload"]["data"]["deleteAccount"]["deletedId"] == ada.id
        server.sockets.authenticate.forget(ada.sub)  # as the watch for deletions does
        await second.send(subscribe("2", "{ viewer { email } }"))
        assert await closing(second) == 4403


# --- messages ---


CLOSING: list[tuple[str | bytes, int]] = [
    (subscribe("1", FOLLOW), 4401),
    ('{"type":"connection_init","payload":5}', 4400),
    ('{"type":"start"}', 4400),
    ('{"type":"subscribe","id":"1"}', 4400),
    ("[]", 4400),
    ("5", 4400),
    ("{", 4400),
    ("", 4400),
    ("[" * 60_000, 4400),
    (b"\x00\x01", 4400),
    (f'"{"x" * MAX_MESSAGE_BYTES}"', 1009),
]


async def test_messages_that_close(server: Listening) -> None:
    for message, code in CLOSING:
        async with server.connect() as client:
            await client.send(message)
            assert await closing(client) == code, message


async def test_what_only_an_acknowledged_client_can_do_wrong(server: Listening) -> None:
    async with opened(server) as client:
        await client.send(init())
        assert await closing(client) == 4429
    for id_ in ("", "x" * 129, 5, None):
        async with opened(server) as client:
            message = json.loads(subscribe("1", ASK)) | {"id": id_}
            await client.send(json.dumps(message))
            assert await closing(client) == 4400
    async with opened(server) as client:
        await client.send(subscribe("1", FOLLOW))
        await client.send(subscribe("1", FOLLOW))
        assert await closing(client) == 4409
        await until(lambda: not script(server).begun or script(server).begun[0].closed)


async def test_ping_and_pong(server: Listening) -> None:
    async with opened(server) as client:
        await client.send('{"type":"ping"}')
        assert await told(client) == {"type": "pong"}
        await client.send('{"type":"ping","payload":{"a":[1]}}')
        assert await told(client) == {"type": "pong", "payload": {"a": [1]}}
        await client.send('{"type":"pong"}')
        assert await emailed(client) is None


@pytest.mark.parametrize(
    "payload", ['{"a":1%s}' % ("0" * 30), '{"a":' * 300 + "1" + "}" * 300], ids=["number", "depth"]
)
async def test_a_payload_that_cannot_be_written_is_left_out(
    server: Listening, payload: str
) -> None:
    async with opened(server) as client:
        await client.send('{"type":"ping","payload":%s}' % payload)
        assert await told(client) == {"type": "pong"}
        assert await emailed(client) is None


async def test_bytes_that_are_no_message(server: Listening) -> None:
    for data, code in (
        (Frame(Opcode.TEXT, b"\xff\xfe").serialize(mask=True), 1007),
        (Frame(Opcode.CONT, b"x").serialize(mask=True), 1002),
        (Frame(Opcode.TEXT, b"{}").serialize(mask=False), 1002),
        (b"\x83\x80\x00\x00\x00\x00", 1002),
    ):
        async with server.connect() as client:
            client.transport.write(data)
            assert await closing(client) == code


async def test_a_message_in_pieces(server: Listening) -> None:
    async with opened(server) as client:
        await client.send(iter(["{", '"type":"pi', 'ng"}']))
        assert await told(client) == {"type": "pong"}
        # Together they are longer than one may be.
        with suppress(ConnectionClosed):
            await client.send(iter(["x" * 40_000, "y" * 40_000]))
        assert await closing(client) == 1009


async def test_a_flood_is_4429(server: Listening) -> None:
    for message in ('{"type":"ping"}', None):
        async with opened(server) as client:
            with suppress(ConnectionClosed):
                for _ in range(1000):
                    await (client.ping() if message is None else client.send(message))
                    await asyncio.sleep(0)
            assert await closing(client) == 4429


async def test_a_flood_of_pongs_is_4429(server: Listening) -> None:
    async with opened(server) as client:
        with suppress(ConnectionClosed):
            for _ in range(1000):
                await client.pong()
                await asyncio.sleep(0)
        assert await closing(client) == 4429


@pytest.mark.parametrize("first", [b"", masked("junk")], ids=["open", "closing"])
async def test_of_a_flood_little_is_read(server: Listening, first: bytes) -> None:
    """Also of one that comes at once, and behind the message for which the server closes."""
    ping = Frame(Opcode.PING, b"").serialize(mask=True)
    with patch.object(Frame, "check", autospec=True, side_effect=Frame.check) as read:
        reader, writer = await asyncio.open_connection(HOST, server.port)
        writer.write(HANDSHAKE % (b"/graphql", b"13", KEY, b"") + first)
        await reader.readuntil(b"\r\n\r\n")
        with suppress(ConnectionError):
            for _ in range(5):
                writer.write(ping * 40_000)
                await asyncio.wait_for(writer.drain(), 20)
            await asyncio.wait_for(reader.read(), 20)
        writer.close()
    assert MAX_FRAMES < read.call_count < 4 * MAX_FRAMES  # our pongs are counted too


async def test_what_looks_like_a_pong_may_be_part_of_a_message(server: Listening) -> None:
    pong = b"\x8a\x80abcd"
    message = json.dumps({"type": "ping", "payload": {"x": "?" * 6}}).encode()
    at = message.index(b"?")
    mask = bytes(a ^ b for a, b in zip(pong[:4], b"????", strict=True))
    mask = mask[-at % 4 :] + mask[: -at % 4]  # so that the first four bytes become it
    body = bytes(byte ^ mask[place % 4] for place, byte in enumerate(message))
    sent = bytes((0x81, 0x80 | len(body))) + mask + body
    cut = sent.index(pong[:2])
    reader, writer = await asyncio.open_connection(HOST, server.port)
    for part in (
        HANDSHAKE % (b"/graphql", b"13", KEY, b"") + masked(init()),
        *(sent[:cut], sent[cut : cut + 6], sent[cut + 6 :]),
    ):
        writer.write(part)
        await writer.drain()
        await asyncio.sleep(0.1)
    await asyncio.wait_for(reader.readuntil(b'{"type":"pong","payload":{"x":"??????"}}'), 20)
    writer.close()


async def test_a_client_that_comes_back_with_everything_is_no_flood(server: Listening) -> None:
    async with opened(server) as client:
        for number in range(LiveLimits().max_subscriptions):
            await client.send(subscribe(str(number), FOLLOW))
        await until(lambda: len(script(server).begun) == LiveLimits().max_subscriptions)
        await client.send(subscribe("more", FOLLOW))
        refused = await told(client)
        assert (refused["type"], refused["id"]) == ("error", "more")
        assert refused["payload"][0]["extensions"]["code"] == "BAD_REQUEST"
        await client.send('{"type":"complete","id":"0"}')
        await client.send(subscribe("more", FOLLOW))
        await until(lambda: len(script(server).begun) == LiveLimits().max_subscriptions + 1)


# --- queries and mutations ---


async def test_what_the_endpoint_answers(server: Listening, db: asyncpg.Connection) -> None:
    ada = await make.person(db, "Ada")
    token = server.bearer(ada.sub)
    write = "mutation W($n: String!) { createGarden(input: {name: $n}) { garden { name } } }"
    async with opened(server, token) as client:
        await client.send(subscribe("w", write, variables={"n": "Here"}, operationName="W"))
        answer = await told(client)
        assert answer["payload"]["data"] == {"createGarden": {"garden": {"name": "Here"}}}
        assert answer["payload"]["extensions"]["cost"]["requested"] > 0
        assert await told(client) == {"id": "w", "type": "complete"}
        await client.send(subscribe("r", "{ viewer { user { garden { name } } } }"))
        answer = await told(client)
        assert answer["payload"]["data"]["viewer"]["user"]["garden"] == {"name": "Here"}
    line = server.log.of("requests")[0]
    assert (line["operation"], line["status"], line["codes"]) == ("W", 200, ())
    assert line["viewer"]
    assert line["cost"]
    assert (line["method"], line["type"]) == ("WEBSOCKET", "mutation")
    assert line["request_id"] != server.log.of("requests")[1]["request_id"]


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"query": "{"}, "GRAPHQL_PARSE_FAILED"),
    ({"query": "{ nothing }"}, "GRAPHQL_VALIDATION_FAILED"),
    ({"query": "{ stories(first: 1000) { totalCount } }"}, "BAD_REQUEST"),
    ({"query": 5}, "BAD_REQUEST"),
    ({}, "BAD_REQUEST"),
    ({"query": "query A { viewer { email } }", "operationName": "B"}, "BAD_REQUEST"),
    ({"query": 'query ($i: ID!) { node(id: $i) { id } }', "variables": {"i": "\0"}},
     "BAD_REQUEST"),
    ({"query": 'mutation { createGarden(input: {name: "x"}) { garden { id } } }'},
     "UNAUTHENTICATED"),
]  # fmt: skip


async def test_refusals_are_errors_of_the_operation(server: Listening) -> None:
    for payload, code in REFUSED:
        await refused_in(server, payload, code)


async def refused_in(server: Listening, payload: dict[str, Any], code: str) -> None:
    async with opened(server) as client:
        await client.send(json.dumps({"type": "subscribe", "id": "x", "payload": payload}))
        answer = await told(client)
        errors = answer["payload"] if answer["type"] == "error" else answer["payload"]["errors"]
        assert [error["extensions"]["code"] for error in errors] == [code]
        if answer["type"] == "next":
            assert await told(client) == {"id": "x", "type": "complete"}
        assert await emailed(client) is None  # it goes on


async def test_a_spent_budget_is_told(database_url: str, issuer: DevelopmentIssuer) -> None:
    async with (
        listening(database_url, issuer, live=Script, cost_per_minute=1200) as server,
        opened(server) as client,
    ):
        for _ in range(2):
            await client.send(subscribe("x", "{ nothing }"))
            answer = await told(client)
        assert answer["payload"][0]["extensions"]["code"] == "RATE_LIMITED"


async def test_completing_a_mutation_does_not_undo_half_of_it(
    server: Listening, db: asyncpg.Connection
) -> None:
    ada = await make.person(db, "Ada")
    write = (
        "mutation { "
        + " ".join(
            f'm{n}: createHabit(input: {{name: "{n}", frequency: DAILY}}) {{ habit {{ id }} }}'
            for n in range(8)
        )
        + " }"
    )
    async with opened(server, server.bearer(ada.sub)) as client:
        await client.send(subscribe("x", write))
        await asyncio.sleep(0.02)
        await client.send('{"type":"complete","id":"x"}')
        await until(lambda: server.log.of("requests"))
    assert await db.fetchval("SELECT count(*) FROM habits") in (0, 8)


# --- subscriptions ---


async def test_events_until_the_client_completes(server: Listening) -> None:
    async with opened(server) as client:
        await client.send(subscribe('a"\u00e9', "subscription Follow { stories { moment } }"))
        subscription = await script(server).next()
        for number in range(3):
            subscription.tell(b'{"data": {"n": %d}}' % number)
            expected = {"id": 'a"\u00e9', "type": "next", "payload": {"data": {"n": number}}}
            assert await told(client) == expected
        assert not subscription.closed
        await client.send('{"type":"complete","id":"a\\"\u00e9"}')
        await until(lambda: subscription.closed)
        subscription.tell(b"{}")  # which nobody is told
        assert await emailed(client) is None
    (line,) = server.log.of("subscriptions")
    assert line["reason"] == "unsubscribed"
    assert (line["operation"], line["events"], line["reloads"]) == ("Follow", 3, 0)


async def test_all_are_told_the_same_under_the_ids_of_their_own(server: Listening) -> None:
    """What is written for one id must not reach another one: there are more than are kept."""
    ids = ["1", "2", *(f"{number:032x}" for number in range(MAX_WRITTEN))]
    expected: dict[int, list[str]] = {}
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(opened(server)) for _ in range(4)]
        for number, id_ in enumerate([*ids, "1", "1"]):
            place = (0, 1, 2)[number % 3] if number < len(ids) else number - len(ids) + 2
            place = place if id_ not in expected.setdefault(place, []) else 3
            expected.setdefault(place, []).append(id_)
            await clients[place].send(subscribe(id_, FOLLOW))
        await script(server).next(len(ids) + 1)
        for text in (b'{"data":{"a":"\xc3\xa4"}}', b'{"data":2}'):
            delivery = Delivery(text, None, None, shared=True)
            for subscription in script(server).begun:
                assert subscription.subscriber.next(delivery)
            assert len(delivery.written) == MAX_WRITTEN
            for place, theirs in expected.items():
                found = [await told(clients[place]) for _ in theirs]
                assert {one["id"] for one in found} == set(theirs)
                assert [one["payload"] for one in found] == [json.loads(text)] * len(theirs)


async def test_without_room_nothing_is_sent(server: Listening) -> None:
    async with reluctant(server):
        subscription = await script(server).next()
        delivery = Delivery(b'{"data":"%b"}' % (b"x" * 5000), None, None, shared=True)
        while subscription.subscriber.next(delivery):
            pass
        assert not subscription.subscriber.has_room()
        (socket_,) = server.connections._open
        assert isinstance(socket_, Socket)
        assert socket_._transport is not None
        unsent = socket_._transport.get_write_buffer_size()
        assert not subscription.subscriber.next(delivery)
        assert socket_._transport.get_write_buffer_size() == unsent


async def test_events_until_the_server_completes(server: Listening) -> None:
    async with opened(server) as client:
        await client.send(subscribe("1", FOLLOW))
        subscription = await script(server).next()
        subscription.tell(b'{"data":null,"errors":[]}')
        subscription.subscriber.complete()
        assert (await told(client))["type"] == "next"
        assert await told(client) == {"id": "1", "type": "complete"}
        assert subscription.closed
        await client.send(subscribe("1", FOLLOW))  # the id is free again
        await script(server).next(1)


async def test_refused_before_the_first_event(server: Listening) -> None:
    script(server).refuses = Unavailable("Not now.")
    async with opened(server) as client:
        await client.send(subscribe("1", FOLLOW))
        answer = await told(client)
        assert answer["type"] == "error"
        assert answer["payload"][0]["extensions"] == {"code": "UNAVAILABLE"}


async def test_nothing_is_left_of_what_ends_while_it_begins(server: Listening) -> None:
    waits = script(server).waits = asyncio.Event()
    async with opened(server) as client:
        await client.send(subscribe("1", FOLLOW))
        await client.send(subscribe("2", FOLLOW))
        await until(lambda: script(server).asked == 2)
        await client.send('{"type":"complete","id":"1"}')
        await client.send('{"type":"ping"}')
        assert await told(client) == {"type": "pong"}
    await until(lambda: not len(server.connections))
    waits.set()
    await until(lambda: len(script(server).begun) == 2)
    await until(lambda: all(begun.closed for begun in script(server).begun))


# --- limits and time ---


async def test_who_does_not_say_who_it_is(hurried: Listening) -> None:
    async with hurried.connect() as client:
        assert await closing(client) == 4408
    async with hurried.connect() as client:
        client.transport.write(masked(init())[:9])
        assert await closing(client) == 4408  # half a frame


async def test_who_answers_pings_stays(hurried: Listening) -> None:
    async with opened(hurried) as client:
        await asyncio.sleep(1.5)
        assert await emailed(client) is None


async def test_who_does_not_answer_pings_goes(hurried: Listening) -> None:
    reader, writer = await asyncio.open_connection(HOST, hurried.port)
    writer.write(HANDSHAKE % (b"/graphql", b"13", KEY, b"") + masked(init()))
    await asyncio.wait_for(reader.readuntil(b'{"type":"connection_ack"}'), 20)
    with suppress(ConnectionResetError):
        assert await asyncio.wait_for(reader.read(), 20) == b"\x89\x00"  # a ping, and the end
    writer.close()
    await until(lambda: not len(hurried.connections))


async def test_who_does_not_read_is_told_less_and_cut_off(hurried: Listening) -> None:
    async with reluctant(hurried):
        subscription = await script(hurried).next()
        await until(functools.partial(filled, subscription))
        assert subscription.events < 100
        await until(lambda: subscription.closed)
    await until(lambda: not len(hurried.connections))
    (line,) = hurried.log.of("subscriptions")
    assert line["reason"] == "does not read"


async def test_who_reads_slowly_is_served(hurried: Listening) -> None:
    async with reluctant(hurried) as client:
        subscription = await script(hurried).next()
        for _ in range(60):
            filled(subscription)
            with suppress(BlockingIOError):
                client.recv(4000)
            await asyncio.sleep(0.04)
        assert not subscription.closed
        assert subscription.events > 30


@asynccontextmanager
async def reluctant(server: Listening) -> AsyncIterator[socket.socket]:
    """The connection of a client with a subscription, which reads when the test does."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect((HOST, server.port))
        client.setblocking(False)
        loop, seen = asyncio.get_running_loop(), b""
        await loop.sock_sendall(client, HANDSHAKE % (b"/graphql", b"13", KEY, b"") + masked(init()))
        while b"connection_ack" not in seen:
            seen += await loop.sock_recv(client, 1000)
        await loop.sock_sendall(client, masked(subscribe("1", FOLLOW)))
        yield client


def filled(subscription: Scripted) -> bool:
    """Tell events as long as there is room; whether there was none from the start."""
    told = 0
    while subscription.subscriber.has_room():
        subscription.tell(b'{"data":"%b"}' % (b"x" * 5000))
        told += 1
    return not told


async def test_a_person_holds_so_many(
    database_url: str, issuer: DevelopmentIssuer, db: asyncpg.Connection
) -> None:
    ada = await make.person(db, "Ada")
    limits = LiveLimits(max_per_person=2, max_per_address=1, max_sockets=5)
    async with listening(database_url, issuer, live=Script, limits=limits) as server:
        token = server.bearer(ada.sub)
        async with opened(server, token) as first, opened(server, token), opened(server):
            for payload in (init(token), init()):
                async with server.connect() as client:
                    await client.send(payload)
                    assert await closing(client) == 4429
            await first.close()
            async with opened(server, token), server.connect() as fourth, server.connect():
                async with server.connect() as sixth:
                    assert await closing(sixth) == 1013
                await fourth.close()
                await until(lambda: len(server.connections) == 4)
                async with server.connect() as client:
                    await client.send(init())
                    assert await closing(client) == 4429


async def test_who_does_not_say_who_it_is_takes_no_room_of_others(
    database_url: str, issuer: DevelopmentIssuer
) -> None:
    limits = LiveLimits(max_sockets=50, max_per_address=3)
    async with listening(database_url, issuer, live=Script, limits=limits) as server:

        async def admitted(client: ClientConnection) -> None:
            await client.send(init())
            assert (await told(client))["type"] == "connection_ack"

        silent = [await server.connect() for _ in range(10)]
        with pytest.raises(InvalidStatus, match="503"):
            await server.connect()
        others = await server.connect(local_addr=("127.0.0.2", 0))
        await admitted(others)
        await admitted(silent[0])  # it counts for its caller now
        silent.append(await server.connect())
        with pytest.raises(InvalidStatus, match="503"):
            await server.connect()
        await silent[1].close()
        await until(lambda: server.connections.has_room_for(HOST))
        silent.append(await server.connect())
        for client in (others, *silent):
            await client.close()
        await until(lambda: not server.connections)


async def test_a_restart_is_1012_in_random_order(
    database_url: str, issuer: DevelopmentIssuer
) -> None:
    async with listening(database_url, issuer, live=Script, drain_seconds=1) as server:
        clients = [await server.connect() for _ in range(60)]
        for client in clients:
            await client.send(init())
        gone: list[int] = []

        async def wait(number: int) -> int:
            code = await closing(clients[number])
            gone.append(number)
            return code

        waiting = asyncio.gather(*map(wait, range(60)))
        draining = asyncio.create_task(server.drain())
        await until(lambda: gone)
        assert len(gone) < 60
        with pytest.raises(InvalidStatus) as refused:
            await server.connect()
        assert refused.value.response.status_code == 503
        assert await waiting == [1012] * 60
        assert gone != sorted(gone)
        await draining
        assert not len(server.connections)


async def test_an_impatient_end_closes_all_at_once(server: Listening) -> None:
    async with opened(server) as client:
        await client.send(subscribe("1", FOLLOW))
        subscription = await script(server).next()
        await server.drain()
        assert await closing(client) == 1012
        assert subscription.closed


async def test_nothing_is_left_of_many(database_url: str, issuer: DevelopmentIssuer) -> None:
    """2,000 sockets with a subscription each, which go in all the ways there are."""
    count = 2000
    if (files := open_files(2 * count + 300)) < 2 * count + 200:
        pytest.skip(f"ulimit -n is {files}: too few for {count} sockets and their clients")
    limits = replace(LiveLimits(), max_per_address=count)
    async with listening(database_url, issuer, live=Script, limits=limits) as server:
        clients: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

        async def come() -> None:
            reader, writer = await asyncio.open_connection(HOST, server.port)
            writer.write(HANDSHAKE % (b"/graphql", b"13", KEY, b"") + masked(init()))
            await reader.readuntil(b'{"type":"connection_ack"}')
            writer.write(masked(subscribe("1", FOLLOW)))
            clients.append((reader, writer))

        for _ in range(count // 100):
            await asyncio.gather(*(come() for _ in range(100)))
        await until(lambda: len(script(server).begun) == count)
        for subscription in script(server).begun:
            subscription.tell(b'{"data":1}')
        for number, (reader, writer) in enumerate(clients):
            await reader.readuntil(b'"payload":{"data":1}}')
            if number % 3 == 0:
                writer.transport.abort()
            elif number % 3 == 1:
                writer.write(b"\x88\x80\x00\x00\x00\x00")  # close
            else:
                writer.close()
        await until(lambda: not len(server.connections))
        assert all(subscription.closed for subscription in script(server).begun)
        for _, writer in clients:
            writer.close()
        script(server).begun.clear()
        del subscription
        await none_is_left(Socket, Operation)


async def none_is_left(*kinds: type) -> None:
    """No object of these kinds, once what still runs has ended."""

    def found() -> bool:
        gc.collect()
        return any(isinstance(each, kinds) for each in gc.get_objects())

    await until(lambda: not found())


async def test_nothing_is_left_of_what_they_followed(
    database_url: str, issuer: DevelopmentIssuer, db: asyncpg.Connection
) -> None:
    """Feeds and states of the product itself, whose clients are told something and go."""
    ada = await make.person(db, "Ada")
    limits = replace(LiveLimits(), max_per_person=100)
    follow = "subscription { stories { kind } }", "subscription { viewer { email } }"
    async with listening(database_url, issuer, limits=limits) as server:
        live, token = server.sockets.live, server.bearer(ada.sub)
        before = len(asyncio.all_tasks())
        clients = [await server.connect() for _ in range(60)]
        for client in clients:
            await client.send(init(token))
            assert (await told(client))["type"] == "connection_ack"
            for number, text in enumerate(follow):
                await client.send(subscribe(str(number), text))
        for client in clients:
            assert {(await told(client))["type"] for _ in follow} == {"next"}
        assert len(live) == 2 * len(clients)
        await make.story(db, ada)
        for number, client in enumerate(clients):
            assert (await told(client))["payload"]["data"]["stories"]["kind"] == "APPEARED"
            if number % 3:
                client.transport.abort()
            else:
                await client.send('{"type":"complete","id":"0"}')
                await client.close()
        await until(lambda: not len(server.connections))
        await until(lambda: len(asyncio.all_tasks()) <= before)
        assert len(live) == live.behind == 0
        del client, clients
        await none_is_left(Socket, Operation, Subscription)
        assert not live._by_person
