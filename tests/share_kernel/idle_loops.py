"""Des boucles asyncio que personne ne fait tourner."""

import asyncio

_idle: list[asyncio.AbstractEventLoop] = []


def idle_loop() -> asyncio.AbstractEventLoop:
    _idle.append(asyncio.new_event_loop())
    return _idle[-1]


def close_idle_loops() -> None:
    for loop in _idle:
        loop.run_until_complete(asyncio.sleep(0))  # Python warns about what has never run
        loop.close()
    _idle.clear()
