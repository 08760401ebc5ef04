"""``python -m tests.faults.simulation``: many schedules, with a table of what they came to.

Real code from the bytes of the broker to the planned flush, in a world that a seed makes: docs/decisions/0024.
"""

import argparse
import random
import sys
import time

from tests.faults.simulation.schedule import Simulation


def main() -> int:
    """Run schedules from a seed on; returns 1 if a rule was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.simulation", description=__doc__)
    parser.add_argument("--schedules", type=int, default=100_000, help="how many (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=random.randrange(10**9), help="the first one's; they count up")
    options = parser.parse_args()
    began, broken, simulation = time.monotonic(), [], Simulation()
    for seed in range(options.seed, options.seed + options.schedules):
        try:
            simulation.run(seed)
        except AssertionError as error:
            broken.append(seed)
            print(error, flush=True)
    seconds = time.monotonic() - began
    print("| first seed | schedules | steps | redeliveries | rules broken | seconds |")
    print("|---|---|---|---|---|---|")
    print(
        f"| {options.seed} | {options.schedules:,} | {simulation.steps.total():,} | {simulation.redelivered:,} "
        f"| {len(broken)} | {seconds:.0f} |"
    )
    if broken:
        print(f"Mend the code, and add these seeds to regressions.txt: {broken}")
    return int(bool(broken))


if __name__ == "__main__":
    sys.exit(main())
