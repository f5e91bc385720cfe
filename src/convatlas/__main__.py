"""`python -m convatlas`: the command line; torchrun starts it as a module, once per process."""

import os
import sys

from .cli import main

if __name__ == "__main__":
    code = main()
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        # Everything is written by now. After the interpreter's end a native thread of torch.distributed aborts one
        # process in about sixty ("terminate called without an active exception"), and torchrun then calls a finished
        # run failed.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    raise SystemExit(code)
