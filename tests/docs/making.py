"""``make`` dans l’environnement de ces tests, sans que rien ne s’y installe."""

import sys
from pathlib import Path

# READY: this environment is the one to use, whatever its age. Nothing then depends on Makefile.
# A make inside another one announces its folder on the output that these tests read.
HERE = (
    f"BIN={Path(sys.executable).parent}",
    "READY=Makefile",
    "--old-file=Makefile",
    "--no-print-directory",
)
