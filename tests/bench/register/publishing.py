"""Le programme qui publie : en lots, ou un par un avec des pauses ; il dit ce que cela a pris."""

from __future__ import annotations

import json
import os
import random
import sys
import time
from importlib import import_module

import django
from django.db import transaction


def main(count: int, size: int, pause: float) -> None:
    """Publie *count* travaux par transactions de *size*, et écrit la durée et les commits.

    Args:
        count: combien de travaux, numérotés de 0 à ``count - 1``.
        size: combien par transaction.
        pause: secondes entre deux transactions, à moitié près.
    """
    django.setup()
    jobs = import_module(f"tests.bench.register.app.jobs.{os.environ['BENCH_JOBS']}")
    commits: list[float] = []
    spent = 0.0
    for first in range(0, count, size):
        time.sleep(pause * random.uniform(0.5, 1.5))
        began = time.perf_counter()
        with transaction.atomic():
            # The first callback: what others send after the commit comes later.
            transaction.on_commit(lambda: commits.append(time.time()))
            jobs.publish(range(first, min(first + size, count)))
        spent += time.perf_counter() - began
    print(json.dumps({"seconds": spent, "commits": commits}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
