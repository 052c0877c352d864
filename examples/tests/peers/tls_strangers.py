"""What is no handshake: garbage, half a ClientHello and silence, an end in the middle, connections that say nothing.

`ADDRESS PORT COUNT`: each kind, COUNT of them where many cost nothing, and waits until the server has let all go.
`ADDRESS PORT COUNT hold`: COUNT connections that say nothing, until the server has let all go.
"""

import socket
import ssl
import struct
import sys

address, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
hold = len(sys.argv) > 4


def client_hello():
    """One of OpenSSL's."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="a.example")
    try:
        client.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()


def connect(data=b""):
    connection = socket.create_connection((address, port), timeout=25)
    connection.sendall(data)
    return connection


def let_go(connection):
    """Waits for its end, however it comes; a time that runs out is an error."""
    try:
        while connection.recv(4096):
            pass
    except ConnectionError:
        pass
    connection.close()


hello = client_hello()
assert hello[0] == 22 and len(hello) > 100
if hold:
    silent = [connect() for _ in range(count)]
    print(f"{count} say nothing", flush=True)
else:
    for number in range(count):
        # Ends of both kinds, at every place in turn.
        connection = connect(hello[: number * len(hello) // count])
        if number % 2:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
    let_go(connect(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"))
    let_go(connect(bytes(range(256)) * 64))
    let_go(connect(hello + hello))
    # A record longer than TLS has any.
    let_go(connect(b"\x16\x03\x01\xff\xff" + bytes(100)))
    silent = [connect(hello[: len(hello) // 2]), connect()]
for connection in silent:
    let_go(connection)
print("all were let go", flush=True)
