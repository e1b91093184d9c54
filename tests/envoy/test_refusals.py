import asyncio
import os
from pathlib import Path

import pytest

from credential_injector.envoy.files import Files
from credential_injector.envoy.refusals import Refusals


async def test_lines(tmp_path: Path) -> None:
    """Each whole line tells of one environment, in whichever pieces it comes, and also after Envoy has ended."""
    files = Files(tmp_path / "envoy")
    files.make()
    told: list[str] = []
    enough = asyncio.Event()

    def tell(name: str, _: object) -> None:
        told.append(name)
        if len(told) == 3:
            enough.set()

    pipe = Refusals(files.paths.refusals, tell)
    try:
        for pieces in ((b"1700000000.5 q", b"a\n1700000001.5 uat\n"), (b"1700000002.5 prod\n",)):
            writer = os.open(files.paths.refusals, os.O_WRONLY | os.O_NONBLOCK)
            for piece in pieces:
                os.write(writer, piece)
            os.close(writer)
        async with asyncio.timeout(10):
            await enough.wait()
    finally:
        pipe.close()
    assert told == ["qa", "uat", "prod"]
    with pytest.raises(OSError, match="No such device"):
        os.open(files.paths.refusals, os.O_WRONLY | os.O_NONBLOCK)  # nobody reads any more
