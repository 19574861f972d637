"""The library of the KNEEL compendium; imports point one way:

data <- hourglass, losses, augmentation <- settings <- training <- runs <- tables, figures <- report, driver <- notebooks.
"""
