"""Protobuf's wire format, as far as messages are put together from serialised parts."""


def length_delimited_head(tag: int, length: int) -> bytes:
    """Tag and length of a length-delimited field.

    Args:
        tag: field number << 3 | 2, of field numbers below 16.
        length: of the content in bytes.
    """
    if length < 0x80:
        return bytes((tag, length))
    head = bytearray((tag,))
    while length >= 0x80:
        head.append(length & 0x7F | 0x80)
        length >>= 7
    head.append(length)
    return bytes(head)
