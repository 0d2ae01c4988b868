"""Protobuf's wire format (https://protobuf.dev/programming-guides/encoding/): fields as bytes that can be prepared.

A message is the concatenation of its fields, so what is the same for every request of a policy, a token or an entry is
encoded once.
"""


def varint(number: int) -> bytes:
    """A non-negative integer in base 128, least significant group first."""
    if number < 0x80:
        return bytes((number,))
    groups = bytearray()
    while number >= 0x80:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    groups.append(number)
    return bytes(groups)


def tag(number: int, length: int) -> bytes:
    """What stands before the `length` bytes of field `number` (1 to 15): bytes, a string or a message."""
    if length < 0x80:
        return bytes((number << 3 | 2, length))
    return bytes((number << 3 | 2,)) + varint(length)


def delimited(number: int, content: bytes) -> bytes:
    """Field `number` (1 to 15) holding bytes, a string or a message."""
    return tag(number, len(content)) + content


def integer(number: int, value: int) -> bytes:
    """Field `number` (1 to 15) holding a non-negative integer or an enum."""
    return bytes((number << 3,)) + varint(value)
