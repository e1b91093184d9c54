"""`python -m tests.fuzz SECONDS`: each property for that long, led by coverage (atheris), as hypothesis alone is not.

What breaks one is printed, and replayed by HYPOTHESIS_PROFILE=fuzz pytest.
"""

import importlib
import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path

LONGEST_INPUT = 8192  # bytes
PROPERTIES = {
    "test_answers": "test_every_answer_is_a_token_that_can_be_sent_or_a_refusal_without_a_secret",
    "test_diagnosis": "test_answer",
    "test_env_files": "test_env_file",
    "test_imports": "test_files",
    "test_stored_tokens": "test_file",
    "test_requests": "test_hooks",
}


def main(seconds: str) -> int:
    """Every property. The exit code is how many broke; a process for each, as libFuzzer ends its own."""
    if importlib.util.find_spec("atheris") is None:
        print("atheris is not installed (pip install atheris): hypothesis alone tries 10,000 examples of each property")
        commands = [[sys.executable, "-m", "pytest", "-q", "tests/fuzz"]]
    else:
        commands = [[sys.executable, "-m", "tests.fuzz", seconds, module] for module in PROPERTIES]
    environment = {**os.environ, "HYPOTHESIS_PROFILE": "fuzz"}
    broken = [command for command in commands if subprocess.run(command, env=environment, check=False).returncode]
    for command in broken:
        print("broken:", *command)
    return len(broken)


def fuzz(seconds: str, module: str) -> None:
    """Run one property until it breaks or the time is up, which ends this process."""
    import atheris

    with atheris.instrument_imports(include=["credential_injector", "dotenv"]):
        property_ = getattr(importlib.import_module(f"tests.fuzz.{module}"), PROPERTIES[module])
    with tempfile.TemporaryDirectory() as folder:
        for number in range(100):  # hypothesis makes no example of an input that is too short
            Path(folder, f"seed-{number}").write_bytes(os.urandom(LONGEST_INPUT))
        options = [f"-max_total_time={seconds}", f"-max_len={LONGEST_INPUT}", "-len_control=0"]
        atheris.Setup([module, *options, f"-artifact_prefix={folder}/", folder], property_.hypothesis.fuzz_one_input)
        atheris.Fuzz()


if __name__ == "__main__":
    if len(sys.argv) == 2:
        sys.exit(main(sys.argv[1]))
    fuzz(*sys.argv[1:])
