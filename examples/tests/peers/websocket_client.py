"""A foreign WebSocket client: sends messages of several sizes to each server and wants them back.

Usage: websocket_client.py URL...
"""
import asyncio
import sys

import websockets


async def talk(url):
    async with websockets.connect(url, max_size=None, compression=None) as socket:
        for length in (0, 1, 125, 126, 127, 65535, 65536, 1_000_000):
            for message in ("é" * (length // 2), b"\x07" * length):
                await socket.send(message)
                got = await socket.recv()
                assert got == message, (url, length)
        # A message in fragments, with a ping between them.
        pong = None

        async def fragments():
            nonlocal pong
            yield "one "
            pong = await socket.ping(b"between")
            yield "message"

        await socket.send(fragments())
        assert await socket.recv() == "one message"
        await asyncio.wait_for(pong, 20)
    assert socket.close_code == 1000, socket.close_code


async def main():
    for url in sys.argv[1:]:
        await asyncio.wait_for(talk(url), 50)
    print("all messages came back")


asyncio.run(main())
