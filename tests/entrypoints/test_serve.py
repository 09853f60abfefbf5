"""`serve`: its options."""

import pytest

from entrypoints.cli.main import main
from entrypoints.server.serve import with_options
from entrypoints.settings import Settings


def test_option_overrides_the_setting():
    settings = Settings(api_processes=3)
    assert with_options(settings, None) == settings
    assert with_options(settings, 1).api_processes == 1


@pytest.mark.parametrize("count", ["0", "65", "two"])
def test_invalid_number_of_processes_is_refused(count, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["serve", "--processes", count], {})
    assert ended.value.code == 2
    assert "is not a whole number from 1" in capsys.readouterr().err
