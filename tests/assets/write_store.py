"""Write the store that every later version must read: ``python tests/assets/write_store.py tests/assets/0.1.0``.

Run once for a release, never again: what it wrote is kept as it is.
"""

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

from tempograd import registry
from tempograd.data.store import Store
from tempograd.measurement.rounds import Failure
from tempograd.profiler.campaign import run
from tempograd.profiler.choose import choose
from tempograd.profiler.plan import QUICK, Items

SPACE = "nasbench201:cells=1,width=32,size=32"
DEVICE = "simulated:seed=11,crash=0.2,hang=0.1"


def write(path: Path) -> None:
    """Fill a store: a small campaign with faults, and beside it the verdicts that it does not give by itself."""
    space, device = registry.create("space", SPACE), registry.create("device", DEVICE)
    with Store(path, write=True) as store:
        run(device, Items.of(space, choose(space, 12, seed=1)), QUICK, store, seed=1, batch_size=6)
        like = next(m for m in store.measurements() if m.verdict == "ok")
        campaign = store.begin(space.spec, device.fingerprint, QUICK.record(9), 9, purpose="verify")
        failure = Failure("refused", "load", detail="rank 9; allowed: up to 8")
        hot = tuple(replace(r, key="4.4.4.4.4.4", events=("thermal",)) for r in like.rounds)
        store.append(
            campaign,
            replace(like, key="0.0.0.0.0.0", rounds=(), reference=None, failure=failure, plan=QUICK.record(9)),
            replace(like, key="4.4.4.4.4.4", rounds=hot, plan=QUICK.record(9)),
        )


def expected(path: Path) -> dict[str, object]:
    """Return what a reader must find in the store."""
    with Store(path) as store:
        rows = [
            {
                "key": m.key,
                "replicate": m.replicate,
                "verdict": m.verdict,
                "latency_ms": m.estimate.latency_ms if m.estimate else None,
                "path": m.estimate.path if m.estimate else None,
                "cause": m.failure.cause if m.failure else None,
                "rounds": len(m.rounds),
                "wall_ms": sum(sum(r.wall_ms) for r in m.rounds),
                "onnx_digest": m.onnx_digest,
            }
            for m in store.measurements()
        ]
        return {
            "rows": rows,
            "fingerprints": list(store.fingerprints()),
            "campaigns": [[c.id, c.space, c.seed, c.purpose, c.plan["name"]] for c in store.campaigns()],
            "calibrations": [asdict(c) for c in store.calibrations(next(iter(store.fingerprints())))],
        }


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True)
    write(folder / "store.db")
    (folder / "store.json").write_text(json.dumps(expected(folder / "store.db"), indent=1) + "\n")
    for name in ("store.db.lock", "store.db-wal", "store.db-shm"):
        (folder / name).unlink(missing_ok=True)
