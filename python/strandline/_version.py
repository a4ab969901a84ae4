"""The version, as it was installed."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("strandline")
except PackageNotFoundError:
    # A source tree that nobody installed.
    __version__ = "0+unknown"
