"""Le projet de référence, plus l’application que la tourmente fait travailler."""

from conf.settings import *  # noqa: F403
from conf.settings import EVENT_BUS, INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.chaos.app"]
EVENT_BUS = {
    **EVENT_BUS,
    "MAX_ATTEMPTS": 60,  # every kill costs an attempt, and only the poison may give up
    "BREAKER_SECONDS": 1,  # the broker is down for seconds here, not for minutes
}
