"""What happens to a phone while it is asked."""

import threading
import time
from contextlib import contextmanager

import psutil


@contextmanager
def later(seconds, *steps):
    """Do steps in the background, each so long after the one before."""

    def do():
        for step in steps:
            time.sleep(seconds)
            step()

    thread = threading.Thread(target=do)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def worker_of(loop):
    (worker,) = psutil.Process(loop).children()
    return worker
