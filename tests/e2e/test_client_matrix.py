"""Real clients that know nothing of the proxy, through `credential-injector run` alone: does each get its token?"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.conftest import missing
from tests.e2e.conftest import on_stage
from tests.e2e.matrix import stage
from tests.e2e.matrix.clients import CLIENT_ROWS, UNTRUSTED, WAYS, Client, lacks, of_the_system, outcome, seen, table
from tests.e2e.matrix.stage import Column, Matrix, case_name
from tests.reporting import CLIENT

# The first test of a column runs more than a hundred clients, half of which start a runtime of their own.
pytestmark = pytest.mark.timeout(600)

_VERIFIED = (
    *("curl", "wget", "git: clone, push", "npm", "Python: requests", "Python: httpx", "Node 24: fetch"),
    *("Go: net/http", "Ruby: net/http", "Perl: LWP"),
)
WITHOUT_CA = [client for client in CLIENT_ROWS if client.name in _VERIFIED]
ROWS = [*CLIENT_ROWS, *of_the_system()]
CELLS = [(way, client) for way in WAYS for client in ROWS if client.expected(way) is not None]


@pytest.fixture(scope="module")
def matrix(
    tmp_path_factory: pytest.TempPathFactory, confdir: Path, certificates: tuple[Path, Path], inside: Sequence[str]
) -> Iterator[Matrix]:
    folder = tmp_path_factory.mktemp("matrix") / "stage"
    folder.mkdir()
    with on_stage(folder, confdir, certificates, inside) as given, stage.matrix(given, certificates[1]) as matrix:
        yield matrix


def column(matrix: Matrix, way: str) -> Column:
    """Of all clients that are tried this way."""
    tried = [client for client in ROWS if client.expected(way) is not None]
    return matrix.column(WAYS[way], tried, WITHOUT_CA if way == "run" else [])


def need(client: Client) -> None:
    if (what := lacks(client)) is not None:
        missing(what)


@pytest.mark.parametrize(("way", "client"), CELLS, ids=lambda one: getattr(one, "name", one))
def test_client(matrix: Matrix, way: str, client: Client, record_property: Callable[[str, object], None]) -> None:
    """It gets the token for the origins that the table names, and for no other."""
    need(client)
    said = {kind: column(matrix, way).said[case_name(client, kind)] for kind in client.kinds}
    outcomes = {kind: outcome(text) for kind, text in said.items()}
    record_property(CLIENT, (client.name, way, seen(outcomes)))
    assert seen(outcomes) == client.expected(way), f"{outcomes}\n{said}"


@pytest.mark.parametrize("client", WITHOUT_CA, ids=lambda one: one.name)
def test_verification(matrix: Matrix, client: Client) -> None:
    """Without the CA the same client refuses mitmproxy's certificate."""
    need(client)
    text = column(matrix, "run").said[case_name(client, "https", without=True)]
    assert outcome(text) == UNTRUSTED, text


@pytest.mark.parametrize("way", WAYS)
def test_one_token_request(matrix: Matrix, way: str) -> None:
    """All clients of a column share one token."""
    assert column(matrix, way).token_requests == 1


def test_page() -> None:
    """docs/clients.md has this table: python -m tests.e2e.matrix.clients."""
    page = (Path(__file__).parents[2] / "docs" / "clients.md").read_text("utf-8")
    assert "\n".join(table()) in page
