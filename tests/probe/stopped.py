"""SIGSTOP of a leader for 0.5 to 15 times its lease, under the workloads of all checkers: `stopped.py`.

No read may be stale and no write lost, however long the leader stood still. The last line is `N stops passed`.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from probe.nemeses.catalogue import PAUSES_S
from probe.rig import Layout
from probe.trial import run_trial


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32), help="of the load")
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    data = Path(tempfile.mkdtemp(prefix="kvstore-stopped-"))
    faults = [(f"stop_leader:{pause_s}",) for pause_s in PAUSES_S]
    measured = asyncio.run(run_trial(data, Layout(), None, arguments.seed, faults))
    measured.check()
    shutil.rmtree(data)
    print(f"{measured.faults} stops passed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
