// A click on the number of a missing region, or inside its outline where no point is, opens it.
(() => {
  const LABEL = 12; // pixels
  const model = (name) => Bokeh.documents[0]?.get_model_by_name(name);

  const numberAt = (event) => {
    const plot = event.origin, end = plot.name === "map" ? "" : " 2";
    const data = model(`gap numbers${end}`)?.data_source.data;
    const perX = (plot.x_range.end - plot.x_range.start) / plot.inner_width;
    const perY = (plot.y_range.end - plot.y_range.start) / plot.inner_height;
    for (let i = (data?.x.length ?? 0) - 1; i >= 0; i--)
      if (Math.hypot((data.x[i] - event.x) / perX, (data.y[i] - event.y) / perY) < LABEL) return data.rank[i];
    return null;
  };

  // Even-odd rule over all rings of a region, so that holes are outside.
  const regionAt = (event) => {
    const end = event.origin.name === "map" ? "" : " 2", inside = new Map();
    for (const kind of ["missing", "reached", "open"]) {
      const { xs = [], ys = [], rank = [] } = model(`gaps ${kind}${end}`)?.data_source.data ?? {};
      for (let r = 0; r < xs.length; r++)
        for (let i = 0, j = xs[r].length - 1; i < xs[r].length; j = i++) {
          const [x, y, x1, y1] = [xs[r][i], ys[r][i], xs[r][j], ys[r][j]];
          if ((y > event.y) !== (y1 > event.y) && event.x < ((x1 - x) * (event.y - y)) / (y1 - y) + x)
            inside.set(rank[r], !inside.get(rank[r]));
        }
    }
    return Math.max(-1, ...[...inside].filter(([, is]) => is).map(([rank]) => rank));
  };

  explorer.gaps = { numberAt, regionAt };
})();
