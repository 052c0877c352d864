"""Cases of RFC 6455, as Autobahn's fuzzing client has them, by raw frames: what a server answers to each, octet for octet up to the end of the
connection, has to be what is expected, and the same from each server.

Usage: websocket_cases.py HOST:PORT HOST:PORT
"""
import hashlib
import os
import socket
import struct
import sys

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
WAIT = 20


def frame(opcode, payload=b"", fin=True, rsv=0, masked=True, length=None):
    """One frame; `length` lets it announce another one than it has."""
    length = len(payload) if length is None else length
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    mask = 0x80 if masked else 0
    if length < 126:
        head += bytes([mask | length])
    elif length < 65536:
        head += bytes([mask | 126]) + struct.pack(">H", length)
    else:
        head += bytes([mask | 127]) + struct.pack(">Q", length)
    if not masked:
        return head + payload
    key = b"\x12\x34\x56\x78"
    stream = (key * (len(payload) // 4 + 1))[: len(payload)]
    body = (int.from_bytes(payload, "big") ^ int.from_bytes(stream, "big")).to_bytes(len(payload), "big")
    return head + key + body


def close(code=1000, reason=b""):
    return frame(CLOSE, struct.pack(">H", code) + reason)


class Server:
    def __init__(self, address):
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=WAIT)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(
            b"GET / HTTP/1.1\r\nHost: a.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self.socket.recv(1)
        # The accept value of RFC 6455 section 1.3's example.
        assert b" 101 " in head and b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head, head

    def send(self, data, chop):
        """All of it; in pieces of `chop` octets if that is not 0. A server may be gone already."""
        try:
            for at in range(0, len(data), chop or len(data) or 1):
                self.socket.sendall(data[at : at + (chop or len(data))])
        except OSError:
            pass

    def rest(self):
        """The frames up to the end."""
        data = b""
        try:
            while got := self.socket.recv(1 << 16):
                data += got
        except ConnectionResetError:
            pass
        self.socket.close()
        return list(frames(data))


def frames(data):
    while len(data) >= 2:
        fin, rsv, opcode = data[0] >> 7, data[0] >> 4 & 7, data[0] & 15
        assert not rsv and not data[1] & 0x80, "a server's frame is masked, or has reserved bits"
        length, at = data[1] & 0x7F, 2
        if length == 126:
            length, at = struct.unpack(">H", data[2:4])[0], 4
        elif length == 127:
            length, at = struct.unpack(">Q", data[2:10])[0], 10
        payload, data = data[at : at + length], data[at + length :]
        assert len(payload) == length, "a frame broke off"
        if opcode == CLOSE:
            yield "close", struct.unpack(">H", payload[:2])[0] if payload else None
        else:
            yield opcode, fin, length, hashlib.sha256(payload).hexdigest()[:16]
    assert not data


def shown(opcode, payload):
    return opcode, 1, len(payload), hashlib.sha256(payload).hexdigest()[:16]


# An echo, and a close in good order.
def echoes(*messages):
    return [shown(opcode, payload) for opcode, payload in messages] + [("close", 1000)]


# The connection fails: at best with this code (RFC 6455 section 7.1.7).
def fails(code, *before):
    return [shown(opcode, payload) for opcode, payload in before], code


def cases():
    done = close()
    # 1: framing. Lengths around each border, whole and in pieces.
    for opcode in (TEXT, BINARY):
        for length in (0, 1, 125, 126, 127, 128, 65535, 65536):
            payload = b"*" * length
            chops = (0, 997) if length > 1000 else (0, 1)
            for chop in chops:
                yield f"1 {opcode} {length}", frame(opcode, payload) + done, chop, echoes((opcode, payload))
    # 2: pings and pongs.
    for payload in (b"", b"Hello", b"\0\xff\xfe", b"\xfe" * 125):
        for chop in (0, 1):
            yield f"2 ping {len(payload)}", frame(PING, payload) + done, chop, echoes((PONG, payload))
    yield "2 ping too long", frame(PING, b"x" * 126), 0, fails(1002)
    yield "2 pong unasked", frame(PONG, b"unasked") + frame(PING, b"a") + done, 0, echoes((PONG, b"a"))
    # 3: reserved bits.
    for rsv in range(1, 8):
        data = frame(TEXT, b"a") + frame(TEXT, b"b", rsv=rsv)
        yield f"3 rsv {rsv}", data, 0, fails(1002, (TEXT, b"a"))
        yield f"3 ping rsv {rsv}", frame(PING, b"b", rsv=rsv), 1, fails(1002)
    # 4: reserved opcodes.
    for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15):
        yield f"4 opcode {opcode}", frame(TEXT, b"a") + frame(opcode, b"b"), 0, fails(1002, (TEXT, b"a"))
        yield f"4 opcode {opcode}, empty", frame(opcode), 1, fails(1002)
    # 5: fragments.
    one, two = frame(TEXT, b"one ", fin=False), frame(CONT, b"two")
    for chop in (0, 1):
        yield "5 two fragments", one + two + done, chop, echoes((TEXT, b"one two"))
        yield "5 a ping between", one + frame(PING, b"p") + two + done, chop, echoes((PONG, b"p"), (TEXT, b"one two"))
        many = one + frame(CONT, b"", fin=False) * 50 + two
        yield "5 empty ones between", many + done, chop, echoes((TEXT, b"one two"))
    yield "5 a fragmented ping", frame(PING, b"a", fin=False), 0, fails(1002)
    yield "5 a fragmented pong", frame(PONG, b"a", fin=False), 0, fails(1002)
    yield "5 nothing to continue", frame(CONT, b"a") + done, 0, fails(1002)
    yield "5 nothing to continue, more to come", frame(CONT, b"a", fin=False) + done, 0, fails(1002)
    yield "5 a message within another", one + frame(TEXT, b"other"), 0, fails(1002)
    yield "5 nothing to continue any more", one + two + two, 0, fails(1002, (TEXT, b"one two"))
    # 6: UTF-8.
    good = ["Hello-µ@ßöäüàá-UTF-8!!", "\0", "\x7f", "\x80", "\u07ff", "\u0800", "\ud7ff", "\ue000", "\uffff", "\U00010000", "\U0010ffff"]
    for text in good:
        payload = text.encode()
        yield f"6 {payload.hex()}", frame(TEXT, payload) + done, 1, echoes((TEXT, payload))
        pieces = [frame(TEXT, b"", fin=False)]
        pieces += [frame(CONT, bytes([octet]), fin=False) for octet in payload]
        yield f"6 {payload.hex()} by octets", b"".join(pieces) + frame(CONT) + done, 0, echoes((TEXT, payload))
    bad = ["cebae1bdb9cf83cebcceb5eda080656469746564", "f8888080 80", "fc8480808080", "f4908080", "80", "bf", "8080", "fe", "ff",
           "c0af", "e080af", "f08080af", "c1bf", "e09fbf", "f08fbfbf", "eda080", "edbfbf", "ed9fbfeda080", "c3", "e282", "f09f98"]
    for text in bad:
        payload = bytes.fromhex(text)
        yield f"6 bad {text}", frame(TEXT, payload), 0, fails(1007)
        split = frame(TEXT, payload[:1], fin=False) + frame(CONT, payload[1:])
        yield f"6 bad {text} in fragments", split, 0, fails(1007)
    # 7: closing.
    yield "7 close", done, 0, echoes()
    yield "7 after close nothing", done + frame(TEXT, b"late"), 0, [("close", 1000)]
    yield "7 ping after close", done + frame(PING), 0, [("close", 1000)]
    yield "7 fragment, close", one + done, 0, [("close", 1000)]
    yield "7 close without a code", frame(CLOSE), 0, [("close", None)]
    yield "7 close with half a code", frame(CLOSE, b"\x03"), 0, fails(1002)
    yield "7 a long reason", close(1000, b"*" * 123), 0, echoes()
    yield "7 too long a reason", close(1000, b"*" * 124), 0, fails(1002)
    yield "7 a reason that is not UTF-8", close(1000, b"\xce\xba\xed\xa0\x80"), 0, fails(1007)
    for code in (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999):
        yield f"7 code {code}", close(code), 0, [("close", code)]
    for code in (0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999, 5000, 65535):
        yield f"7 bad code {code}", close(code), 0, fails(1002)
    # 9: size.
    for length in (1 << 20, 4 << 20):
        payload = os.urandom(length)
        yield f"9 {length}", frame(BINARY, payload) + done, 0, echoes((BINARY, payload))
        pieces = [frame(CONT, payload[at : at + 65536], fin=False) for at in range(0, length, 65536)]
        data = frame(BINARY, b"", fin=False) + b"".join(pieces) + frame(CONT)
        yield f"9 {length} in fragments", data + done, 65000, echoes((BINARY, payload))
    yield "9 larger than taken", frame(BINARY, b"x", length=1 << 40), 0, fails(1009)
    yield "9 an impossible length", frame(BINARY, b"x", length=(1 << 64) - 1), 0, fails(1009)
    # Clients mask (section 5.1).
    yield "a frame without a mask", frame(TEXT, b"a", masked=False), 0, fails(1002)


def verdict(got, expected):
    """What a connection came to, and whether that is right."""
    if isinstance(expected, list):
        return got, got == expected
    before, code = expected
    # A server may also end the connection without a close frame, and send a close of its own kind; it must not go on.
    ok = got[: len(before)] == before and len(got) <= len(before) + 1
    ok = ok and all(kind == "close" for kind, *_ in got[len(before) :])
    told = got[len(before)][1] if len(got) > len(before) else None
    return got, ok and told in (code, 1000, 1002, None)


def main():
    servers = sys.argv[1:]
    count, wrong = 0, []
    for name, data, chop, expected in cases():
        outcomes = []
        for address in servers:
            server = Server(address)
            server.send(data, chop)
            if name.startswith(("7 ", "6 bad", "9 larger", "9 an")):
                server.socket.shutdown(socket.SHUT_WR)
            outcomes.append(verdict(server.rest(), expected))
        count += 1
        if any(not ok for _, ok in outcomes) or any(outcome != outcomes[0] for outcome in outcomes):
            wrong.append((name, expected, outcomes))
    for name, expected, outcomes in wrong:
        print(f"{name}: expected {expected}", *(f"\n    {server}: {outcome}" for server, outcome in zip(servers, outcomes)), file=sys.stderr)
    if wrong:
        sys.exit(f"{len(wrong)} of {count} cases failed")
    print(f"{count} cases")


main()
