"""Rules of RFC 9113 and RFC 7541, as h2spec has them, by raw frames: what a server does first about each has to be right, and the same from
each server.

Usage: http2_cases.py HOST:PORT HOST:PORT    (servers of GET /hello, /bytes/N and POST /echo)
"""
import socket
import struct
import sys

import hpack

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED = 1, 1, 4, 8
NO_ERROR, PROTOCOL, INTERNAL, FLOW_CONTROL, SETTINGS_TIMEOUT, STREAM_CLOSED, FRAME_SIZE, REFUSED, CANCEL, COMPRESSION = range(10)
CALM = 11
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
WAIT = 20


def frame(kind, flags=0, stream=0, payload=b"", length=None):
    length = len(payload) if length is None else length
    return struct.pack(">I", length)[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def u32(value):
    return struct.pack(">I", value)


def settings(*pairs):
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", *pair) for pair in pairs))


REQUEST = [(":method", "GET"), (":scheme", "http"), (":path", "/hello"), (":authority", "a.example")]


def block(fields=None):
    # Without the dynamic table, so that each block stands for itself.
    encoder = hpack.Encoder()
    encoder.header_table_size = 0
    return encoder.encode(fields or REQUEST, huffman=False)


def get(stream=1, fields=None, flags=END_STREAM | END_HEADERS):
    return frame(HEADERS, flags, stream, block(fields))


def of(**changes):
    """The request's pseudo-fields with some of them changed, or left out."""
    return [(name, changes.get(name[1:], value)) for name, value in REQUEST if changes.get(name[1:], value) is not None]


def post(stream=1, *fields):
    return get(stream, of(method="POST", path="/echo") + list(fields), END_HEADERS)


def path(path):
    return of(path=path)


# What is right, as a set of what may come first.
def connection(*codes):
    return {("goaway", code) for code in codes} | {("gone",)}


def stream(number, *codes):
    return {("reset", number, code) for code in codes} | connection(*codes)


def answer(number, status="200"):
    return {("answer", number, status)}


def bad_request(number=1):
    """A malformed request (section 8.1.1) may be answered before it is reset."""
    return stream(number, PROTOCOL) | answer(number, "400")


def cases():
    fine = answer(1)
    # 3.4: the preface.
    yield "3.4 no preface", None, b"INVALID CONNECTION PREFACE\r\n\r\n", connection(PROTOCOL)
    yield "3.4 no settings", None, PREFACE + frame(PING, 0, 0, b"8 octets"), connection(PROTOCOL) | {("ping ack", None)}
    # 4.1: what is not known is ignored.
    yield "4.1 an unknown type", (), frame(0x16, 0xFF, 0, b"\0" * 8) + get(), fine
    yield "4.1 undefined flags", (), frame(PING, 0x16, 0, b"8 octets") + get(), fine
    yield "4.1 the reserved bit", (), frame(PING, 0, 1 << 31, b"8 octets") + get(), fine
    # 4.2: sizes.
    yield "4.2 the largest DATA", (), post() + frame(DATA, END_STREAM, 1, b"x" * 16384), fine
    yield "4.2 DATA too large", (), post() + frame(DATA, END_STREAM, 1, b"x" * 16385), stream(1, FRAME_SIZE)
    large = block(REQUEST + [("x-large", "x" * 16400)])
    yield "4.2 HEADERS too large", (), frame(HEADERS, END_STREAM | END_HEADERS, 1, large), connection(FRAME_SIZE)
    split = frame(HEADERS, END_STREAM, 1, large[:9000]) + frame(CONTINUATION, END_HEADERS, 1, large[9000:])
    yield "4.2 and in two frames", (), split, answer(1) | answer(1, "431")
    for kind, name, length in [(PING, "PING", 7), (PING, "PING", 9), (SETTINGS, "SETTINGS", 5), (GOAWAY, "GOAWAY", 7),
                               (WINDOW_UPDATE, "WINDOW_UPDATE", 3), (WINDOW_UPDATE, "WINDOW_UPDATE", 5)]:
        yield f"4.2 {name} of {length}", (), frame(kind, 0, 0, b"\1" * length), connection(FRAME_SIZE)
    yield "4.2 RST_STREAM of 3", (), post() + frame(RST_STREAM, 0, 1, b"\0\0\0"), connection(FRAME_SIZE)
    yield "4.2 PRIORITY of 4", (), post() + frame(PRIORITY, 0, 1, b"\0" * 4), stream(1, FRAME_SIZE)
    # 4.3: field blocks.
    both = END_STREAM | END_HEADERS
    yield "4.3 an index that is not there", (), frame(HEADERS, both, 1, block() + b"\xff\x80\x01"), connection(COMPRESSION)
    yield "4.3 index 0", (), frame(HEADERS, both, 1, block() + b"\x80"), connection(COMPRESSION)
    yield "4.3 half a literal", (), frame(HEADERS, both, 1, block() + b"\x00\x85\xf2\xb2"), connection(COMPRESSION)
    yield "4.3 a table that is too large", (), frame(HEADERS, both, 1, b"\x3f\xe1\xff\x7f" + block()), connection(COMPRESSION)
    yield "4.3 bad padding of Huffman's code", (), frame(HEADERS, both, 1, block() + b"\x00\x01x\x81\x00"), connection(COMPRESSION)
    yield "4.3 another's between", (), get(1, None, END_STREAM) + get(3), connection(PROTOCOL)
    yield "4.3 PRIORITY between", (), get(1, None, END_STREAM) + frame(PRIORITY, 0, 1, b"\0" * 5), connection(PROTOCOL)
    yield "4.3 an unknown type between", (), get(1, None, END_STREAM) + frame(0x16, 0, 1, b""), connection(PROTOCOL)
    # 5.1: states.
    yield "5.1 DATA when idle", (), frame(DATA, END_STREAM, 1, b"x"), connection(PROTOCOL, STREAM_CLOSED)
    yield "5.1 RST_STREAM when idle", (), frame(RST_STREAM, 0, 1, u32(CANCEL)), connection(PROTOCOL)
    yield "5.1 WINDOW_UPDATE when idle", (), frame(WINDOW_UPDATE, 0, 1, u32(100)), connection(PROTOCOL)
    yield "5.1 CONTINUATION when idle", (), frame(CONTINUATION, END_HEADERS, 1, block()), connection(PROTOCOL)
    yield "5.1 PRIORITY when idle", (), frame(PRIORITY, 0, 3, b"\0\0\0\0\x0f") + get(), fine
    slow = get(1, path("/bytes/1000000"))
    closed = stream(1, STREAM_CLOSED, PROTOCOL)
    yield "5.1 DATA when half closed", (), slow + frame(DATA, END_STREAM, 1, b"x"), closed
    yield "5.1 HEADERS when half closed", (), slow + get(1), closed
    reset = post() + frame(RST_STREAM, 0, 1, u32(CANCEL))
    yield "5.1 HEADERS when reset", (), reset + get(1), closed
    yield "5.1 and another stream after it", (), reset + get(3), answer(3)
    yield "5.1 WINDOW_UPDATE when reset", (), reset + frame(WINDOW_UPDATE, 0, 1, u32(1)) + get(3), answer(3)
    yield "5.1.1 an even number", (), get(2), connection(PROTOCOL)
    yield "5.1.1 a lower number", (), post(5) + get(3), connection(PROTOCOL, STREAM_CLOSED)
    many = b"".join(post(number) for number in range(1, 2 * 300, 2))
    yield "5.1.2 too many streams", (), many, {("reset", "any", REFUSED), ("reset", "any", PROTOCOL)}
    # 6.1 to 6.4.
    yield "6.1 DATA of stream 0", (), frame(DATA, END_STREAM, 0, b"x"), connection(PROTOCOL)
    padded = post() + frame(DATA, END_STREAM | PADDED, 1, b"\x03abc\0\0\0")
    yield "6.1 padding", (), padded, fine
    yield "6.1 more padding than frame", (), post() + frame(DATA, END_STREAM | PADDED, 1, b"\x08abc"), connection(PROTOCOL)
    yield "6.2 HEADERS of stream 0", (), get(0), connection(PROTOCOL)
    yield "6.2 padding", (), frame(HEADERS, both | PADDED, 1, b"\x02" + block() + b"\0\0"), fine
    yield "6.2 more padding than frame", (), frame(HEADERS, both | PADDED, 1, b"\xff" + block()), connection(PROTOCOL)
    yield "6.3 PRIORITY of stream 0", (), frame(PRIORITY, 0, 0, b"\0\0\0\1\xff"), connection(PROTOCOL)
    yield "6.4 RST_STREAM of stream 0", (), frame(RST_STREAM, 0, 0, u32(CANCEL)), connection(PROTOCOL)
    # 6.5: settings.
    yield "6.5 an ACK with something in it", (), frame(SETTINGS, ACK, 0, b"\0" * 6), connection(FRAME_SIZE)
    yield "6.5 SETTINGS of a stream", (), frame(SETTINGS, 0, 1, b"\0\3\0\0\0\x64"), connection(PROTOCOL)
    for number, value, code in [(2, 2, PROTOCOL), (4, 1 << 31, FLOW_CONTROL), (5, 16383, PROTOCOL), (5, 1 << 24, PROTOCOL)]:
        yield f"6.5.2 setting {number} of {value}", (), settings((number, value)), connection(code)
    yield "6.5.2 an unknown one", (), settings((0xFF, 1)) + get(), fine
    yield "6.5.2 one twice", ((4, 100), (4, 1)), get(1, path("/bytes/10")), {("data", 1, 1)}
    yield "6.5.3 is acknowledged", None, PREFACE + settings(), {("settings ack",)}
    # 6.6 to 6.8.
    yield "6.6 PUSH_PROMISE of a client", (), post() + frame(PUSH_PROMISE, END_HEADERS, 1, u32(2) + block()), connection(PROTOCOL)
    yield "6.7 PING is answered", (), frame(PING, 0, 0, b"8 octets"), {("ping ack", b"8 octets")}
    yield "6.7 and an answer is not", (), frame(PING, ACK, 0, b"invalid!") + frame(PING, 0, 0, b"8 octets"), {("ping ack", b"8 octets")}
    yield "6.7 PING of a stream", (), frame(PING, 0, 1, b"8 octets"), connection(PROTOCOL)
    yield "6.8 GOAWAY of a stream", (), frame(GOAWAY, 0, 1, u32(0) * 2), connection(PROTOCOL)
    yield "6.8 what has begun is answered", (), get() + frame(GOAWAY, 0, 0, u32(0) * 2), fine
    # 6.9: flow control.
    yield "6.9 nothing more of the connection", (), frame(WINDOW_UPDATE, 0, 0, u32(0)), connection(PROTOCOL)
    yield "6.9 nothing more of a stream", (), post() + frame(WINDOW_UPDATE, 0, 1, u32(0)), stream(1, PROTOCOL)
    top = u32((1 << 31) - 1)
    yield "6.9.1 the connection's window beyond its top", (), frame(WINDOW_UPDATE, 0, 0, top), connection(FLOW_CONTROL)
    yield "6.9.1 a stream's", (), post() + frame(WINDOW_UPDATE, 0, 1, top), stream(1, FLOW_CONTROL)
    ten = get(1, path("/bytes/10"))
    yield "6.9.1 no more than the window", ((4, 1),), ten, {("data", 1, 1)}
    yield "6.9.1 and the rest when it grows", ((4, 1),), ten + frame(WINDOW_UPDATE, 0, 1, u32(9)), fine
    yield "6.9.2 settings change the windows of streams", ((4, 0),), ten + settings((4, 10)), fine
    yield "6.9.2 beyond the top", (), post() + frame(WINDOW_UPDATE, 0, 1, u32(1 << 20)) + settings((4, (1 << 31) - 1)), stream(1, FLOW_CONTROL)
    flood = b"".join(frame(DATA, 0, 1, b"x" * 16384) for _ in range(1024))
    yield "6.9 more than our own window", ((4, 0),), post() + flood, stream(1, FLOW_CONTROL)
    # 6.10: CONTINUATION.
    head, rest = block()[:7], block()[7:]
    begun = frame(HEADERS, END_STREAM, 1, head)
    yield "6.10 in pieces", (), begun + b"".join(frame(CONTINUATION, 0, 1, rest[at : at + 8]) for at in range(0, len(rest), 8)) + frame(CONTINUATION, END_HEADERS, 1), fine
    yield "6.10 of stream 0", (), begun + frame(CONTINUATION, END_HEADERS, 0, rest), connection(PROTOCOL)
    yield "6.10 of another stream", (), begun + frame(CONTINUATION, END_HEADERS, 3, rest), connection(PROTOCOL)
    yield "6.10 after the end of the fields", (), post() + frame(CONTINUATION, END_HEADERS, 1, rest), connection(PROTOCOL)
    yield "6.10 DATA between", (), begun + frame(DATA, END_STREAM, 1, b"x"), connection(PROTOCOL)
    yield "6.10 without an end", (), frame(HEADERS, 0, 1, block()) + frame(CONTINUATION, 0, 1, b"\x00\x01a\x7f\x81\x1f" + b"b" * 4000) * 2000, connection(CALM, PROTOCOL, COMPRESSION, INTERNAL) | answer(1, "431") | stream(1, PROTOCOL, CALM)
    # 8: HTTP.
    yield "8.1 trailers", (), post() + frame(DATA, 0, 1, b"x") + get(1, [("x-trailer", "1")]), fine
    yield "8.1 trailers that do not end it", (), post() + frame(DATA, 0, 1, b"x") + get(1, [("x-trailer", "1")], END_HEADERS), stream(1, PROTOCOL)
    yield "8.1 a pseudo-field in trailers", (), post() + get(1, [(":path", "/")]), bad_request()
    for name in ("method", "scheme", "path"):
        yield f"8.3.1 no :{name}", (), get(1, of(**{name: None})), bad_request()
        twice = of() + [(f":{name}", dict(REQUEST)[f":{name}"])]
        yield f"8.3.1 :{name} twice", (), get(1, twice), bad_request()
    yield "8.3.1 an empty :path", (), get(1, path("")), bad_request()
    yield "8.2.1 capitals", (), get(1, REQUEST + [("X-TEST", "1")]), bad_request()
    yield "8.3 an unknown pseudo-field", (), get(1, REQUEST + [(":test", "1")]), bad_request()
    yield "8.3 one of responses", (), get(1, REQUEST + [(":status", "200")]), bad_request()
    yield "8.3 one after others", (), get(1, [("x-test", "1")] + REQUEST), bad_request()
    for name, value in [("connection", "keep-alive"), ("transfer-encoding", "chunked"), ("te", "gzip"), ("upgrade", "h2c")]:
        yield f"8.2.2 {name}", (), get(1, REQUEST + [(name, value)]), bad_request()
    yield "8.2.2 te: trailers", (), get(1, REQUEST + [("te", "trailers")]), fine
    data = frame(DATA, END_STREAM, 1, b"test")
    yield "8.1.1 a shorter body than announced", (), post(1, ("content-length", "5")) + data, bad_request()
    yield "8.1.1 a longer one", (), post(1, ("content-length", "1")) + data, bad_request()
    yield "8.1.1 the right one", (), post(1, ("content-length", "4")) + data, fine
    # Floods: whatever the server thinks of them, it answers or says that it will not.
    reset = b"".join(get(n, None) + frame(RST_STREAM, 0, n, u32(CANCEL)) for n in range(1, 2 * 2000, 2))
    yield "10.5 rapid reset", (), reset + get(4001), connection(CALM, PROTOCOL) | answer(4001)
    pings = frame(PING, 0, 0, b"8 octets") * 1000
    yield "10.5 pings", (), pings + get(), {("ping ack", b"8 octets")}
    yield "10.5 settings", (), settings() * 1000 + get(), fine | connection(CALM)
    yield "10.5 empty DATA", (), post() + frame(DATA, 0, 1) * 5000 + frame(DATA, END_STREAM, 1), fine | stream(1, CALM) | connection(CALM)


class Server:
    def __init__(self, address):
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=WAIT)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, first, data):
        if first is not None:
            data = PREFACE + settings(*first) + frame(SETTINGS, ACK) + data
        try:
            self.socket.sendall(data)
        except OSError:
            pass  # It has had enough; what it said of it can still be read.

    def read(self, length):
        data = b""
        while len(data) < length:
            got = self.socket.recv(length - len(data))
            if not got:
                raise ConnectionError
            data += got
        return data

    def first(self, expected):
        """What it does first, of what matters."""
        wanted = {kind for kind, *_ in expected}
        data, statuses, decoder = {}, {}, hpack.Decoder()
        try:
            while True:
                head = self.read(9)
                if head[:5] == b"HTTP/":
                    return ("gone",)  # It took it for HTTP/1.1, and refused it.
                length = int.from_bytes(head[:3], "big")
                kind, flags = head[3], head[4]
                number = int.from_bytes(head[5:], "big")
                payload = self.read(length)
                if kind == GOAWAY:
                    code = int.from_bytes(payload[4:8], "big")
                    if code != NO_ERROR:
                        return "goaway", code
                elif kind == RST_STREAM:
                    return "reset", number, int.from_bytes(payload, "big")
                elif kind == PING and flags & ACK and "ping ack" in wanted:
                    return "ping ack", payload
                elif kind == SETTINGS and flags & ACK and "settings ack" in wanted:
                    return ("settings ack",)
                elif kind == HEADERS:
                    fields = dict(decoder.decode(payload))
                    statuses.setdefault(number, fields.get(":status"))
                elif kind == DATA:
                    data[number] = data.get(number, 0) + length
                    if "data" in wanted:
                        return "data", number, data[number]
                if kind in (HEADERS, DATA) and flags & END_STREAM and self.matters(number, expected):
                    return "answer", number, statuses[number]
        except (ConnectionError, OSError) as error:
            return ("silent",) if isinstance(error, TimeoutError) else ("gone",)
        finally:
            self.socket.close()

    @staticmethod
    def matters(number, expected):
        """An answer to a stream that a case is not about says nothing, as an answer may come before its stream is reset."""
        numbers = {rest[0] for kind, *rest in expected if kind in ("answer", "reset")}
        return not numbers or number in numbers or "any" in numbers


