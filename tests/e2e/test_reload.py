"""A changed file takes effect without a restart; a broken one does not."""

import sys

from tests.e2e.conftest import CLIENT_SECRET, Curl, Stage
from tests.e2e.test_life_cycle import eventually


def test_mended_secret(stage: Stage, curl: Curl) -> None:
    """The next request uses a mended secret."""
    stage.env(stage.http, "CLIENT_SECRET=wrong")
    proxy = stage.mitmdump()
    statuses = {curl("--proxy", proxy.url, f"{stage.http}/orders").status for _ in range(20)}
    assert (statuses, stage.token_requests) == ({502}, 1)
    stage.env(stage.http)
    proxy.wait_for("qa: .* with tokens from", times=2)
    assert curl("--proxy", proxy.url, f"{stage.http}/orders").status == 200


def test_come_and_go(stage: Stage, curl: Curl) -> None:
    """Files come and go, and the others keep their tokens."""
    local = stage.http.replace("127.0.0.1", "localhost")
    stage.env(stage.http)
    proxy = stage.mitmdump()

    def status(origin: str) -> int:
        return curl("--proxy", proxy.url, f"{origin}/orders").status

    assert (status(stage.http), status(local)) == (200, 401)
    stage.env(local, "SCOPE=write", name="dev")
    proxy.wait_for("dev: .* with tokens from")
    assert (status(stage.http), status(local)) == (200, 200)
    (stage.folder / "envs" / "dev.env").rename(stage.folder / "envs" / "uat.env")
    proxy.wait_for("dev: file removed; its hosts no longer get a token")
    assert (status(local), stage.token_requests) == (200, 2)
    (stage.folder / "envs" / "uat.env").unlink()
    proxy.wait_for("uat: file removed")
    assert (status(stage.http), status(local), stage.token_requests) == (200, 401, 2)


def test_broken_edit(stage: Stage, curl: Curl) -> None:
    """A broken edit keeps the last good set, and says so."""
    stage.env(stage.http)
    proxy = stage.mitmdump()
    assert curl("--proxy", proxy.url, f"{stage.http}/orders").status == 200
    stage.env(stage.http, "SCOP=read")
    proxy.wait_for("Keeping the previous environments until this is fixed")
    assert any("envs/qa.env: SCOP: unknown key (line 6), did you mean SCOPE?" in line for line in proxy.log)
    assert curl("--proxy", proxy.url, f"{stage.http}/orders").status == 200
    stage.env(stage.http, "METHODS=GET")
    proxy.wait_for("The environment files are fixed")
    assert curl("--proxy", proxy.url, f"{stage.http}/orders").status == 200
    assert curl("--proxy", proxy.url, "--data", "x", f"{stage.http}/orders").status == 502
    assert stage.token_requests == 1


def test_first_file(stage: Stage, curl: Curl) -> None:
    """A first file takes effect, too."""
    (stage.folder / "envs").mkdir()
    proxy = stage.mitmdump()
    proxy.wait_for("No environment file in")
    stage.env(stage.http)
    proxy.wait_for("qa: .* with tokens from")
    assert curl("--proxy", proxy.url, f"{stage.http}/orders").status == 200


def test_secret_file(stage: Stage, curl: Curl) -> None:
    """A changed secret file takes effect."""
    secret = stage.folder / "secret"
    secret.write_text("wrong")
    stage.env(stage.http, f"CLIENT_SECRET_FILE={secret}", without="CLIENT_SECRET")
    proxy = stage.mitmdump()
    assert curl("--proxy", proxy.url, f"{stage.http}/orders").status == 502
    secret.write_text(CLIENT_SECRET)
    proxy.wait_for("qa: .* with tokens from", times=2)
    assert curl("--proxy", proxy.url, f"{stage.http}/orders").status == 200


def test_untold(stage: Stage, curl: Curl) -> None:
    """A change that the system does not tell is noticed all the same."""
    stage.env(stage.http)
    envs, target = stage.folder / "envs", stage.folder / "elsewhere.env"
    proxy = stage.mitmdump()
    assert curl("--proxy", proxy.url, f"{stage.http}/orders").status == 200
    # The target of a symlink.
    (envs / "qa.env").rename(target)
    (envs / "qa.env").symlink_to(target)
    target.write_text(target.read_text() + "METHODS=GET\n")
    proxy.wait_for("qa: .* with tokens from", times=2)
    # A folder that was replaced as a whole, and one more change in it.
    envs.rename(stage.folder / "old")
    stage.env(stage.http, "METHODS=GET,POST")
    proxy.wait_for("qa: .* with tokens from", times=3)
    stage.env(stage.http, "METHODS=POST")
    proxy.wait_for("qa: .* with tokens from", times=4)
    assert curl("--proxy", proxy.url, f"{stage.http}/orders").status == 502


def test_renamed(stage: Stage, curl: Curl) -> None:
    """A renamed file keeps its token and what its command printed."""
    secret, program = stage.folder / "secret", stage.folder / "secret.py"
    secret.write_text(CLIENT_SECRET)
    program.write_text("from pathlib import Path\nprint(Path('../secret').read_text())\n")
    stage.env(stage.http, f"CLIENT_SECRET_COMMAND={sys.executable} {program}", without="CLIENT_SECRET")
    stage.authorization_server.lifetime = 1  # so short that no refresh begins in the background
    proxy = stage.mitmdump()
    # On a busy machine such a token comes too late, and the next one serves.
    eventually(lambda: curl("--proxy", proxy.url, f"{stage.http}/orders").status == 200)
    (stage.folder / "envs" / "qa.env").rename(stage.folder / "envs" / "prod.env")
    proxy.wait_for("prod: .* with tokens from")
    stage.authorization_server.clients["e2e-client"].client_secret = "rotated"
    secret.write_text("rotated")
    eventually(lambda: curl("--proxy", proxy.url, f"{stage.http}/orders").status == 502)
    proxy.wait_for("prod: .* with tokens from", times=2)
    eventually(lambda: curl("--proxy", proxy.url, f"{stage.http}/orders").status == 200)


def test_command_again(stage: Stage, curl: Curl) -> None:
    """A command runs again when the server refuses the client."""
    program = stage.folder / "secret.py"
    program.write_text(
        "from pathlib import Path\n"
        f"print({CLIENT_SECRET!r} if Path('asked').exists() else 'wrong')\n"
        "Path('asked').touch()\n"
    )
    stage.env(stage.http, f"CLIENT_SECRET_COMMAND={sys.executable} {program}", without="CLIENT_SECRET")
    proxy = stage.mitmdump()
    assert curl("--proxy", proxy.url, f"{stage.http}/orders").status == 502
    proxy.wait_for("qa: .* with tokens from", times=2)
    assert curl("--proxy", proxy.url, f"{stage.http}/orders").status == 200
    assert stage.token_requests == 2
