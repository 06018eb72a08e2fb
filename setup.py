"""What pyproject.toml cannot say: `search_spaces/` is the package `gramtune.search_spaces` of the wheel."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["gramtune", "gramtune.*"]), "gramtune.search_spaces"],
    package_dir={"gramtune.search_spaces": "search_spaces"},
    package_data={"gramtune.search_spaces": ["*.yaml", "base/*.yaml", "schema/*.json"]},
)
