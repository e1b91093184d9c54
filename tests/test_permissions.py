"""What others could read: files with secrets, connections that carry tokens."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from credential_injector import permissions
from credential_injector.environments.folder import Folder, InvalidEnvironments
from credential_injector.tokens.open_store import open_store
from tests.certificates import self_signed

NOBODY = 65534  # a user's number, whether there is one or not
LINES = "HOST=https://api.example.com\nCLIENT_ID=me\n"


def write(file: Path, text: str, mode: int) -> Path:
    file.write_text(text)
    file.chmod(mode)
    return file


@pytest.mark.parametrize(("mode", "warns"), [(0o600, False), (0o640, True), (0o604, True), (0o611, False)])
def test_readable(tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: int, warns: bool) -> None:
    """An env file that others can read is told of once, with the command that mends it."""
    file = write(tmp_path / "qa.env", f"{LINES}CLIENT_SECRET=canary\n", mode)
    folder = Folder(tmp_path)
    folder.read()
    folder.read()
    assert caplog.messages == (
        [f"other users of this machine can read secrets; run: chmod 600 {file}"] if warns else []
    )


def test_readable_secret(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is the file with the secret in it that counts."""
    secret = write(tmp_path / "my secret", "canary", 0o644)
    write(tmp_path / "qa.env", f'{LINES}CLIENT_SECRET_FILE="{secret.name}"\n', 0o644)
    Folder(tmp_path).read()
    assert caplog.messages == [f"other users of this machine can read secrets; run: chmod 600 '{secret}'"]


@pytest.mark.parametrize(("with_key", "warns"), [(False, False), (True, True)])
def test_readable_certificate(tmp_path: Path, caplog: pytest.LogCaptureFixture, with_key: bool, warns: bool) -> None:
    """A certificate is public, unless a key stands beside it."""
    certificate, key = self_signed("ca")
    ca = write(tmp_path / "ca.pem", certificate + (key if with_key else ""), 0o644)
    write(tmp_path / "qa.env", f"{LINES}CLIENT_SECRET=canary\nCA_FILE={ca.name}\n", 0o600)
    Folder(tmp_path).read()
    assert [f"chmod 600 {ca}" in line for line in caplog.messages] == [True] * warns


Given = Callable[[Path], None]


@pytest.fixture
def give_away(monkeypatch: pytest.MonkeyPatch) -> Given:
    """Let a file belong to another user. Who is not root cannot do that: then all that is not root's is another's."""

    user = os.geteuid()

    def give(path: Path) -> None:
        if user == 0:
            os.chown(path, NOBODY, -1, follow_symlinks=False)
        else:
            monkeypatch.setattr(os, "geteuid", lambda: user + 1)

    return give


@pytest.fixture
def envs(tmp_path: Path) -> Path:
    """A folder with an env file whose command leaves a file behind, with what else may stand in a path."""
    folder = tmp_path / "envs"
    folder.mkdir()
    write(folder / "qa.env", f"{LINES}CLIENT_SECRET_COMMAND=sh -c 'touch ../ran; echo canary'\n", 0o600)
    return folder


def mistakes(folder: Path) -> str:
    """Of a folder that is refused, before it has run a command."""
    with pytest.raises(InvalidEnvironments) as error:
        Folder(folder, shown_as="envs").read()
    assert not (folder.parent / "ran").exists()
    (mistake,) = error.value.mistakes
    return mistake


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_writable(envs: Path, mode: int) -> None:
    """An env file that others may write is refused before its command runs."""
    file = envs / "qa.env"
    file.chmod(mode)
    assert mistakes(envs) == (
        "envs/qa.env: the file: can be changed by other users of this machine, who could so run commands as you;"
        f" expected that only you can; run: chmod 600 {file}"
    )


