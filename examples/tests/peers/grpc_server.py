"""A foreign gRPC server of proto/numbers.proto.

Usage: grpc_server.py PORT [KEY CERTIFICATE]
"""
import sys
import time
from concurrent import futures

import grpc

from number import decode, encode


def square(value, context):
    if value >= 2**32:
        context.abort(grpc.StatusCode.OUT_OF_RANGE, "the number has more than 64 bits")
    return value * value


def count(value, context):
    yield from range(1, value + 1)


def accumulate(values, context):
    total = 0
    for value in values:
        total += value
        yield total


def wait(value, context):
    time.sleep(min(value, 500) / 1000)
    return value


def main():
    handlers = {
        "Square": grpc.unary_unary_rpc_method_handler(square, decode, encode),
        "Count": grpc.unary_stream_rpc_method_handler(count, decode, encode),
        "Sum": grpc.stream_unary_rpc_method_handler(lambda values, _: sum(values), decode, encode),
        "Accumulate": grpc.stream_stream_rpc_method_handler(accumulate, decode, encode),
        "Wait": grpc.unary_unary_rpc_method_handler(wait, decode, encode),
    }
    server = grpc.server(futures.ThreadPoolExecutor(8))
    generic = grpc.method_handlers_generic_handler("dpdk_net.examples.v1.Numbers", handlers)
    server.add_generic_rpc_handlers((generic,))
    address = f"[::]:{sys.argv[1]}"
    if len(sys.argv) > 2:
        key, certificate = (open(name, "rb").read() for name in sys.argv[2:4])
        credentials = grpc.ssl_server_credentials([(key, certificate)])
        server.add_secure_port(address, credentials)
    else:
        server.add_insecure_port(address)
    server.start()
    print("ready", flush=True)
    server.wait_for_termination()


main()
