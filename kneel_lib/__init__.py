"""The library of the KNEEL compendium, a room an idea; imports point one way (`kneel_lib/README.md`):

ground <- data <- simulation, network, baselines <- experiment <- pipeline, reporting <- figures <- report,
notebook_runner, cli <- notebooks, studies.
"""
