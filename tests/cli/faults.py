"""A disk that fails at the n-th write, in this process or, as a program, for commands in processes of their own.

The program reads one JSON object per line: `cwd`, `words` and `fault`; it runs each in a process forked from itself,
which has imported everything already, and answers with a line: `code` (negative: the signal that killed it), `text`
(what it said) and `writes`, its places of failure: everything below `cwd` that it opened to write, made, renamed or
removed, in this order.
"""

import errno
import json
import os
import resource
import select
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
REMOVES = ("os.remove", "os.rmdir")
CHANGES = ("os.mkdir", "os.rename", "os.truncate", *REMOVES)


class Disk:
    """An audit hook that sees each write of this process below `home`, and fails as `fault` says.

    Its `kind` is kill (before the write number `at`), full (from that one on only removing succeeds), closed (nothing
    may be written), or limit (no file grows beyond `bytes`: what would is killed in the middle of its write with
    `kill`, else refused). `killed` raised in place of a signal ends a process that is not one: nothing that happens
    while it is handled changes the disk.
    """

    def __init__(self, home: Path, fault: dict[str, Any], killed: type[BaseException] | None = None) -> None:
        self.home, self.fault, self.killed, self.seen = str(home), fault, killed, list[str]()
        if fault.get("kind") == "limit":
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL if fault["kill"] else signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_FSIZE, (fault["bytes"], fault["bytes"]))

    def __call__(self, event: str, given: tuple[Any, ...]) -> None:
        if event == "open":
            if not isinstance(given[2], int) or not given[2] & WRITES:
                return
        elif event not in CHANGES:
            return
        path = given[1] if event == "os.rename" else given[0]
        if not isinstance(path, str | bytes | os.PathLike):
            return
        path = os.path.abspath(os.fsdecode(path))       # noqa: PTH100 - follows no link
        if not path.startswith(self.home + os.sep):
            return
        kind, at = self.fault.get("kind"), self.fault.get("at", 0)
        if kind == "kill" and len(self.seen) >= at:
            if self.killed is not None:
                raise self.killed
            os.kill(os.getpid(), signal.SIGKILL)
        if kind == "closed" or (kind == "full" and len(self.seen) >= at and event not in REMOVES):
            number = errno.EACCES if kind == "closed" else errno.ENOSPC
            raise OSError(number, os.strerror(number), path)
        self.seen.append(f"{event} {os.path.relpath(path, self.home)}")


def child(job: dict[str, Any], said: int, log: int) -> None:
    """The command, in this process, to its end."""
    os.dup2(said, 1)
    os.dup2(said, 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
    os.chdir(job["cwd"])
    code = 99
    try:
        from convatlas.cli import main

        disk = Disk(Path(job["cwd"]), job.get("fault") or {})
        sys.addaudithook(disk)
        code = main([str(word) for word in job["words"]])
        sys.stdout.flush()
        os.write(log, "\n".join(disk.seen).encode("utf-8", "replace"))
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def done(job: dict[str, Any]) -> dict[str, Any]:
    """What became of the command."""
    (hear, said), (read, log) = os.pipe(), os.pipe()
    process = os.fork()
    if not process:
        child(job, said, log)
    os.close(said)
    os.close(log)
    heard = {hear: b"", read: b""}
    open_ = set(heard)
    while open_:
        for pipe in select.select(list(open_), [], [])[0]:
            piece = os.read(pipe, 2**16)
            heard[pipe] += piece
            if not piece:
                open_.discard(pipe)
                os.close(pipe)
    _, status = os.waitpid(process, 0)
    return {"code": os.waitstatus_to_exitcode(status), "text": heard[hear].decode(errors="replace"),
            "writes": heard[read].decode().splitlines()}


if __name__ == "__main__":
    import torch

    import convatlas.cli.app
    for name in sys.argv[1:]:
        __import__(name)
    convatlas.info("lenet5_modern")         # imports all networks, and torch what counts their layers
    torch.set_num_threads(1)
    for line in sys.stdin:
        print(json.dumps(done(json.loads(line))), flush=True)
