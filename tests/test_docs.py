"""Everything that the guide and the README name exists: jobs, checks, settings, run configs, commands, pictures."""

from __future__ import annotations

import importlib.util
import re

import dagster as dg
import pytest
import yaml

from orchestration.definitions import defs
from tests.e2e.system import PROJECT

GUIDE = (PROJECT / "docs/operator-guide.md").read_text(encoding="utf-8")
README = (PROJECT / "README.md").read_text(encoding="utf-8")
TEXTS = {"docs/operator-guide.md": GUIDE, "README.md": README}
MAX_PICTURE_BYTES = 150 * 1024

REPOSITORY = defs.get_repository_def()
JOBS = {job.name for job in REPOSITORY.get_all_jobs()} - {"__ASSET_JOB"}


def section(title: str) -> str:
    return GUIDE.split(f"### {title}\n", 1)[1].split("\n#", 1)[0]


def first_cells(table: str) -> set[str]:
    """Names in backquotes in the first column."""
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    return {name for cell in rows for name in re.findall(r"`([^`]+)`", cell)}


def test_the_guide_lists_exactly_the_jobs_that_exist() -> None:
    assert first_cells(section("Jobs")) == JOBS


def test_the_guide_says_what_to_do_for_each_check() -> None:
    checks = {key.name for key in defs.resolve_asset_graph().asset_check_keys}
    assert first_cells(section("Checks")) == checks


def test_the_guide_lists_all_settings_of_the_pipeline_and_none_that_is_not_read() -> None:
    listed = first_cells(section("Settings"))
    code = "".join(path.read_text(encoding="utf-8") for path in (PROJECT / "orchestration").rglob("*.py"))
    assert not {name for name in listed if f'"{name}"' not in code}
    own = (PROJECT / "orchestration/settings.py").read_text(encoding="utf-8")
    assert set(re.findall(r'"([A-Z]+_[A-Z_]+)"', own)) <= listed


@pytest.mark.parametrize("name", TEXTS)
def test_jobs_named_in_commands_exist(name: str) -> None:
    named = set(re.findall(r" -j (\w+)", TEXTS[name])) | set(re.findall(r"\*\*Jobs\*\* →\s+`(\w+)`", TEXTS[name]))
    assert named - {"NAME"}
    assert named - {"NAME"} <= JOBS


def run_configs() -> list[dict[str, object]]:
    blocks = re.findall(r"^ *```yaml\n(.*?)^ *```", GUIDE, re.MULTILINE | re.DOTALL)
    inline = re.findall(r"\{ops: \{.*\}\}\}", GUIDE + README)
    return [yaml.safe_load(text) for text in (*blocks, *inline)]


@pytest.mark.parametrize("config", run_configs(), ids=lambda config: next(iter(config["ops"])))
def test_a_run_config_is_accepted_by_the_job_with_that_operation(config: dict[str, dict[str, object]]) -> None:
    (operation,) = config["ops"]
    (job,) = [job for job in REPOSITORY.get_all_jobs() if operation in {node.name for node in job.nodes}]
    assert dg.validate_run_config(job, config)


@pytest.mark.parametrize("name", TEXTS)
def test_modules_and_make_targets_named_in_commands_exist(name: str) -> None:
    modules = set(re.findall(r"-m ([a-z_]+(?:\.[a-z_]+)*)", TEXTS[name]))
    assert modules
    assert not [module for module in modules if importlib.util.find_spec(module) is None]
    targets = set(re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z-]+)", TEXTS[name])) <= targets


@pytest.mark.parametrize("name", TEXTS)
def test_pictures_and_linked_files_exist(name: str) -> None:
    places = re.findall(r"\]\((?!http)([^)#]+)", TEXTS[name])
    missing = [place for place in places if not ((PROJECT / name).parent / place).exists()]
    assert not missing


def test_each_picture_of_the_guide_is_small_and_taken_by_a_ui_test() -> None:
    pictures = re.findall(r"\(images/([\w-]+)\.png\)", GUIDE)
    walks = (PROJECT / "tests/ui/test_desk.py").read_text(encoding="utf-8")
    for picture in pictures:
        assert f'"{picture}"' in walks, picture
        assert (PROJECT / f"docs/images/{picture}.png").stat().st_size <= MAX_PICTURE_BYTES, picture


def test_no_text_refers_to_paths_of_the_machine_it_was_written_on() -> None:
    for text in TEXTS.values():
        assert not re.findall(r"/work/|\.\./shared|/tmp/", text)
