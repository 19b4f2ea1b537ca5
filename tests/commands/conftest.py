"""What the tests of several programs share."""

import pytest


@pytest.fixture
def refused(config, capsys):
    """Words of a command line -> the message with which it is refused, by the `config` fixture of the test's file."""

    def message(name: str, *words: str, **options: object) -> str:
        with pytest.raises(SystemExit) as stop:
            config(name, *words, **options)
        assert stop.value.code == 2
        return capsys.readouterr().err

    return message
