"""End a private server and remove its folder even when the test run itself is killed."""

import subprocess
from collections.abc import Iterable
from pathlib import Path

# Reads one line per change: what to kill once the pipe closes, which it does however the test run ends.
# (`-s KILL`: with `-KILL`, some shells refuse the `--` that a process group needs.)
_WATCHER = """
while read -r line; do targets=$line; done
for target in $targets; do kill -s KILL -- "$target" 2>/dev/null; done
rm -rf -- "$1"
"""


class Leash:
    """A small watching process, told what to end and what to remove once its owner lets go or dies."""

    def __init__(self, folder: Path) -> None:
        """Watch over `folder`, which is removed at the end."""
        self._watcher = subprocess.Popen(
            ["/bin/sh", "-c", _WATCHER, "leash", str(folder)],
            stdin=subprocess.PIPE,
            start_new_session=True,  # a Ctrl-C in the terminal must not end the watcher before its duty
            text=True,
        )

    def hold(self, targets: Iterable[int]) -> None:
        """Replace what will be ended: process ids, or process groups as negative numbers."""
        assert self._watcher.stdin is not None
        self._watcher.stdin.write(" ".join(map(str, targets)) + "\n")
        self._watcher.stdin.flush()

    def release(self) -> None:
        """Let the watcher do its duty now, and wait for it."""
        assert self._watcher.stdin is not None
        self._watcher.stdin.close()
        self._watcher.wait()
