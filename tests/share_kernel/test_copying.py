"""La commande qui copie le dossier, d’un clone, d’une archive ou d’une copie."""

import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from src.share_kernel import __main__ as copying
from src.share_kernel.version import __version__

KERNEL = Path(copying.__file__).parent
TARGET = "common/share_kernel"


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path


@pytest.fixture
def kernel(tmp_path: Path) -> Path:
    """Un clone, que le test peut changer."""
    return shutil.copytree(KERNEL, tmp_path / "clone", ignore=shutil.ignore_patterns("__pycache__"))


def run(source: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Copie comme un lecteur : un processus, sans rien d’installé."""
    return subprocess.run(
        [sys.executable, "-I", str(source), *arguments],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    before = tree()
    assert copying.main(list(arguments)) == 1
    assert tree() == before
    printed = capsys.readouterr()
    (line,) = printed.err.splitlines()
    return line


def tree(root: Path | None = None) -> dict[str, bytes]:
    root = root or Path.cwd()
    paths = [p for p in root.rglob("*") if p.is_file() and "__pycache__" not in p.parts]
    return {str(path.relative_to(root)): path.read_bytes() for path in paths}


class TestTheCopy:
    def test_is_a_package_that_says_where_it_comes_from(self, capsys: object) -> None:
        assert copying.main([TARGET]) == 0

        assert Path("common/__init__.py").read_text() == ""
        module = Path(TARGET, "infrastructure/event_bus.py").read_text("utf-8")
        assert module.startswith(f"# Copied from share_kernel {__version__}")
        original = (KERNEL / "infrastructure/event_bus.py").read_text("utf-8")
        assert module.endswith(original)
        assert Path(TARGET, "LICENSE").read_bytes() == (KERNEL / "LICENSE").read_bytes()
        manifest = json.loads(Path(TARGET, "COPIED.json").read_text())
        assert manifest["version"] == __version__
        assert manifest["files"].keys() == tree(Path(TARGET)).keys() - {"COPIED.json"}

    def test_tells_the_two_next_steps(self) -> None:
        done = run(KERNEL, TARGET)

        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-2:] == [
            '1. Add "common.share_kernel" to INSTALLED_APPS.',
            "2. Run python manage.py check",
        ]

    @pytest.mark.parametrize("target", ["share_kernel", "a/bus", "../project/common/event_bus"])
    def test_goes_anywhere(self, target: str) -> None:
        Path("a").mkdir()

        assert copying.main([target]) == 0
        assert Path(target, "apps.py").exists()
        assert not Path("a/__init__.py").exists()  # the reader’s folder is the reader’s

    def test_a_dry_run_writes_nothing(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert copying.main([TARGET, "--dry-run"]) == 0

        assert tree() == {}
        lines = capsys.readouterr().out.splitlines()
        assert "+ infrastructure/event_bus.py" in lines
        count = len(tree(KERNEL)) + 1  # and ruff.toml
        assert lines[-1] == f"{count} files to change, {count} in all."

    def test_of_a_copy_is_the_same_copy(self) -> None:
        run(KERNEL, TARGET)
        done = run(Path(TARGET), "other/share_kernel")

        assert done.returncode == 0, done.stderr
        assert tree(Path("other/share_kernel")) == tree(Path(TARGET))

    def test_of_an_archive_is_the_same_copy(self, tmp_path: Path) -> None:
        archive = tmp_path / "share_kernel.zip"
        with zipfile.ZipFile(archive, "w") as file:
            for name, content in copying.source_files().items():
                file.writestr(f"share_kernel/{name}", content)
            file.write(KERNEL / "__main__.py", "__main__.py")

        done = run(archive, TARGET)
        run(KERNEL, "other/share_kernel")

        assert done.returncode == 0, done.stderr
        assert tree(Path(TARGET)) == tree(Path("other/share_kernel"))


class TestAnUpdate:
    @pytest.fixture(autouse=True)
    def _newer(self, kernel: Path) -> None:
        run(kernel, TARGET)
        (kernel / "version.py").write_text('__version__ = "99.0"\n')
        (kernel / "checks.py").unlink()
        (kernel / "better.py").write_text("# better\n")

    def test_changes_adds_and_removes(self, kernel: Path) -> None:
        done = run(kernel, TARGET)

        lines = done.stdout.splitlines()
        assert {"~ version.py", "- checks.py", "+ better.py"} <= set(lines)
        assert lines[-2].startswith("1. Read what changed")
        assert not Path(TARGET, "checks.py").exists()
        assert Path(TARGET, "better.py").exists()

    def test_twice_changes_nothing(self, kernel: Path) -> None:
        run(kernel, TARGET)

        assert "0 files to change" in run(kernel, TARGET).stdout

    @pytest.mark.parametrize(
        ("change", "named"),
        [
            (lambda: Path(TARGET, "checks.py").write_text("mine"), "checks.py"),
            (lambda: Path(TARGET, "apps.py").unlink(), "apps.py"),
            (lambda: Path(TARGET, "mine.py").write_text(""), "mine.py"),
            (lambda: Path(TARGET, "domain/notes.txt").write_text(""), "domain/notes.txt"),
        ],
    )
    def test_never_loses_what_the_reader_did(
        self, kernel: Path, change: Callable[[], object], named: str
    ) -> None:
        change()
        before = tree()

        done = run(kernel, TARGET)

        assert done.returncode == 1
        assert f"Nothing was changed: you changed {named} in common/share_kernel" in done.stderr
        assert tree() == before
        assert run(kernel, TARGET, "--force").returncode == 0
        assert Path(TARGET, "apps.py").exists()

    def test_ignores_what_python_leaves_there_and_line_endings(self, kernel: Path) -> None:
        Path(TARGET, "__pycache__").mkdir()
        Path(TARGET, "__pycache__/apps.cpython-311.pyc").write_bytes(b"\0")
        path = Path(TARGET, "apps.py")
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))

        assert run(kernel, TARGET).returncode == 0

    def test_never_goes_back(self, kernel: Path) -> None:
        run(kernel, TARGET)

        done = run(KERNEL, TARGET)

        assert f"common/share_kernel is 99.0, newer than {__version__}." in done.stderr
        assert done.returncode == 1


class TestWhatIsRefused:
    @pytest.mark.parametrize("name", ["common/share-kernel", "1bus", "common/class", "my common/x"])
    def test_a_name_that_python_cannot_import(
        self, name: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert "cannot be imported. Use letters" in refusal(capsys, name)

    def test_a_folder_that_is_not_a_copy(self, capsys: pytest.CaptureFixture[str]) -> None:
        Path(TARGET).mkdir(parents=True)
        Path(TARGET, "models.py").write_text("important")

        assert "was not made by this command" in refusal(capsys, TARGET)

    @pytest.mark.parametrize(
        "content", ["", "[]", "{}", '{"version": 1}', '{"files": 3, "version": 1}']
    )
    def test_a_manifest_that_is_not_one(
        self, content: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        Path(TARGET).mkdir(parents=True)
        Path(TARGET, "COPIED.json").write_text(content)

        assert "was not made by this command" in refusal(capsys, TARGET)

    def test_a_parent_of_nothing(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert "nowhere does not exist" in refusal(capsys, "nowhere/common/share_kernel")

    @pytest.mark.parametrize("place", ["common", TARGET])
    def test_a_file_in_the_way(self, place: str, capsys: pytest.CaptureFixture[str]) -> None:
        Path(place).parent.mkdir(exist_ok=True)
        Path(place).write_text("a file")

        assert f"{place} is a file" in refusal(capsys, TARGET)

    @pytest.mark.parametrize("exists", [True, False])
    @pytest.mark.parametrize("gesture", ["mkdir", "write_bytes", "rename"])
    def test_what_fails_halfway_leaves_what_was_there(
        self,
        exists: bool,
        gesture: str,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        if exists:
            copying.main([TARGET])
            capsys.readouterr()
        gestures, real = iter(range(5)), getattr(Path, gesture)
        last = 0 if gesture == "rename" else 1

        def do(path: Path, *arguments: object, **options: object) -> object:
            if path.name.startswith(".share_kernel.old") or next(gestures) != last:
                return real(path, *arguments, **options)
            raise PermissionError(13, "Permission denied", str(path))

        monkeypatch.setattr(Path, gesture, do)

        assert "Permission denied" in refusal(capsys, TARGET, "--force")
