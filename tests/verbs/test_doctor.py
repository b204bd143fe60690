"""``doctor`` tells every finding with the command that helps."""

from tempograd.devices.doctor import Finding
from tempograd.verbs import doctor as verb


def test_findings_and_remedies_are_in_text_and_document(monkeypatch):
    found = [Finding("warn", "governor", "powersave", "cpupower frequency-set -g performance")]
    monkeypatch.setattr(verb, "examine", lambda: found)
    outcome = verb.doctor()
    assert outcome.document["findings"] == [vars(found[0])]
    assert "cpupower frequency-set -g performance" in outcome.text
    assert "powersave" in outcome.text
