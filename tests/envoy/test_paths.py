from credential_injector.envoy.paths import Paths

PATHS = Paths("/run/envoy")


def test_names() -> None:
    """Each file of an environment is another one, and header names have one case."""
    names = [PATHS.token("qa"), PATHS.until("qa"), PATHS.reason("qa"), PATHS.header("qa", "X-Key"), PATHS.refusals]
    assert len({*names, PATHS.certificate(0), PATHS.certificate(1)}) == 7
    assert PATHS.header("qa", "X-Key") == PATHS.header("qa", "x-key")
    assert all(name.startswith("/run/envoy/") for name in names)


def test_routes() -> None:
    """The listeners of addresses that differ in where their zeros are have files of their own."""
    origins = ["https://[1::2:3]:443", "https://[1:2::3]:443", "http://a.example.com:80", "https://a.example.com:80"]
    files = [PATHS.routes(f"inside {origin}") for origin in origins]
    assert len(set(files)) == len(origins)
    assert all("/" not in file.removeprefix("/run/envoy/") for file in files)


def test_trusted() -> None:
    """Authorities that differ have files of their own, as Envoy reads one once only."""
    assert len({PATHS.trusted(""), PATHS.trusted("a"), PATHS.trusted("b")}) == 3


def test_hyphens() -> None:
    """Hyphens in names do not make the file of one environment that of another one."""
    assert PATHS.header("qa", "key-id") != PATHS.header("qa-key", "id")
