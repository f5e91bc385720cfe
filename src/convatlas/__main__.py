"""`python -m convatlas`: the command line; torchrun starts it as a module, once per process."""

import os
import sys

from .cli import main

if __name__ == "__main__":
    code = main()
    if "TORCHELASTIC_RUN_ID" in os.environ:
        # Everything is written by now. At the end of a process of several, native threads of torch.distributed sometimes
        # abort it ("terminate called without an active exception"), and torchrun then calls a finished run failed.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    raise SystemExit(code)
