import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_using_the_register_without_installing_it_says_what_to_do() -> None:
    code = """
import django
django.setup()
import src.share_kernel.infrastructure.outbox.models
"""
    env = os.environ | {"DJANGO_SETTINGS_MODULE": "conf.settings", "OUTBOX": "0"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )

    assert done.returncode == 1
    assert "Add 'src.share_kernel.infrastructure.outbox' to INSTALLED_APPS" in done.stderr
