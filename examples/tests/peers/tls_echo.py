"""Echo over OpenSSL's TLS: `PORT CERTIFICATE KEY`, a thread a connection. Says "ready" when it listens."""

import socket
import ssl
import sys
import threading

port, certificate, key = int(sys.argv[1]), sys.argv[2], sys.argv[3]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)


def echo(connection):
    with context.wrap_socket(connection, server_side=True) as stream:
        while piece := stream.recv(16384):
            stream.sendall(piece)


listener = socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
print("ready", flush=True)
while True:
    threading.Thread(target=echo, args=(listener.accept()[0],), daemon=True).start()
