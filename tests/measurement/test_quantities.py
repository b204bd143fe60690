from dataclasses import replace

import pytest

from .conftest import measured, round_


def test_energy_is_the_median_of_the_valid_rounds_and_memory_stands_in_the_environment():
    drawn = [round_(1.0, state={"energy_mj": mj}) for mj in (3.0, 4.0, 8.0)]
    drawn += [round_(1.0, state={"energy_mj": 99.0}, events=("thermal",)), round_(1.0)]
    found = replace(measured(drawn), environment={"memory_bytes": 4096, "peak_memory_bytes": 2**20})
    assert found.beside_time == {"energy_mj": 4.0, "memory_bytes": 4096.0}


@pytest.mark.parametrize("environment", [{}, {"memory_bytes": None}, {"memory_bytes": 0}, {"peak_memory_bytes": 2**20}])
def test_what_was_not_read_is_not_there(environment):
    still = [round_(1.0), round_(1.0, state={"energy_mj": 0.0})]  # a counter that never moved says nothing
    assert replace(measured(still), environment=environment).beside_time == {}
