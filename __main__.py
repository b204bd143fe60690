"""``tempograd`` and ``python -m tempograd``: the command line, and the agent that starts without most of it."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line, or the agent, which needs neither torch nor the command line's libraries."""
    if sys.argv[1:2] == ["agent"]:
        from .farm.agent.command import run

        sys.exit(run(sys.argv[2:]))
    from .cli import main as cli

    cli()


if __name__ == "__main__":
    main()