@pytest.mark.parametrize("mode", [0o720, 0o702, 0o777])
@pytest.mark.parametrize("levels", [0, 1])
def test_writable_folder(envs: Path, levels: int, mode: int) -> None:
    """A folder that others may write is refused, as is one above it."""
    deep = envs / "a" / "b"
    deep.mkdir(parents=True)
    (envs / "qa.env").rename(deep / "qa.env")
    folder = (deep, deep.parent)[levels]
    folder.chmod(mode)
    assert mistakes(deep).startswith("envs: the folder: can be changed by other users of this machine, ")
    assert mistakes(deep).endswith(f"; run: chmod go-w {folder}")


@pytest.mark.parametrize("of", ["qa.env", "."])
def test_owner(envs: Path, of: str, give_away: Given) -> None:
    """What belongs to another user is refused."""
    give_away(envs / of)
    assert "can be changed by the user " in mistakes(envs)
    if os.geteuid() == 0:
        assert "can be changed by the user nobody, who could so run commands as you; expected" in mistakes(envs)
        assert mistakes(envs).endswith(f"run: chown root {envs / of}")


def test_sticky(envs: Path, give_away: Given) -> None:
    """In a folder like /tmp, the owner of each file decides."""
    envs.chmod(0o1777)
    Folder(envs).read()
    (envs.parent / "ran").unlink()
    (envs / "qa.env").rename(envs.parent / "mine.env")
    (envs / "qa.env").symlink_to("../mine.env")
    Folder(envs).read()
    (envs.parent / "ran").unlink()
    give_away(envs / "qa.env")
    assert "can be changed by the user " in mistakes(envs)


def test_link(envs: Path, tmp_path: Path) -> None:
    """Every folder that a link leads through counts."""
    (tmp_path / "far" / "open").mkdir(parents=True)
    (envs / "qa.env").rename(tmp_path / "far" / "open" / "it.env")
    (tmp_path / "far" / "again").symlink_to("open/../open/it.env")
    (envs / "qa.env").symlink_to("../far/again")
    Folder(envs).read()
    (tmp_path / "far" / "ran").unlink(missing_ok=True)
    (tmp_path / "ran").unlink(missing_ok=True)
    (tmp_path / "far" / "open").chmod(0o777)
    assert mistakes(envs).endswith(f"run: chmod go-w {tmp_path}/envs/../far/open")


def test_link_to_itself(envs: Path) -> None:
    """A link that leads to itself is read no further."""
    (envs / "qa.env").unlink()
    (envs / "qa.env").symlink_to("qa.env")
    assert "cannot be read" in mistakes(envs)


def test_writable_secret(envs: Path, give_away: Given) -> None:
    """A file that a secret comes from must not be open to other users either."""
    secret = write(envs / "secret", "canary", 0o622)
    write(envs / "qa.env", f"{LINES}CLIENT_SECRET_FILE=secret\nTOKEN_PARAM_x_COMMAND=echo y\n", 0o600)
    assert mistakes(envs).startswith(
        "envs/qa.env: CLIENT_SECRET_FILE: names a file that can be changed by other users of this machine, who"
    )
    assert mistakes(envs).endswith(f"run: chmod 600 {secret}")
    secret.chmod(0o600)
    give_away(secret)
    assert "can be changed by the user " in mistakes(envs)


def test_later(envs: Path) -> None:
    """It is looked at again though no file has changed, so the command that was told mends it without a restart."""
    folder = Folder(envs)
    folder.read()
    envs.chmod(0o777)
    with pytest.raises(InvalidEnvironments):
        folder.read()
    envs.chmod(0o700)
    (envs / "qa.env").chmod(0o666)
    with pytest.raises(InvalidEnvironments):
        folder.read()
    (envs / "qa.env").chmod(0o600)
    assert [environment.name for environment in folder.read()] == ["qa"]


