"""`python -m convatlas`: the command line; torchrun starts it as a module, once per process."""

from .cli import main

if __name__ == "__main__":
    raise SystemExit(main())
