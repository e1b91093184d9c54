"""The last of the e2e tests, by its name: it looks back at all that the others wrote."""

from pathlib import Path

from tests.e2e.canaries import Canaries


def test_no_secret_was_seen_in_any_file_log_page_or_answer_of_the_run(canaries: Canaries) -> None:
    assert not canaries.sightings, "\n".join(canaries.sightings)


def test_a_secret_in_a_file_would_have_been_seen(tmp_path: Path) -> None:
    for name in ("qa.env", "saved.mitm", "notes.txt"):
        (tmp_path / name).write_text("canary-secret and canary-token")
    canaries = Canaries()
    canaries.look_into(tmp_path, {"canary-secret"}, {"canary-token"})
    assert sorted(canaries.sightings) == [str(tmp_path / name) for name in ("notes.txt", "notes.txt", "saved.mitm")]
