"""What is drawn on a figure: models that all renderers can share are there once."""

from __future__ import annotations

import numpy as np
from bokeh.document import Document
from bokeh.models import ColumnDataSource, GlyphRenderer, Scatter
from bokeh.plotting import figure

from dashboards.explorer.drawing import add


def marks(plot: figure, name: str) -> GlyphRenderer:
    return add(plot, name, Scatter(x="x", y="y"), ColumnDataSource({"x": np.zeros(2), "y": np.zeros(2)}))


def test_renderers_of_a_figure_share_what_none_of_them_changes_and_nothing_else() -> None:
    one, two = figure(), figure()
    first, second, other = marks(one, "first"), marks(one, "second"), marks(two, "other")
    assert one.renderers == [first, second]
    assert first.view.filter is second.view.filter
    assert first.data_source.selection_policy is second.data_source.selection_policy
    assert first.view is not second.view
    assert first.data_source.selected is not second.data_source.selected
    assert not first.references() & other.references()


def test_a_source_that_another_map_has_is_left_as_it_is() -> None:
    one, two = figure(), figure()
    Document().add_root(one)
    source, policy = (shown := marks(one, "shown")).data_source, shown.data_source.selection_policy
    marks(two, "own")
    add(two, "shown 2", Scatter(x="x", y="y"), source)
    assert source.selection_policy is policy
