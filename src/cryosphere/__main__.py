"""`python -m cryosphere` is the `cryosphere` command."""

from __future__ import annotations

from cryosphere.cli.main import main

if __name__ == "__main__":
    main()
