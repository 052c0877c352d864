"""A foreign gRPC client of proto/numbers.proto.

Usage: grpc_client.py HOST:PORT [CA CERTIFICATE]
"""
import sys

import grpc

from number import decode, encode


def main():
    target = sys.argv[1]
    if len(sys.argv) > 2:
        with open(sys.argv[2], "rb") as file:
            credentials = grpc.ssl_channel_credentials(file.read())
        channel = grpc.secure_channel(target, credentials)
    else:
        channel = grpc.insecure_channel(target)
    with channel:
        kind = lambda name, method: getattr(channel, name)(
            f"/dpdk_net.examples.v1.Numbers/{method}", encode, decode
        )
        square, call = kind("unary_unary", "Square").with_call(12, timeout=20)
        assert square == 144
        peer = dict(call.initial_metadata())["peer"]
        assert peer.startswith(("198.18.0.1:", "[::ffff:198.18.0.1]:", "[fd00:198:18::1]:")), peer
        count = kind("unary_stream", "Count")(3000, timeout=30)
        assert list(count) == list(range(1, 3001))
        numbers = range(1, 501)
        assert kind("stream_unary", "Sum")(iter(numbers), timeout=30) == sum(numbers)
        sums = list(kind("stream_stream", "Accumulate")(iter(numbers), timeout=30))
        assert sums[:3] == [1, 3, 6] and sums[-1] == sum(numbers)
        wait = kind("unary_unary", "Wait")
        for call, code in [
            (lambda: wait(10000, timeout=0.2), grpc.StatusCode.DEADLINE_EXCEEDED),
            (lambda: kind("unary_unary", "Square")(2**40, timeout=20), grpc.StatusCode.OUT_OF_RANGE),
            (lambda: kind("unary_unary", "Nothing")(1, timeout=20), grpc.StatusCode.UNIMPLEMENTED),
        ]:
            try:
                call()
                raise AssertionError(f"{code} was expected")
            except grpc.RpcError as error:
                assert error.code() == code, error
        stream = kind("unary_stream", "Count")(2**60, timeout=30)
        assert next(stream) == 1
        stream.cancel()
        assert wait(1, timeout=20) == 1, "the connection outlives a cancelled stream"
    print("all calls answered")


main()
