"""Echo over OpenSSL's TLS: `ADDRESS PORT CERTIFICATE KEY`, a thread a connection. Says "ready" when it listens."""

import socket
import ssl
import sys
import threading

address, port, certificate, key = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)


def echo(connection):
    with context.wrap_socket(connection, server_side=True) as stream:
        while piece := stream.recv(16384):
            stream.sendall(piece)


family = socket.AF_INET6 if ":" in address else socket.AF_INET
listener = socket.create_server((address, port), family=family)
print("ready", flush=True)
while True:
    threading.Thread(target=echo, args=(listener.accept()[0],), daemon=True).start()
