"""Flame graphs of a contender at work, by py-spy."""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from benchmarks.ingest_contenders import ROOT, Program
from benchmarks.ingest_steps import RunFailed

__all__ = ["profiled"]


def _py_spy() -> str:
    """The path of py-spy, which stands beside the interpreter of a virtual environment."""
    path = shutil.which("py-spy", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if path is None:
        raise RunFailed("py-spy is not installed: pip install -r benchmarks/requirements.txt")
    return path


@contextlib.asynccontextmanager
async def profiled(program: Program, target: Path | None) -> AsyncIterator[None]:
    """Record a flame graph with py-spy, if a target is given."""
    if target is None:
        yield
        return
    process = await asyncio.create_subprocess_exec(
        *(_py_spy(), "record", "--rate", "250", "--nonblocking", "--output", str(target), "--pid", str(program.pid)),
        stdout=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
        await process.wait()
        _forget_place(target)


def _forget_place(target: Path) -> None:
    """Take the checkout's place out of a graph, which names the command that drew it."""
    if target.exists():
        target.write_text(target.read_text().replace(f"{ROOT}/", ""))
