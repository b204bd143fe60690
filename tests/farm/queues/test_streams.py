"""What a campaign makes on a server: nothing is kept without a limit, and a job is given out only so often."""

import pytest

from tempograd.farm import subjects
from tempograd.farm.queue import Terms
from tempograd.farm.queues.streams import KEYS_BYTES, Room, job_consumer, result_consumer, streams

MADE = {stream["name"]: stream for stream in streams(Room(jobs=1, results=2, models=3))}


def test_every_stream_has_a_limit_and_a_place_on_the_disk():
    assert {name: stream["max_bytes"] for name, stream in MADE.items()} == {
        subjects.EXHAUSTED: KEYS_BYTES, subjects.JOBS: 1, subjects.RESULTS: 2, subjects.MODELS_STREAM: 3,
        subjects.AGENTS_STREAM: KEYS_BYTES, subjects.ENVIRONMENTS_STREAM: KEYS_BYTES,
    }  # fmt: skip
    assert {stream["storage"] for stream in MADE.values()} == {"file"}


def test_no_two_streams_take_the_same_message():
    names = [name for stream in MADE.values() for name in stream["subjects"]]
    assert len(set(names)) == len(names)
    assert subjects.job("pi5", "x").startswith(MADE[subjects.JOBS]["subjects"][0].partition("*")[0])


@pytest.mark.parametrize("name", [subjects.JOBS, subjects.RESULTS])
def test_what_is_full_refuses_what_is_new_and_what_is_done_goes(name):
    assert (MADE[name]["retention"], MADE[name]["discard"]) == ("workqueue", "new")


def test_a_job_stands_there_once_and_news_of_dead_ones_pushes_out_the_oldest():
    assert MADE[subjects.JOBS]["max_msgs_per_subject"] == 1
    assert MADE[subjects.JOBS]["discard_new_per_subject"] is True
    assert MADE[subjects.EXHAUSTED]["discard"] == "old"


def test_a_job_is_given_out_so_often_and_a_result_until_it_is_stored():
    terms = Terms(ack_wait_s=2.5, max_deliver=4)
    job, result = job_consumer("pi5", terms), result_consumer("c1", terms)
    assert (job["max_deliver"], job["ack_wait"], job["filter_subject"]) == (4, 2_500_000_000, subjects.job("pi5", "*"))
    assert (result["max_deliver"], result["filter_subject"]) == (-1, subjects.result("c1", "*"))
    assert job["ack_policy"] == result["ack_policy"] == "explicit"
