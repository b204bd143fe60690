"""``tempograd`` and ``python -m tempograd``: the command line, and the agent that starts without most of it.

An agent runs on boards where neither torch nor the command line's libraries are installed, so its own command is
read here, by the standard library.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

EXAMPLES = """\
examples:
  tempograd agent --class laptop                          # queue in a file of the working directory, no server
  tempograd agent --class laptop --queue nats://127.0.0.1:4222 --device local:threads=2
  tempograd agent --config agent.toml                     # as written by tempograd farm add-agent
  tempograd agent --new-key agent.nk                      # a key made here; then: tempograd farm add-agent --key U...

exit codes: 0 stopped or drained, 2 usage, 4 device or key not there, 5 file refused or jobs of a newer version,
  7 spool unusable, 130 stopped twice. What it holds and has not delivered is kept in the spool.
"""


def main() -> None:
    """Run the command line, or the agent."""
    if sys.argv[1:2] == ["agent"]:
        sys.exit(agent(sys.argv[2:]))
    from .cli import main as cli

    cli()


def agent(arguments: Sequence[str]) -> int:
    """Run ``tempograd agent`` and return its exit code."""
    from .errors import TempogradError
    from .verbs import agent as verb

    given = _parser().parse_args(arguments)
    if given.new_key is not None:
        return _new_key(given.new_key)
    stop = threading.Event()

    def interrupt(*_: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        tell("finishing the pass under way; once more to stop now")

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    try:
        settings = verb.settings_of(
            config=given.config, name=given.name, device_class=given.device_class, queue=given.queue,
            device=given.device, spool=given.spool,
        )  # fmt: skip
        verb.agent(settings, idle_exit_s=given.idle_exit, release=given.release, tell=tell, stop=stop)
    except TempogradError as error:
        tell(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        tell("stopped; what was kept is delivered when it starts again")
        return 130
    return 0


def _new_key(path: Path) -> int:
    """Write a new key, say its public half, and return the exit code."""
    from .devices.farm.credentials import new_seed, public_key, write_private
    from .errors import TempogradError

    try:
        seed = new_seed()
        write_private(path, seed + "\n")
    except TempogradError as error:
        tell(str(error))
        return error.exit_code
    sys.stdout.write(public_key(seed) + "\n")
    return 0


def tell(line: str) -> None:
    """Write a line for a person to standard error."""
    sys.stderr.write(f"tempograd agent: {line}\n")
    sys.stderr.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "tempograd agent",
        description="Lend this machine's device to a farm: take networks from its queue, time them, deliver results.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", type=Path, help="agent.toml; what is given beside it goes first")
    parser.add_argument("--class", dest="device_class", help="class of the jobs that it takes, e.g. pi5-ort-cpu4")
    parser.add_argument("--queue", help="embedded:PATH, nats://127.0.0.1:4222 or tls://HOST:4222")
    parser.add_argument("--device", help="device that it lends, e.g. local:threads=2 (the default is local)")
    parser.add_argument("--name", help="id within the farm; by default that in the file, or agent-CLASS")
    parser.add_argument("--spool", type=Path, help="folder for what must survive; by default NAME-spool")
    parser.add_argument("--idle-exit", type=float, metavar="SECONDS", help="end after so long without work")
    parser.add_argument("--new-key", type=Path, metavar="FILE", help="make a key, print its public half, and end")
    parser.add_argument("--release", action="store_true", help="forget that the device was quarantined")
    return parser


if __name__ == "__main__":
    main()
