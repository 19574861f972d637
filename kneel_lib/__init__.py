"""The library of the KNEEL compendium, a room an idea; imports point one way (`kneel_lib/README.md`):

ground <- data <- simulation, network, baselines <- experiment <- pipeline, reporting <- figures <- report,
notebook_runner, cli <- notebooks, studies.
"""

import os

from kneel_lib import threads

for _name, _value in {"ORT_DISABLE_TELEMETRY": "1", "RAY_USAGE_STATS_ENABLED": "0"}.items():
    os.environ.setdefault(_name, _value)  # both libraries tell their makers of every run unless told not to

threads.settle()
