"""A meeting place behind any web server that shows what its folders hold; reads only, and follows no link.

Objects come through obstore, which keeps connections and tries again. Listings are the pages that web servers make
for folders (Apache, nginx, Caddy, `rclone serve http`, `python -m http.server`): of each link on such a page only the
last part is looked at, and only where it is a component of an object's name.
"""

import http.client
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from conjoin.errors import ReadOnlyPlaceError, RemoteError, UnknownSourceError
from conjoin.sync import pace
from conjoin.sync.remotes.base import is_folder, walk
from conjoin.sync.remotes.bucket import (
    CONNECT_SECONDS_MAX,
    BucketRemote,
    asking_limits,
    check_plain,
    failures,
    reading_limits,
    retries,
)
from conjoin.sync.remotes.extras import package
from conjoin.sync.remotes.limits import too_slow
from conjoin.sync.remotes.paced import opener
from conjoin.sync.remotes.trouble import trouble

SCHEMES = ("https", "http")
PAGE_BYTES_MAX = 64 * 1024 * 1024
PAGES_AT_ONCE = 8
_LINK = re.compile(rb"""\bhref\s*=\s*["']?([^"'\s>]+)""", re.IGNORECASE)
_ABSENT = {404, 410}
_LISTINGS = "the server has to show what its folders hold: `autoindex on` in nginx, `Options +Indexes` in Apache"


class WebRemote(BucketRemote):
    """Objects below a URL. Nothing can be put there."""

    def __init__(self, asking: Any, reading: Any, url: str) -> None:
        """A place.

        Args:
            asking: obstore's store for asking whether an object is there.
            reading: the same for getting.
            url: of the folder that holds `ops/`, without a slash at its end.
        """
        super().__init__(asking, reading, reading, url)
        self._opener = opener()
        self._url = quote(url, safe=":/%~[]@!$&'()*+,;=")

    def names(self, prefix: str, after: str = "") -> Iterator[str]:
        """See `Remote`."""
        with ThreadPoolExecutor(PAGES_AT_ONCE, thread_name_prefix="conjoin-list") as pool:
            yield from (name for name in walk(self._components, prefix, each=pool.map) if name > after)

    def folders(self, prefix: str) -> Iterator[str]:
        """See `Remote`."""
        return (part for part in self._components(prefix) if is_folder(prefix, part))

    def put(self, name: str, data: bytes) -> None:
        """Refuse: a web server takes nothing.

        Raises:
            ReadOnlyPlaceError: always.
        """
        del data
        raise ReadOnlyPlaceError(
            f"{self.where} cannot be written: a web server only gives",
            where=f"{self.where}: {name}",
            hint="push to the folder or bucket that it shows, or let somebody who can write there sync",
        )

    def _components(self, folder: str) -> list[str]:
        """The last parts of the links on a folder's page, each once; none where the place has no such folder."""
        request = urllib.request.Request(f"{self._url}/{folder}", headers={"User-Agent": "conjoin"})
        try:
            with self._opener.open(request, timeout=pace.IDLE_SECONDS) as answer:
                page: bytes = answer.read(PAGE_BYTES_MAX + 1)
                if answer.length and len(page) <= PAGE_BYTES_MAX:  # what is still to come never came
                    raise http.client.IncompleteRead(page, answer.length)
        except urllib.error.HTTPError as error:
            if error.code in _ABSENT and folder:
                if folder.count("/") == 1:
                    self._components("")  # nothing was pushed yet, or this is no place: then it has no page either
                return []
            told = trouble(error, self.where, "listed", at=folder)
            told.hint = _LISTINGS if error.code in _ABSENT | {403} else told.hint
            raise told from None
        except TimeoutError:
            raise too_slow(self.where, "listed", folder) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise trouble(error, self.where, "listed", at=folder) from None
        if len(page) > PAGE_BYTES_MAX:
            raise RemoteError(f"the page has more than {PAGE_BYTES_MAX} bytes", where=f"{self.where}: {folder}")
        links = (unquote(link.decode(errors="replace")).partition("?")[0] for link in _LINK.findall(page))
        return list(dict.fromkeys(link.rstrip("/").rpartition("/")[2] for link in links))


def open_web(url: str) -> WebRemote:
    """The meeting place at an `https://` or `http://` URL; nothing is asked of it yet.

    Raises:
        UnknownSourceError: the URL names no server, or holds credentials or a query.
        MissingExtraError: obstore is not installed.
    """
    check_plain(url)
    parts = urlsplit(url)
    if not parts.netloc:
        raise UnknownSourceError(f"{url} names no server", where=url, hint="write https://server/folder")
    where = url.rstrip("/")
    options = {"allow_http": parts.scheme.lower() == "http", "connect_timeout": timedelta(seconds=CONNECT_SECONDS_MAX)}
    store = package("obstore.store", "cloud").HTTPStore
    try:
        asking, reading = (
            store.from_url(where, client_options=options | limits, retry_config=retries())
            for limits in (asking_limits(), reading_limits())
        )
    except failures() as error:
        raise trouble(error, where, "used") from None
    return WebRemote(asking, reading, where)
