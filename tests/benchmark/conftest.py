import json

import pytest

from benchmark import command_line


@pytest.fixture
def benchmark(capsys):
    """Arguments -> (exit status, the JSON of the last line, all that was printed)."""

    def run(*arguments: str) -> tuple[int, dict, str]:
        status = command_line.main([str(argument) for argument in arguments])
        printed = capsys.readouterr().out
        return status, json.loads(printed.splitlines()[-1]), printed

    return run
