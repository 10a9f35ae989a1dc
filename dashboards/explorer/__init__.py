"""The explorer: a Bokeh directory app, `bokeh serve dashboards/explorer` in the repository root."""
