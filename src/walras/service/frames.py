"""Frames on a stream: four bytes of length, one byte of kind, the body. The one wire format between meter, gateway and oracle.

A frame longer than the reader allows ends the connection before it is read, so nobody fills the memory from outside.
"""

from __future__ import annotations

import asyncio

from walras.errors import MeteringError, RefusedForGood

READINGS, BATCH, VOTE, REQUEST, WAITING, EDIT, EXCHANGE, ANSWER = b"R", b"B", b"V", b"Q", b"W", b"E", b"M", b"A"
"""Readings to a gateway; a batch to an oracle; the vote for a slot, please; a signed request (`access`) to an oracle; how many
batches each oracle has yet to acknowledge, of a gateway; an edit order (`editing`) to an oracle; a
meter's exchange (`meter_exchange`); the answer."""

SORRY, NEVER = b"X", b"N"
"""Why there is no answer now; and why the same bytes will never get another one."""

MASKED, TOLD, HUNG = b"M", b"T", b"H"
"""Meters' messages to a balance oracle; what is said to a meter there, please; a meter that was hung in another's place joins."""


async def read_frame(reader: asyncio.StreamReader, longest: int) -> tuple[bytes, bytes] | None:
    """Kind and body, or None where the stream ends between frames. MeteringError for a frame too long or cut off."""
    head = await reader.read(1)
    if not head:
        return None
    try:
        head += await reader.readexactly(4)
        size = int.from_bytes(head[:4], "big")
        if size > longest:
            raise MeteringError(f"a frame of {size} bytes, at most {longest} are read", thing="frame")
        return head[4:5], await reader.readexactly(size)
    except asyncio.IncompleteReadError as cause:
        raise MeteringError("the stream ended within a frame", thing="frame") from cause


async def write_frame(writer: asyncio.StreamWriter, kind: bytes, body: bytes) -> None:
    """Send one frame."""
    writer.write(len(body).to_bytes(4, "big") + kind + body)
    await writer.drain()


def host_of(writer: asyncio.StreamWriter) -> str:
    """The host at the other end."""
    peer = writer.get_extra_info("peername")
    return str(peer[0]) if peer else ""


async def ask(host: str, port: int, kind: bytes, body: bytes, longest: int, patience_s: float) -> bytes:
    """One question, one answer, on a connection of its own.

    OSError or TimeoutError where the peer cannot be reached; RefusedForGood where it answers NEVER, MeteringError where SORRY.
    """
    async with asyncio.timeout(patience_s):
        reader, writer = await asyncio.open_connection(host, port)
        try:
            await write_frame(writer, kind, body)
            answer = await read_frame(reader, longest)
        finally:
            writer.close()
    if answer is None:
        raise ConnectionResetError("the peer closed without an answer")
    if answer[0] != ANSWER:
        raise (RefusedForGood if answer[0] == NEVER else MeteringError)(answer[1].decode(errors="replace"), thing=(host, port))
    return answer[1]
