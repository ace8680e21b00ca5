"""Pictures are made of whatever was measured."""

from __future__ import annotations

from pathlib import Path

import pytest
from unit.loadtest.compare.measurements import GET_64, PUT_64, PUT_256, measurement, results

pytest.importorskip("matplotlib", reason="make .venv/load.stamp installs it")

PNG = b"\x89PNG"


def test_pictures_are_drawn_where_some_loads_were_not_measured(tmp_path: Path) -> None:
    from compare.plots import draw

    found = results(
        measurement("kvstore", GET_64, 400, 500),
        measurement("kvstore", PUT_64, 300),
        measurement("etcd", PUT_256, 100),
    )
    names = draw(found, tmp_path)
    assert all((tmp_path / name).read_bytes().startswith(PNG) for name in names)


def test_every_picture_has_words_in_the_report(tmp_path: Path) -> None:
    from compare.plots import draw
    from compare.report import PICTURES

    assert draw(results(measurement("kvstore", GET_64, 1)), tmp_path) == list(PICTURES)
