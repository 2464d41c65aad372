import ast
from pathlib import Path


def test_no_source_file_has_more_than_300_lines(sources: list[Path], root: Path) -> None:
    long = {
        str(path.relative_to(root)): count for path in sources if (count := len(path.read_text().splitlines())) > 300
    }
    assert not long


def test_every_module_opens_with_one_sentence_on_its_responsibility(sources: list[Path], root: Path) -> None:
    without = []
    for path in sources:
        docstring = ast.get_docstring(ast.parse(path.read_text()))
        if docstring is None or not docstring.splitlines()[0].endswith((".", ":")):
            without.append(str(path.relative_to(root)))
    assert not without


def test_only_the_settings_read_the_environment(sources: list[Path], root: Path) -> None:
    readers = []
    for path in sources:
        if path == root / "shared" / "settings.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            named = isinstance(node, ast.ImportFrom) and node.module == "os"
            if named and {alias.name for alias in node.names} & {"environ", "environb", "getenv"}:
                readers.append(str(path.relative_to(root)))
            attribute = isinstance(node, ast.Attribute) and node.attr in ("environ", "environb", "getenv")
            if attribute and isinstance(node.value, ast.Name) and node.value.id == "os":
                readers.append(str(path.relative_to(root)))
    assert not readers


def test_lua_scripts_and_other_data_files_are_part_of_the_package(root: Path) -> None:
    import importlib.util

    spec = importlib.util.find_spec("shared.jobs")
    assert spec is not None and spec.submodule_search_locations
    folder = Path(next(iter(spec.submodule_search_locations))) / "scripts"
    assert {path.name for path in folder.glob("*.lua")} >= {"submit.lua", "take.lua", "settle.lua"}
