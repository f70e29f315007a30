"""Object storage through fsspec, which is an extra: s3://, gs://, abfs:// and whatever else has a driver."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dicomnode.errors import CannotKeep, ConfigError

ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+://")
LOCAL = ("file://", "local://")


def is_address(place: str) -> bool:
    """Whether a place is an address such as s3://bucket/folder, and no path."""
    return bool(ADDRESS.match(place)) and not place.startswith(LOCAL)


def opened(address: str) -> tuple[Any, str]:
    """The file system of an address, and the path in it without a slash at the end. Raises ConfigError."""
    scheme = address.partition("://")[0]
    try:
        import fsspec
    except ImportError:
        raise ConfigError(
            f"{scheme}:// needs fsspec, which is not installed", "run pip install 'dicomnode[objects]'"
        ) from None
    try:
        files, root = fsspec.core.url_to_fs(address, use_listings_cache=False)
    except ImportError:
        raise ConfigError(f"{scheme}:// needs a driver that is not installed", f"install it: {scheme}fs") from None
    except ValueError:
        raise ConfigError(
            f"{scheme}:// is no storage that fsspec knows", "write for example s3://bucket/folder"
        ) from None
    return files, str(root).rstrip("/")


@contextmanager
def told(file: bool = False) -> Iterator[None]:
    """Turns the many exceptions of drivers into CannotKeep, without their text; of one `file` OSError passes."""
    try:
        yield
    except Exception as error:
        if file and isinstance(error, OSError):
            raise
        hint = "check the address, the rights and the network, and run it again"
        raise CannotKeep(f"the object storage cannot be used ({type(error).__name__})", hint) from None
