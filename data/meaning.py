"""What a column of a table holds, by its name: latencies in which unit, or another quantity."""

from __future__ import annotations

import re
from dataclasses import dataclass

MS = {"s": 1e3, "ms": 1.0, "us": 1e-3, "ns": 1e-6}  # of one of each unit
_UNITS = {
    "ns": ("ns", "nsec", "nsecs", "nanosecond", "nanoseconds", "nanos"),
    "us": ("us", "usec", "usecs", "µs", "μs", "microsecond", "microseconds", "micros"),
    "ms": ("ms", "msec", "msecs", "millisecond", "milliseconds", "millis"),
    "s": ("s", "sec", "secs", "second", "seconds"),
}
_UNIT_OF = {word: unit for unit, words in _UNITS.items() for word in words}
_LAST_ONLY = {"s", "j", "w"}  # a single letter is a unit at the end of a longer name only
_KINDS = {
    "throughput": "fps ips qps tps hz khz mhz ghz throughput speed speedup bandwidth gbps mbps rate",
    "energy": "j mj uj nj kj wh mwh joule joules millijoule millijoules energy edp",
    "power": "w mw kw watt watts milliwatt milliwatts power",
    "memory": "byte bytes kb mb gb kib mib gib memory mem ram vram",
    "error": "error err loss nll ppl perplexity entropy mse mae rmse",
    "accuracy": "acc accuracy top1 top5 miou auc f1 score pct percent",
    "a count": "flop flops mflops gflops tflops mac macs gmacs madds param params parameters layers intensity",
    "time": "latency latencies lat time runtime duration delay inference",
}
_KIND_OF = {word: kind for kind, words in _KINDS.items() for word in words.split()}
_PER_SECOND = re.compile(r"(per|/)[\s_.-]*s(ec(ond)?)?s?\b", re.IGNORECASE)
_CONDITIONS = re.compile(
    r"(device|hardware|hw|platform|machine|host|soc|chip|gpu|cpu|npu|phone|board|batch|bs|data_?set|split|precision|"
    r"dtype|quanti[sz]ation|runtime|backend|framework|compiler|engine|provider|threads?|num_threads|n_threads|cores|"
    r"resolution|res|input_size|image_size|img_size|input_res|units?|metric|quantity)([_ ]?(name|id|type|size|kind))?",
    re.IGNORECASE,
)
_REPETITIONS = re.compile(
    r"(.*[_ ])?(seed|run|runs|repeat|repetition|rep|trial|round|iteration|iter|index|idx|id|date|time|timestamp|note)",
    re.IGNORECASE,
)
OF_LATENCY = ("dataset", "data_set", "split")  # conditions of accuracies; all others are of latencies


@dataclass(frozen=True)
class Meaning:
    """What a name says.

    Attributes:
        kind: Kind of the quantity, ``time`` or one of its siblings in this module; empty where the name does not say.
        unit: Unit of time: ``s``, ``ms``, ``us`` or ``ns``; empty where the name does not say.
    """

    kind: str = ""
    unit: str = ""


def meaning_of(name: str) -> Meaning:
    """Return what a column's name says of its values; a unit of time counts for more than any word.

    >>> meaning_of("pixel3_latency_us"), meaning_of("fps").kind, meaning_of("energy_mj").kind, meaning_of("help:raspi4")
    (Meaning(kind='time', unit='us'), 'throughput', 'energy', Meaning(kind='', unit=''))
    """
    if _PER_SECOND.search(name):
        return Meaning("throughput")
    words = _words(name)
    kinds = [_KIND_OF[word] for i, word in enumerate(words) if word in _KIND_OF and _counts(word, i, words)]
    if "throughput" in kinds:
        return Meaning("throughput")
    units = [_UNIT_OF[word] for i, word in enumerate(words) if word in _UNIT_OF and _counts(word, i, words)]
    if units:
        return Meaning("time", units[-1])
    return Meaning(next((kind for kind in _KINDS if kind in kinds), ""))


def condition(name: str) -> bool:
    """Return whether a column of this name says under what conditions a row was taken: ``device``, ``batch``."""
    return bool(_CONDITIONS.fullmatch(name.strip()))


def repetition(name: str) -> bool:
    """Return whether a column of this name tells repetitions of one measurement apart, such as ``seed`` or ``run``."""
    return bool(_REPETITIONS.fullmatch(name.strip()))


def _words(name: str) -> list[str]:
    found: list[str] = []
    for part in re.split(r"[^A-Za-zµμ0-9]+", name):
        if part.lower() in _UNIT_OF or part.lower() in _KIND_OF:
            found.append(part.lower())
        else:
            found += [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-zµμ]+\d*|\d+[a-z]*", part)]
    return found


def _counts(word: str, place: int, words: list[str]) -> bool:
    if word in _LAST_ONLY:
        return 0 < place == len(words) - 1
    return word != "us" or place > 0 or len(words) == 1  # us_west is a place
