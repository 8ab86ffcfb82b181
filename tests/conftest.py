"""Options for all tests."""

from __future__ import annotations

import random

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--e2e-seeds", default="1", help="seeds of the end-to-end test: 1,2,3 or random:COUNT")
    parser.addoption("--kill-seconds", type=int, default=90, help="how long workers and services are killed")
    parser.addoption("--chaos-steps", type=int, default=160, help="changes in the CRM per seed of the chaos test")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "e2e_seed" in metafunc.fixturenames:
        option = metafunc.config.getoption("--e2e-seeds")
        if option.startswith("random:"):
            seeds = [random.SystemRandom().randrange(10**6) for _ in range(int(option.removeprefix("random:")))]
        else:
            seeds = [int(part) for part in option.split(",")]
        metafunc.parametrize("e2e_seed", seeds)
