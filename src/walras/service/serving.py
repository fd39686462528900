"""One connection of a node: frames come, each is answered or told why not, until the stream ends.

A host that asks too fast is told to come back before anything of its frame is looked at. What is no stream of frames is cut: there
is no one to answer to.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from walras.errors import MeteringError, PhaseError, RefusedForGood
from walras.service.frames import ANSWER, NEVER, SORRY, host_of, read_frame, write_frame
from walras.service.rate_limits import TOO_FAST, HostLimits

Reply = Callable[[bytes, bytes], bytes]
"""Kind and body of a frame -> body of the answer; MeteringError or PhaseError says why there is none."""


async def serve(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, reply: Reply, longest: int, limits: HostLimits | None = None
) -> None:
    """Answer the frames of a connection, of at most `longest` bytes each, as `limits` admits its host."""
    try:
        while (frame := await read_frame(reader, longest)) is not None:
            if limits is not None and not limits.admits(host_of(writer)):
                await write_frame(writer, SORRY, TOO_FAST.encode())
                continue
            try:
                answer = reply(*frame)
            except (MeteringError, PhaseError) as why:
                await write_frame(writer, NEVER if isinstance(why, RefusedForGood) else SORRY, why.message.encode())
                continue
            await write_frame(writer, ANSWER, answer)
    except (MeteringError, ConnectionError):
        writer.transport.abort()
    finally:
        writer.close()
