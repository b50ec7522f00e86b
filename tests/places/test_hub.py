"""Storage buckets of the Hub, against a stand-in (see local_hub): listing and asking are real, moving bytes is not."""

import logging
from collections.abc import Iterator

import pytest
from huggingface_hub.errors import HTTPError
from huggingface_hub.utils import http_backoff

from conjoin.errors import AccessDeniedError, NoSuchPlaceError, UnreachableError
from conjoin.sync import open_remote, pace
from conjoin.sync.remotes import Remote
from conjoin.sync.remotes.hub import HubRemote
from conjoin.testing.remote_suite import RemoteSuite, leaf_of, some_objects
from tests.places.local_hub import BUCKET, Hub, LocalApi, local_hub
from tests.places.servers import free_port


@pytest.fixture(scope="module")
def running() -> Iterator[Hub]:
    with local_hub() as hub:
        yield hub


@pytest.fixture
def hub(running: Hub) -> Hub:
    running.objects.clear()
    running.read_only = False
    return running


class TestHub(RemoteSuite):
    """Below a folder of a bucket, beside a folder whose name begins like it."""

    @pytest.fixture
    def remote(self, hub: Hub) -> Remote:
        hub.objects |= {"group-2/ops/README": b"foreign", "README.md": b"foreign", "group/ops/README": b"foreign"}
        return HubRemote(hub.api, BUCKET, "group/", f"hf://buckets/{BUCKET}/group")


class TestHubAtTheTop(RemoteSuite):
    """In the bucket itself."""

    @pytest.fixture
    def remote(self, hub: Hub) -> Remote:
        return HubRemote(hub.api, BUCKET, "", f"hf://buckets/{BUCKET}")


def test_the_layout_is_that_of_a_folder(hub: Hub) -> None:
    remote = HubRemote(hub.api, BUCKET, "group/", "hub")
    for name, data in some_objects().items():
        remote.put(name, data)
    assert hub.objects == {f"group/{name}": data for name, data in some_objects().items()}


def test_a_bucket_that_is_not_there(hub: Hub) -> None:
    remote = HubRemote(hub.api, "clinic/other", "", "hf://buckets/clinic/other")
    for ask in (lambda: list(remote.names("ops/")), lambda: remote.has(leaf_of(b"x")[0])):
        with pytest.raises(NoSuchPlaceError, match="there is no such bucket, or it is private") as caught:
            ask()
        assert "hf buckets create clinic/other" in (caught.value.hint or "")


def test_a_token_that_may_not_write(hub: Hub) -> None:
    hub.read_only = True
    remote = HubRemote(hub.api, BUCKET, "", "hf://buckets/clinic/models")
    with pytest.raises(AccessDeniedError, match="cannot be written: access is denied"):
        remote.put(*leaf_of(b"x"))


def test_a_url_of_a_bucket() -> None:
    remote = open_remote("hf://buckets/clinic/models/group/")
    assert isinstance(remote, HubRemote)
    assert remote.where == "hf://buckets/clinic/models/group"


def test_only_what_others_ask_of_the_library_is_logged(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody answers; the library would tell of each attempt on stderr, before the error does."""
    monkeypatch.setattr(pace, "PATIENCE_SECONDS", 0.4)
    monkeypatch.setattr(pace, "RATE_BYTES_PER_SECOND", 2**30)
    endpoint = f"http://127.0.0.1:{free_port()}"
    place = HubRemote(LocalApi(endpoint=endpoint, token=False), BUCKET, "", "hf://buckets/clinic/models")
    logger = logging.getLogger("huggingface_hub.utils._http")
    logger.addHandler(caplog.handler)
    try:
        for ask in (lambda: list(place.names("ops/")), lambda: place.has(leaf_of(b"x")[0])):
            with pytest.raises(UnreachableError):
                ask()
        assert caplog.messages == []
        with pytest.raises(HTTPError):
            http_backoff("GET", endpoint, max_retries=0)
        assert caplog.messages, "a program that uses conjoin is told of its own requests"
    finally:
        logger.removeHandler(caplog.handler)
