from collections.abc import AsyncIterator

import pytest

from tests.kubernetes.api_server import ApiServer
from tests.kubernetes.cluster import Namespace, kubeconfig, namespace


@pytest.fixture
async def shop() -> AsyncIterator[Namespace]:
    """A fresh namespace of the cluster that KUBECONFIG names, else of the double."""
    if kubeconfig():
        async with namespace(None) as found:
            yield found
        return
    async with ApiServer().serving() as server, namespace(server) as found:
        yield found


@pytest.fixture
def double(shop: Namespace) -> ApiServer:
    """The API server double; tests that ask for it cannot run against a real cluster."""
    if shop.server is None:
        pytest.skip("breaks its API server: needs the double")
    return shop.server
