"""What others could read: files with secrets, connections that carry tokens."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from credential_injector import permissions
from credential_injector.environments.folder import Folder, InvalidEnvironments
from credential_injector.tokens.provider import open_store
from tests.certificates import self_signed

NOBODY = 65534  # a user's number, whether there is one or not
LINES = "HOST=https://api.example.com\nCLIENT_ID=me\n"


def write(file: Path, text: str, mode: int) -> Path:
    file.write_text(text)
    file.chmod(mode)
    return file


@pytest.mark.parametrize(("mode", "warns"), [(0o600, False), (0o640, True), (0o604, True), (0o611, False)])
def test_an_env_file_that_others_can_read_is_told_once_with_the_command_that_mends_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: int, warns: bool
) -> None:
    file = write(tmp_path / "qa.env", f"{LINES}CLIENT_SECRET=canary\n", mode)
    folder = Folder(tmp_path)
    folder.read()
    folder.read()
    assert caplog.messages == (
        [f"other users of this machine can read secrets; run: chmod 600 {file}"] if warns else []
    )


def test_it_is_the_file_with_the_secret_in_it_that_counts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    secret = write(tmp_path / "my secret", "canary", 0o644)
    write(tmp_path / "qa.env", f'{LINES}CLIENT_SECRET_FILE="{secret.name}"\n', 0o644)
    Folder(tmp_path).read()
    assert caplog.messages == [f"other users of this machine can read secrets; run: chmod 600 '{secret}'"]


@pytest.mark.parametrize(("with_key", "warns"), [(False, False), (True, True)])
def test_a_certificate_is_public_unless_a_key_stands_beside_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, with_key: bool, warns: bool
) -> None:
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
def test_an_env_file_that_others_may_write_is_refused_before_its_command_runs(envs: Path, mode: int) -> None:
    file = envs / "qa.env"
    file.chmod(mode)
    assert mistakes(envs) == (
        "envs/qa.env: the file: can be changed by other users of this machine, who could so run commands as you;"
        f" expected that only you can; run: chmod 600 {file}"
    )


@pytest.mark.parametrize("mode", [0o720, 0o702, 0o777])
@pytest.mark.parametrize("levels", [0, 1])
def test_a_folder_that_others_may_write_is_refused_as_is_one_above_it(envs: Path, levels: int, mode: int) -> None:
    deep = envs / "a" / "b"
    deep.mkdir(parents=True)
    (envs / "qa.env").rename(deep / "qa.env")
    folder = (deep, deep.parent)[levels]
    folder.chmod(mode)
    assert mistakes(deep).startswith("envs: the folder: can be changed by other users of this machine, ")
    assert mistakes(deep).endswith(f"; run: chmod go-w {folder}")


@pytest.mark.parametrize("of", ["qa.env", "."])
def test_what_belongs_to_another_user_is_refused(envs: Path, of: str, give_away: Given) -> None:
    give_away(envs / of)
    assert "can be changed by the user " in mistakes(envs)
    if os.geteuid() == 0:
        assert "can be changed by the user nobody, who could so run commands as you; expected" in mistakes(envs)
        assert mistakes(envs).endswith(f"run: chown root {envs / of}")


def test_in_a_folder_like_tmp_the_owner_of_each_file_decides(envs: Path, give_away: Given) -> None:
    envs.chmod(0o1777)
    Folder(envs).read()
    (envs.parent / "ran").unlink()
    (envs / "qa.env").rename(envs.parent / "mine.env")
    (envs / "qa.env").symlink_to("../mine.env")
    Folder(envs).read()
    (envs.parent / "ran").unlink()
    give_away(envs / "qa.env")
    assert "can be changed by the user " in mistakes(envs)


def test_every_folder_that_a_link_leads_through_counts(envs: Path, tmp_path: Path) -> None:
    (tmp_path / "far" / "open").mkdir(parents=True)
    (envs / "qa.env").rename(tmp_path / "far" / "open" / "it.env")
    (tmp_path / "far" / "again").symlink_to("open/../open/it.env")
    (envs / "qa.env").symlink_to("../far/again")
    Folder(envs).read()
    (tmp_path / "far" / "ran").unlink(missing_ok=True)
    (tmp_path / "ran").unlink(missing_ok=True)
    (tmp_path / "far" / "open").chmod(0o777)
    assert mistakes(envs).endswith(f"run: chmod go-w {tmp_path}/envs/../far/open")


def test_a_link_that_leads_to_itself_is_read_no_further(envs: Path) -> None:
    (envs / "qa.env").unlink()
    (envs / "qa.env").symlink_to("qa.env")
    assert "cannot be read" in mistakes(envs)


def test_a_file_that_a_secret_comes_from_is_no_other_users_either(envs: Path, give_away: Given) -> None:
    secret = write(envs / "secret", "canary", 0o622)
    write(envs / "qa.env", f"{LINES}CLIENT_SECRET_FILE=secret\nTOKEN_PARAM_x_COMMAND=echo y\n", 0o600)
    assert mistakes(envs).startswith(
        "envs/qa.env: CLIENT_SECRET_FILE: names a file that can be changed by other users of this machine, who"
    )
    assert mistakes(envs).endswith(f"run: chmod 600 {secret}")
    secret.chmod(0o600)
    give_away(secret)
    assert "can be changed by the user " in mistakes(envs)


def test_it_is_looked_at_again_whether_or_not_a_file_has_changed(envs: Path) -> None:
    """So the command that was told to mend it does, without a restart."""
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
def test_a_group_of_this_user_alone_may_write(
    user: int, group: int, members: list[str], alone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Debian, Ubuntu and Fedora give each user one, and let it write what the user creates."""
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
def test_with_sudo_whoever_called_it_is_trusted(
    user: int, caller: str, trusted: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: user)
    monkeypatch.setenv("SUDO_UID", caller)
    assert permissions.trusted_users() == trusted


def test_where_files_have_no_modes_nothing_is_refused(envs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (envs / "qa.env").chmod(0o666)
    assert permissions.Look().objection(envs / "qa.env")
    assert permissions.Look(has_modes=False).objection(envs / "qa.env") is None


def test_many_files_are_named_in_one_line(tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.env" for number in range(permissions.NAMED + 2)]
    assert permissions.warning(files).endswith(f"{permissions.NAMED - 1}.env (and 2 more)")


@pytest.mark.parametrize(("mode", "warns"), [(0o600, False), (0o644, True)])
def test_a_token_store_that_others_can_read_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: int, warns: bool
) -> None:
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
def test_redis_on_another_machine_without_tls_is_told(caplog: pytest.LogCaptureFixture, url: str, warns: bool) -> None:
    open_store(url)
    assert ["rediss:// encrypts them" in line for line in caplog.messages] == [True] * warns
