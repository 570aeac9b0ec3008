"""Self-contained HTML pages: templates, charts and their rendering; plain values in, text out.

A page needs no server and no network: styles, script and data are in the one file, and its content policy forbids
everything else. Left out on purpose: any chart library, and anything that knows a model, an artifact or another module.
"""

from nlae.page.charts import Bar, DotChart, LineChart, Series, dot_chart, line_chart
from nlae.page.environment import framed, render, write

__all__ = ["Bar", "DotChart", "LineChart", "Series", "dot_chart", "framed", "line_chart", "render", "write"]
