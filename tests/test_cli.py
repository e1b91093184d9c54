from pathlib import Path

from click.testing import CliRunner

from credential_injector.cli import main


def test_path_prints_the_script_for_mitmproxy() -> None:
    result = CliRunner().invoke(main, ["path"])
    assert result.exit_code == 0
    assert Path(result.output.strip()).name == "inject.py"
    assert Path(result.output.strip()).is_file()


def test_help_shows_an_example() -> None:
    assert 'mitmdump -s "$(credential-injector path)"' in CliRunner().invoke(main, ["--help"]).output
