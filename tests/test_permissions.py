"""What others could read: files with secrets, connections that carry tokens."""

from pathlib import Path

import pytest

from credential_injector import permissions
from credential_injector.folder import Folder
from credential_injector.routes import open_store
from tests.certificates import self_signed

LINES = "HOST=https://api.example.com\nCLIENT_ID=me\n"


def write(file: Path, text: str, mode: int) -> Path:
    file.write_text(text)
    file.chmod(mode)
    return file


@pytest.mark.parametrize(("mode", "warns"), [(0o600, False), (0o640, True), (0o604, True), (0o622, False)])
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
