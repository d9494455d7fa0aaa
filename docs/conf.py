"""Configuration du site.

`DOCS_LANG` choisit la langue, `SITE_URL` donne l’adresse publique, `REPOSITORY_URL` le dépôt.
"""

import os
import sys
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path[:0] = [str(ROOT), str(HERE / "_ext")]
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "conf.settings")
os.environ["OUTBOX"] = "1"  # the register is documented too

import django  # noqa: E402  (the path comes first)
import hosting  # noqa: E402  (likewise)

from src.share_kernel.version import __version__  # noqa: E402  (likewise)

django.setup()

language = os.environ.get("DOCS_LANG", "fr")
site_address = hosting.public_address()

project = "Bus d’événements" if language == "fr" else "Event bus"
author = "les mainteneurs" if language == "fr" else "the maintainers"
copyright = f"2026, {author}"
html_title = project

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.intersphinx",
    "sphinx.ext.napoleon",
    "sphinx_autodoc_typehints",
    "celery.contrib.sphinx",  # autodoc skips a @shared_task without it
    "sphinx_copybutton",
    "notfound.extension",
    "metadata",
    "sharing",
    "finding",
    "languages",
    "search",
    "access",
    "callouts",
    "chaos",
    "demo",
    "live",
    "measures",
    "peers",
]
exclude_patterns = ["_build", "_ext", "_live", "_modeles", "conftest.py"]
templates_path = ["_templates"]
nitpicky = True
suppress_warnings = ["config.cache"]  # typehints_formatter, below, is a function

# Translations
locale_dirs = [str(ROOT / "locale")]
gettext_compact = False
gettext_last_translator = ""
gettext_language_team = ""
gettext_location = False
gettext_uuid = False
# The catalogues hold straight quotes, and the English pages show curly ones. French: dashes only,
# since its quotes would be wrong here and the pages hold the real ones.
smartquotes_action = "D" if language == "fr" else "qD"

# Pages and docstrings
myst_enable_extensions = ["attrs_block", "attrs_inline", "colon_fence", "deflist", "substitution"]
myst_heading_anchors = 3
myst_url_schemes = {  # archive: is a file that the build writes beside the pages
    "http": None, "https": None, "mailto": None, "archive": {"url": "{{path}}"},
}  # fmt: skip
autodoc_member_order = "bysource"
autodoc_use_legacy_class_based = True  # celery.contrib.sphinx needs it
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
celery_task_prefix = "tâche" if language == "fr" else "task"
always_use_bars_union = True
typehints_document_rtype_none = False
add_module_names = False


def typehints_formatter(annotation: object, _config: object) -> str | None:
    """Écrit une variable de type par son nom, sans la décrire."""
    return f"``{annotation.__name__}``" if isinstance(annotation, TypeVar) else None


INVENTORIES = ROOT / "conf" / "inventories"  # kept as data: a build needs no network
_in_french = language == "fr"
intersphinx_mapping = {
    "python": (
        f"https://docs.python.org/{'fr/' if _in_french else ''}3",
        str(INVENTORIES / "python.inv"),
    ),
    "django": (
        f"https://docs.djangoproject.com/{'fr' if _in_french else 'en'}/5.2",
        str(INVENTORIES / "django.inv"),
    ),
    "celery": ("https://docs.celeryq.dev/en/stable", str(INVENTORIES / "celery.inv")),
}
nitpick_ignore = [
    # What another bus is made of: inner seams, without a page.
    ("py:class", "src.share_kernel.infrastructure.dispatch.Dispatch"),
    ("py:class", "src.share_kernel.infrastructure.registry.Registry"),
    ("py:meth", "publish"),  # shown as the function publish_event
]
nitpick_ignore_regex = [
    ("py:class", r".*\bH$"),  # type variables have no page
    ("py:class", r".*\bE$"),
    ("py:obj", r".*\.(H|E)$"),
    ("py:class", r".*TypeVar.*"),
]

# Appearance
html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = [("site.js", {"defer": "defer"})]
html_favicon = "_static/favicon.svg"
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False  # the theme says it half in English
html_domain_indices = False  # a page that nothing links to
pygments_dark_style = "a11y-high-contrast-dark"  # Furo’s own underlines every imported name
html_search_scorer = str(HERE / "_ext" / "search.js")
html_theme_options = {
    "top_of_page_buttons": [],
    "light_css_variables": {
        "color-brand-primary": "#0b5d4b",
        "color-brand-content": "#0b5d4b",
        "color-brand-visited": "#5b3f8c",
        "color-amber": "#92400e",
        "color-red": "#b3261e",
    },
    "dark_css_variables": {
        "color-brand-primary": "#6fd3b5",
        "color-brand-content": "#6fd3b5",
        "color-brand-visited": "#c3a6f2",
        "color-amber": "#ffd166",
        "color-red": "#ff9d94",
    },
}
# A published site leads to its source; a local build does not know where that is.
FORGES = ("https://github.com/", "https://gitlab.com/", "https://bitbucket.org/")  # of « edit »
html_context = {"kernel_version": __version__}
_repository = os.environ.get("REPOSITORY_URL") or os.environ.get("READTHEDOCS_GIT_CLONE_URL", "")
if _repository.startswith("https://"):
    html_context["repository"] = _repository.removesuffix(".git").rstrip("/")
if _repository.startswith(FORGES):
    html_theme_options |= {
        "source_repository": html_context["repository"],
        "source_branch": os.environ.get("REPOSITORY_BRANCH", "main"),
        "source_directory": "docs",
    }
html_sidebars = {
    "**": [
        "sidebar/brand.html",
        "sidebar/search.html",
        "sidebar/scroll-start.html",
        "sidebar/navigation.html",
        "sidebar/scroll-end.html",
        "sidebar/about.html",
    ]
}
copybutton_exclude = ".linenos, .gp, .go, .callout"
copybutton_selector = ", ".join(
    f"div.highlight-{name} pre" for name in ("python", "console", "ini", "markdown")
)

# Addresses
html_baseurl = f"{site_address}/{language}/"
notfound_urls_prefix = f"{urlsplit(site_address).path}/{language}/"
notfound_template = "not_found.html"
notfound_context: dict[str, str] = {}