def right(got, expected):
    if got[0] == "reset" and ("reset", "any", got[2]) in expected:
        return True
    return got in expected


def same(one, other):
    """A server that closes what it has not read to its end may have its GOAWAY lost by the reset that follows."""
    ends = {"goaway", "gone"}
    return one == other or (one[0] in ends and other[0] in ends and "gone" in (one[0], other[0])) or one[0] == other[0] == "reset"


def main():
    servers = sys.argv[1:]
    count, wrong = 0, []
    for name, first, data, expected in cases():
        outcomes = []
        for address in servers:
            server = Server(address)
            server.ask(first, data)
            outcomes.append(server.first(expected))
        count += 1
        agree = all(same(outcome, outcomes[0]) for outcome in outcomes) or name.startswith("10.5")
        if not agree or not all(right(outcome, expected) for outcome in outcomes):
            verdict = "differs" if not agree else "deviates alike"
            wrong.append((verdict, name))
            print(f"{verdict}: {name}: {outcomes}, expected {sorted(map(str, expected))}", file=sys.stderr)
    differing = [name for verdict, name in wrong if verdict == "differs"]
    if differing:
        sys.exit(f"{len(differing)} of {count} cases differ")
    print(f"{count} cases, {len(wrong)} deviate over every network:", *(f"[{name}]" for _, name in wrong))


main()
