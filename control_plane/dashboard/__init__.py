"""The status page: what is wrong, who is connected, what is served, and how it does.

scene.py     what all pages are made of, looked up once
findings.py  pure   what is wrong, the worst first
clients.py services.py routes.py changes.py overview.py   pure   one page's values each
charts.py    pure   lines and axes of an SVG
wording.py   pure   numbers, ages and sizes as people read them
paging.py    pure   filter, order and page of a long table
rendering.py        templates, and what of a page has changed since it was sent
live.py             sends that over SSE
pages.py            the paths
"""