@pytest.mark.parametrize(
    ("user", "group", "members", "alone"),
    [
        (1000, 1000, [], True),
        (1000, 1000, ["me"], True),
        (1000, 1000, ["you"], False),
        (1000, 50, [], False),
        (1000, 1002, [], False),
        (1000, 999, [], False),
        (0, 0, [], False),
        (77, 1000, [], False),
    ],
    ids=["alone", "named", "another member", "not its own", "another's", "of a strange name", "root", "unknown user"],
)
def test_private_group(user: int, group: int, members: list[str], alone: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A group of this user alone may write: many systems give each user one, and let it write what the user creates."""
    users = {0: ("root", 0), 1000: ("me", 1000), 1001: ("you", 1002), 1003: ("other", 999)}
    entries = {number: SimpleNamespace(pw_uid=number, pw_name=name, pw_gid=of) for number, (name, of) in users.items()}
    groups = {0: "root", 50: "staff", 999: "strange", 1000: "me", 1002: "you"}
    monkeypatch.setattr("pwd.getpwuid", entries.__getitem__)
    monkeypatch.setattr("pwd.getpwall", lambda: list(entries.values()))
    monkeypatch.setattr("grp.getgrgid", lambda number: SimpleNamespace(gr_name=groups[number], gr_mem=members))
    assert permissions.is_private_group(user, group) == alone


@pytest.mark.parametrize("listed", [False, True], ids=["mode", "list"])
def test_acl(envs: Path, listed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a file has an access control list, others than the user's own group may write what the group may."""
    file, own = envs / "qa.env", 54321
    if os.geteuid() == 0:
        os.chown(file, -1, own)
    own = file.stat().st_gid
    file.chmod(0o660)
    me = SimpleNamespace(pw_uid=os.geteuid(), pw_name="me", pw_gid=own)
    monkeypatch.setattr("pwd.getpwuid", lambda _: me)
    monkeypatch.setattr("pwd.getpwall", lambda: [me])
    monkeypatch.setattr("grp.getgrgid", lambda _: SimpleNamespace(gr_name="me", gr_mem=[]))

    def getxattr(_: Path, name: str) -> bytes:
        if listed and name == "system.posix_acl_access":
            return b"an access control list"
        raise OSError(errno.ENODATA, os.strerror(errno.ENODATA))

    monkeypatch.setattr(os, "getxattr", getxattr, raising=False)
    assert bool(permissions.Look().objection(file)) == listed


@pytest.mark.parametrize(
    ("user", "caller", "trusted"),
    [(0, "1000", {0, 1000}), (0, "", {0}), (0, "x", {0}), (1001, "1000", {0, 1001})],
    ids=["sudo", "root", "nonsense", "no root"],
)
def test_sudo(user: int, caller: str, trusted: set[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """With sudo, whoever called it is trusted."""
    monkeypatch.setattr(os, "geteuid", lambda: user)
    monkeypatch.setenv("SUDO_UID", caller)
    assert permissions.trusted_users() == trusted


def test_no_modes(envs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where files have no modes, nothing is refused."""
    (envs / "qa.env").chmod(0o666)
    assert permissions.Look().objection(envs / "qa.env")
    assert permissions.Look(has_modes=False).objection(envs / "qa.env") is None


def test_many(tmp_path: Path) -> None:
    """Many files are named in one line."""
    files = [tmp_path / f"{number}.env" for number in range(permissions.NAMED + 2)]
    assert permissions.warning(files).endswith(f"{permissions.NAMED - 1}.env (and 2 more)")


@pytest.mark.parametrize(("mode", "warns"), [(0o600, False), (0o644, True)])
def test_token_store(tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: int, warns: bool) -> None:
    """A token store that others can read is told of."""
    file = write(tmp_path / "tokens.json", '{"version": 1, "tokens": {}}', mode)
    open_store(str(file))
    assert [f"chmod 600 {file}" in line for line in caplog.messages] == [True] * warns


@pytest.mark.parametrize(
    ("url", "warns"),
    [
        ("redis://10.0.0.7:6379/0", True),
        ("redis://redis.example.com", True),
        ("rediss://redis.example.com", False),
        ("redis://127.0.0.1:6379/0", False),
        ("redis://", False),
        ("unix:///tmp/s", False),
    ],
)
def test_redis(caplog: pytest.LogCaptureFixture, url: str, warns: bool) -> None:
    """Redis on another machine without TLS is told of."""
    open_store(url)
    assert ["rediss:// encrypts them" in line for line in caplog.messages] == [True] * warns
