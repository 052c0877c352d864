"""HTTP/3 of aioquic: asks a server of GET /hello, /version, /bytes/N and POST /echo, and looks at what comes.

Usage: http3_client.py CA HOST PORT [rules]    (with `rules`: what a server has to do about what RFC 9114 forbids)
"""
import asyncio
import hashlib
import os
import sys

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.buffer import encode_uint_var
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, StreamReset

WAIT = 45
PIECE = 16_384


class Client(QuicConnectionProtocol):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.http = H3Connection(self._quic)
        self.answers = {}
        self.terminated = asyncio.get_running_loop().create_future()

    def quic_event_received(self, event):
        if isinstance(event, ConnectionTerminated) and not self.terminated.done():
            self.terminated.set_result(event.error_code)
        if isinstance(event, (ConnectionTerminated, StreamReset)):
            for stream, (_, _, done) in self.answers.items():
                if not done.done() and getattr(event, "stream_id", stream) == stream:
                    done.set_exception(ConnectionError(f"{event}"))
        for told in self.http.handle_event(event):
            if not isinstance(told, (HeadersReceived, DataReceived)):
                continue
            headers, body, done = self.answers[told.stream_id]
            if isinstance(told, HeadersReceived):
                headers.extend(told.headers)
            else:
                body.extend(told.data)
            if told.stream_ended and not done.done():
                done.set_result(None)

    def stream(self):
        stream = self._quic.get_next_available_stream_id()
        self.answers[stream] = ([], bytearray(), asyncio.get_running_loop().create_future())
        return stream

    async def request(self, authority, method, path, body=b"", more=()):
        stream = self.stream()
        headers, received, done = self.answers[stream]
        pseudo = {":method": method, ":scheme": "https", ":authority": authority, ":path": path}
        fields = [(name.encode(), value.encode()) for name, value in [*pseudo.items(), *more]]
        self.http.send_headers(stream, fields, end_stream=not body)
        for at in range(0, len(body), PIECE):
            piece = body[at:at + PIECE]
            self.http.send_data(stream, piece, end_stream=at + PIECE >= len(body))
            self.transmit()
            await asyncio.sleep(0)
        self.transmit()
        await done
        return dict(headers)[b":status"], bytes(received)


async def ask(client, authority):
    status, body = await client.request(authority, "GET", "/hello")
    assert (status, body) == (b"200", b"hello\n"), (status, body)
    status, body = await client.request(authority, "GET", "/version")
    assert body == b"HTTP/3.0\n", body
    status, body = await client.request(authority, "GET", "/bytes/3000000")
    assert hashlib.sha256(body).digest() == hashlib.sha256(b"x" * 3_000_000).digest(), len(body)
    sent = os.urandom(1_000_000)
    status, body = await client.request(authority, "POST", "/echo", sent)
    assert hashlib.sha256(body).digest() == hashlib.sha256(sent).digest(), len(body)
    # Many at once.
    several = [client.request(authority, "GET", f"/bytes/{n * 100}") for n in range(50)]
    for n, (status, body) in enumerate(await asyncio.gather(*several)):
        assert (status, body) == (b"200", b"x" * (n * 100)), (n, status, len(body))
    status, _ = await client.request(authority, "GET", "/nothing")
    assert status == b"404", status
    status, _ = await client.request(authority, "GET", "/bytes/999999999")
    assert status == b"413", status


def frame(kind, payload=b""):
    return encode_uint_var(kind) + encode_uint_var(len(payload)) + payload


DATA, SETTINGS, CONTROL = 0x0, 0x4, 0x0


# Each breaks a rule; the number is that of the error (RFC 9114 section 8.1). Not among them: h3 0.0.8 takes no notice of a push stream
# that a client opens (section 6.2.2).
def data_first(client):
    """section 4.1: DATA before HEADERS"""
    client._quic.send_stream_data(client.stream(), frame(DATA, b"x"), end_stream=True)


def two_control_streams(client):
    """section 6.2.1: a second control stream"""
    stream = client._quic.get_next_available_stream_id(is_unidirectional=True)
    client._quic.send_stream_data(stream, encode_uint_var(CONTROL) + frame(SETTINGS))


def settings_twice(client):
    """section 7.2.4: SETTINGS again"""
    client._quic.send_stream_data(client.http._local_control_stream_id, frame(SETTINGS))


def data_on_control(client):
    """section 7.2.1: DATA on the control stream"""
    client._quic.send_stream_data(client.http._local_control_stream_id, frame(DATA, b"x"))


def control_closed(client):
    """section 6.2.1: the control stream ends"""
    client._quic.send_stream_data(client.http._local_control_stream_id, b"", end_stream=True)


def http2_frame(client):
    """section 7.2.8: a frame that HTTP/2 had"""
    client._quic.send_stream_data(client.http._local_control_stream_id, frame(0x6, b"\0" * 8))


RULES = [
    (data_first, 0x105),
    (two_control_streams, 0x103),
    (settings_twice, 0x105),
    (data_on_control, 0x105),
    (control_closed, 0x104),
    (http2_frame, 0x105),
]


async def rules(session, authority):
    wrong = []
    for breaks, expected in RULES:
        async with session() as client:
            # So that both ends have their settings.
            await client.request(authority, "GET", "/hello")
            breaks(client)
            client.transmit()
            try:
                code = await asyncio.wait_for(client.terminated, 5)
            except TimeoutError:
                code = -1
            if code != expected:
                wrong.append(f"{breaks.__doc__}: {code:#x}, expected {expected:#x}")
    assert not wrong, wrong
    async with session() as client:
        # Fields of more than 64 KiB: told (431) or the stream is reset, and the connection goes on.
        try:
            status, _ = await client.request(authority, "GET", "/hello", more=[(f"x-long-{n}", "x" * 2_000) for n in range(50)])
            assert status == b"431", status
        except ConnectionError as error:
            assert "StreamReset" in str(error), error
        status, _ = await client.request(authority, "GET", "/hello")
        assert status == b"200", status


async def main(ca, host, port, *what):
    configuration = QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN)
    configuration.load_verify_locations(ca)
    authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def session():
        return connect(host, int(port), configuration=configuration, create_protocol=Client)

    if what:
        await rules(session, authority)
    else:
        async with session() as client:
            await ask(client, authority)
    print("all right")


asyncio.run(asyncio.wait_for(main(*sys.argv[1:]), WAIT))
