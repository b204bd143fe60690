"""An agent that measures nothing, as a process: takes jobs, waits as long as a measurement would, delivers.

Usage: agent_loop.py AGENT.TOML CLASS ACK_WAIT_S WORK_MS
"""

import select
import sys
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from conftest import _result

from tempograd.farm.connection import open_queue, read_access
from tempograd.farm.queue import QueueAwayError, Terms


def rest(seconds):
    """Sleep, also where libfaketime is loaded: under it ``time.sleep`` fails."""
    select.select([], [], [], seconds)


def persist(call, *arguments):
    """Do something that may be repeated until the queue is there."""
    while True:
        try:
            return call(*arguments)
        except QueueAwayError:
            rest(0.1)


def main(path, device_class, ack_wait_s, work_ms):
    url, access = read_access(Path(path))
    terms = Terms(ack_wait_s=float(ack_wait_s))
    with open_queue(url, access=access, terms=terms, patience_s=1.0) as queue:
        while True:
            leases = persist(queue.take, device_class, 8, 1000)
            done = []
            for lease in leases:
                rest(float(work_ms) / 1e3)
                leases = queue.renew(leases)
                done.append(_result(lease, agent=access.agent))
            persist(queue.deliver, done)
            with suppress(QueueAwayError):
                queue.finish(leases)


if __name__ == "__main__":
    main(*sys.argv[1:])
