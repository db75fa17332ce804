"""A small HTML page that the server writes itself: in the look of the explorer, without scripts."""

from __future__ import annotations

from html import escape

POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)
"""The Content-Security-Policy that goes with such a page."""

# The colours are those of the explorer's style sheet.
_STYLE = """
:root { --ink: 219 28% 24%; --paper: 0 0% 100%; --leaf: 155 64% 25%; --line: 219 28% 24% / 0.16;
  --shade: 219 28% 24% / 0.06; --canvas: 219 28% 96%; --soft: 219 20% 40%;
  color-scheme: light dark }
@media (prefers-color-scheme: dark) { :root { --ink: 219 29% 86%; --paper: 219 29% 14%;
  --leaf: 150 55% 66%; --line: 219 29% 86% / 0.18; --shade: 219 29% 86% / 0.08;
  --canvas: 219 30% 10%; --soft: 219 20% 68% } }
* { box-sizing: border-box }
body { margin: 0; min-height: 100dvh; background: hsl(var(--canvas)); color: hsl(var(--ink));
  font: 15px/1.5 Roboto, system-ui, sans-serif; overflow-wrap: break-word }
header { display: flex; align-items: center; height: 52px; padding: 0 16px;
  background: hsl(var(--paper)); border-bottom: 1px solid hsl(var(--line)) }
header a { display: flex; align-items: center; gap: 10px; color: inherit; text-decoration: none;
  font-size: 16px; font-weight: 500 }
main { max-width: 36rem; margin: 40px auto; padding: 24px 28px 28px; background: hsl(var(--paper));
  border: 1px solid hsl(var(--line)); border-radius: 12px }
@media (max-width: 40rem) { main { margin: 16px } }
h1 { margin: 0 0 12px; font-size: 22px; font-weight: 500; line-height: 1.25 }
a { color: hsl(var(--leaf)) }
code, pre { font-family: "Fira Code", ui-monospace, monospace; font-size: 13px }
pre { overflow-x: auto; padding: 10px 12px; background: hsl(var(--shade)); border-radius: 8px }
small { color: hsl(var(--soft)); font-size: 13px }
ul { margin: 0 0 20px; padding: 0; list-style: none }
button, input { color: inherit; font: inherit }
input { width: 100%; height: 38px; padding: 0 10px; background: hsl(var(--paper));
  border: 1px solid hsl(var(--soft)); border-radius: 8px }
button { min-height: 38px; padding: 0 16px; cursor: pointer; color: hsl(var(--paper));
  background: hsl(var(--leaf)); border: 0; border-radius: 8px }
li button { display: flex; flex-wrap: wrap; align-items: baseline; gap: 2px 10px; width: 100%;
  padding: 7px 10px; color: inherit; background: none; text-align: left }
li button:hover { background: hsl(var(--shade)) }
label { display: block; margin-bottom: 10px }
:focus-visible { outline: 2px solid hsl(var(--leaf)); outline-offset: 1px }
"""
_LEAF = (
    '<svg width="24" height="24" viewBox="0 0 32 32" aria-hidden="true">'
    '<rect width="32" height="32" rx="8" fill="#17694a"/>'
    '<path d="M7 24C7 13 14 8 26 7c0 12-5 18-14 18-1.6 0-3-.4-4-1z" fill="#b9e8c9"/>'
    '<path d="M7 26c3-7 8-11 14-14" fill="none" stroke="#17694a" stroke-width="1.8" '
    'stroke-linecap="round"/></svg>'
)


def html(title: str, body: str, *, reload_after: int | None = None) -> str:
    """The text of a page. ``title`` is text, ``body`` is HTML.

    With ``reload_after`` the browser asks for the page again after that many seconds.
    """
    again = f'<meta http-equiv="refresh" content="{reload_after}">\n' if reload_after else ""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
{again}<title>{escape(title)} · community-gql</title>
<style>{_STYLE}</style>
</head>
<body>
<header><a href="/">{_LEAF}community-gql</a></header>
<main>
<h1>{escape(title)}</h1>
{body}
</main>
</body>
</html>
"""
