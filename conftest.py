collect_ignore_glob = [
    "docs/conf.py",  # --doctest-modules would import it as conf, the name of a package
    "docs/_ext/*",
    "noxfile.py",
    "tests/services/shop/*",  # an application that only the service tests install
]
