"""Number of proto/numbers.proto as bytes, by hand, so that no protoc is needed."""


def encode(value):
    """Number { value = 1 }: a varint field, left out where it is zero."""
    if value == 0:
        return b""
    out = bytearray([0x08])
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def decode(data):
    if not data:
        return 0
    assert data[0] == 0x08, data
    value = 0
    for at, byte in enumerate(data[1:]):
        value |= (byte & 0x7F) << (7 * at)
    return value
