"""Puts back the names that menpo 0.11.1 and menpofit 0.7.1 still use and that NumPy and SciPy removed.

Neither library has had a release since, so without these names they do not import or fail in the middle of a fit. Every name
has a successor that does the same. Names that exist are left as they are.
"""

import inspect

import numpy as np
import scipy.integrate


def is_kind(kind, parent):
    """`issubclass` that is False, not an error, for what is no class."""
    return inspect.isclass(kind) and issubclass(kind, parent)


def in_flat(these, those):
    """`np.isin` of the flattened array, as `np.in1d` was."""
    return np.isin(np.ravel(these), those)


REMOVED = {
    (scipy.integrate, "simps"): scipy.integrate.simpson,   # gone in SciPy 1.14; menpofit.error imports it
    (np, "Inf"): np.inf,                                   # gone in NumPy 2; with it menpofit begins every iteration
    (np, "alltrue"): np.all,                               # gone in NumPy 2; with it menpofit checks its options
    (np, "issubclass_"): is_kind,                          # gone in NumPy 2; with it menpo converts types of pixels
    (np, "in1d"): in_flat,                                 # gone in NumPy 2.4; with it menpo masks triangulations
    (np, "complex"): complex,                              # gone in NumPy 1.24; the type of menpo's filter banks
    (np.lib, "pad"): np.pad,                               # gone in NumPy 2; with it menpofit pads correlation filters
}


def put_back():
    """Set each removed name again if it is missing. Call this before menpo or menpofit is imported; twice does no harm."""
    for (module, name), successor in REMOVED.items():
        if not hasattr(module, name):
            setattr(module, name, successor)
