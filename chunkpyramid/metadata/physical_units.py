"""Units of length and time: the names that OME-Zarr has for them, and how else people write them."""

from __future__ import annotations

__all__ = ["canonical_unit", "is_known_unit"]

PREFIXES = {
    "yocto": "y",
    "zepto": "z",
    "atto": "a",
    "femto": "f",
    "pico": "p",
    "nano": "n",
    "micro": "u",
    "milli": "m",
    "centi": "c",
    "deci": "d",
    "": "",
    "hecto": "h",
    "kilo": "k",
    "mega": "M",
    "giga": "G",
    "tera": "T",
    "peta": "P",
    "exa": "E",
    "zetta": "Z",
    "yotta": "Y",
}

# https://ngff.openmicroscopy.org/0.5/#axes-md lists them; viewers know no others.
UNITS = {
    "space": {f"{prefix}meter" for prefix in PREFIXES} | {"angstrom", "foot", "inch", "mile", "parsec", "yard"},
    "time": {f"{prefix}second" for prefix in PREFIXES} | {"minute", "hour", "day"},
}
KNOWN = UNITS["space"] | UNITS["time"]

# Symbols have cases that matter: "mm" is no megameter.
SYMBOLS = {
    **{f"{symbol}m": f"{prefix}meter" for prefix, symbol in PREFIXES.items()},
    **{f"{symbol}s": f"{prefix}second" for prefix, symbol in PREFIXES.items()},
    "\u212b": "angstrom",
    "\u00c5": "angstrom",
    "in": "inch",
    "ft": "foot",
    "mi": "mile",
    "yd": "yard",
    "pc": "parsec",
    "min": "minute",
    "h": "hour",
    "d": "day",
}

WORDS = {"micron": "micrometer", "feet": "foot", "sec": "second", "hr": "hour", "min": "minute"}


def canonical_unit(unit: str) -> str:
    """Return the unit as OME-Zarr spells it; units that are not known stay as they are.

    Examples
    --------
    >>> [canonical_unit(unit) for unit in ("um", "\u00b5m", "microns", "Nanometres", "seconds", "pixel")]
    ['micrometer', 'micrometer', 'micrometer', 'nanometer', 'second', 'pixel']
    """
    # the micro sign and the Greek letter look alike
    text = unit.strip().replace("\u00b5", "u").replace("\u03bc", "u")
    if text in SYMBOLS:
        return SYMBOLS[text]
    word = text.lower().replace("metre", "meter")
    for singular in (word, word.removesuffix("s"), word.removesuffix("es")):
        found = WORDS.get(singular, singular)
        if found in KNOWN:
            return found
    return unit


def is_known_unit(unit: str, axis_type: str) -> bool:
    """Whether viewers know this unit for an axis of this type; no unit is known for a channel."""
    return unit in UNITS.get(axis_type, ())
