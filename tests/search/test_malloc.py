"""What a training step frees is there for the next."""

import subprocess
import sys

import pytest

from tempograd.search.malloc import keep_freed_memory

STEPS = """
import resource, sys
import numpy as np, torch
from tempograd import registry
from tempograd.search.malloc import keep_freed_memory
torch.set_num_threads(1)
if sys.argv[1] == "keep":
    keep_freed_memory()
space = registry.create("space", "mbconv:family=fbnetv2,size=16,width=0.5,stages=3,layers=2,classes=10")
network = space.to_torch(space.sample(1, np.random.default_rng(0))[0]).train()
images = torch.randn(64, 3, 16, 16)
for step in range(7):
    if step == 4:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    network(images).sum().backward()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.slow
def test_memory_that_one_step_freed_costs_the_next_one_no_page_faults():
    if not keep_freed_memory():
        pytest.skip("this C library has no mallopt: nothing to tell it")
    faults = {
        how: int(subprocess.run([sys.executable, "-c", STEPS, how], capture_output=True, text=True, check=True).stdout)
        for how in ("leave", "keep")
    }
    if faults["leave"] < 1000:
        pytest.skip(f"this C library keeps what a step frees anyway: {faults['leave']} page faults in three steps")
    assert faults["keep"] < 0.3 * faults["leave"], faults
