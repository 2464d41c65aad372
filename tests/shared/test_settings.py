from pathlib import Path

import pytest

from shared.settings import SettingsError, load_settings


@pytest.fixture
def dotenv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file ``.env`` of the working folder, which is the test's own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / ".env"


def test_a_file_of_variables_is_read_and_the_environment_wins(dotenv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dotenv.write_text("HEADRACE_QUEUE__MAX_ROWS=7\nHEADRACE_QUEUE__MAX_BYTES=8\nHEADRACE_DATA_DIR=/here\n")
    monkeypatch.setenv("HEADRACE_QUEUE__MAX_ROWS", "9")
    settings = load_settings()
    assert (settings.queue.max_rows, settings.queue.max_bytes, settings.data_dir) == (9, 8, Path("/here"))


def test_lines_of_other_programs_are_left_alone(dotenv: Path) -> None:
    dotenv.write_text("PUBLISH=8000\nREDIS__URL=redis://elsewhere\nQUEUE__MAX_ROWS=7\nHEADRACE_QUEUE__MAX_BYTES=8\n")
    settings = load_settings()
    assert (settings.queue.max_rows, settings.queue.max_bytes) == (100_000, 8)


@pytest.mark.parametrize("name", ["HEADRACE_COLOUR", "HEADRACE_COLOUR__SHADE", "HEADRACE_QUEUES__MAX_ROWS"])
def test_an_unknown_name_of_ours_is_refused_from_both_sources(
    dotenv: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    dotenv.write_text(f"{name}=1\n")
    with pytest.raises(SettingsError, match=f"In the file .env {name} is not a setting of Headrace."):
        load_settings()
    monkeypatch.setenv(name, "1")
    with pytest.raises(SettingsError, match=f"The environment variable {name} is not a setting of Headrace."):
        load_settings()


def test_an_unknown_field_of_a_group_is_refused_from_both_sources(
    dotenv: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "HEADRACE_QUEUE__COLOUR"
    dotenv.write_text(f"{name}=1\n")
    with pytest.raises(SettingsError, match=f"{name}: Extra inputs"):
        load_settings()
    dotenv.unlink()
    monkeypatch.setenv(name, "1")
    with pytest.raises(SettingsError, match=f"{name}: Extra inputs"):
        load_settings()
