from tempograd.farm.agent.breaker import FIRST_S, LONGEST_S, MOST_OPENINGS, WITHIN_S, Breaker

DAY = 24 * 3600.0


def test_it_opens_waits_and_closes_after_a_good_probe():
    breaker = Breaker()
    assert breaker.position(0) == "closed"
    breaker.trip("dead workers", 100)
    assert breaker.position(100 + FIRST_S - 1) == "open"
    assert breaker.position(100 + FIRST_S) == "half_open"
    assert breaker.reason == "dead workers"
    breaker.probe(None, 200)
    assert breaker.position(200) == "closed"
    assert breaker.reason == ""


def test_bad_probes_double_the_pause_up_to_an_hour():
    breaker, now = Breaker(), 0.0
    breaker.trip("gone", now)
    pauses = []
    for _ in range(9):
        pauses.append(breaker.pause_s)
        now = breaker.until_s
        breaker.probe("still gone", now)
    assert pauses == [60, 120, 240, 480, 960, 1920, LONGEST_S, LONGEST_S, LONGEST_S]
    assert breaker.position(now) == "open"
    assert not breaker.quarantined  # it was never closed in between


def test_five_openings_within_a_day_are_a_quarantine_until_released():
    breaker = Breaker()
    for n in range(MOST_OPENINGS):
        assert breaker.position(n * 1000.0) == "closed"
        breaker.trip("again", n * 1000.0)
        breaker.probe(None, n * 1000.0 + 61)
    assert breaker.position(1e9) == "quarantined"
    breaker = Breaker.of(breaker.record())
    assert breaker.position(1e9) == "quarantined"
    breaker.release()
    assert breaker.position(1e9) == "closed"
    assert breaker.openings == []


def test_openings_of_yesterday_do_not_count():
    breaker = Breaker()
    for n in range(3 * MOST_OPENINGS):
        breaker.trip("now and then", n * WITHIN_S / 3)
        breaker.probe(None, n * WITHIN_S / 3 + 61)
        assert len(breaker.openings) <= 3
    assert breaker.position(1e9) == "closed"
