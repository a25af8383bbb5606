"""The page's style sheet."""

STYLE = """
:root { color-scheme: light; --ink: #1f2933; --muted: #66788a; --line: #e4e9ee; --soft: #f5f7f9; --accent: #1f6fb2; }
* { box-sizing: border-box; }
body { margin: 0; font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; color: var(--ink);
  background: #fff; }
header, main { max-width: 1120px; margin: 0 auto; padding: 0 24px; }
header { padding-top: 32px; }
h1 { font-size: 26px; margin: 0; }
h2 { font-size: 18px; margin: 36px 0 10px; }
h3 { font-size: 14px; margin: 18px 0 6px; color: var(--muted); font-weight: 600; }
.sub { color: var(--muted); margin: 4px 0 12px; }
.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(200px, 1fr)); gap: 12px; margin-top: 20px; }
.tile { border: 1px solid var(--line); border-radius: 8px; padding: 12px 14px; }
.tile .label, .tile .note { color: var(--muted); font-size: 13px; }
.tile .value { font-size: 22px; font-weight: 600; white-space: nowrap; }
.tile .from { color: var(--muted); font-weight: 400; font-size: 16px; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 14px; }
th { text-align: left; color: var(--muted); font-weight: 600; }
th, td { padding: 5px 14px 5px 0; border-bottom: 1px solid var(--line); vertical-align: top;
  font-variant-numeric: tabular-nums; }
.ci { color: var(--muted); font-size: 12.5px; white-space: nowrap; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(420px, 1fr)); gap: 18px 24px; }
figure { margin: 0; }
figure svg { width: 100%; height: auto; display: block; }
.strip { border: 1px solid var(--line); border-radius: 8px; padding: 8px; }
details { border: 1px solid var(--line); border-radius: 8px; margin: 8px 0; padding: 8px 12px; }
summary { cursor: pointer; }
pre { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere;
  font: 13px/1.45 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
.badge { display: inline-block; border-radius: 10px; padding: 0 9px; font-size: 12.5px; font-weight: 600; }
.badge.ok { background: #e2f3ea; color: #1d6b46; }
.badge.no { background: #fbe6e9; color: #9b2740; }
.task { font-family: ui-monospace, SFMono-Regular, Menlo, monospace; font-size: 13px; }
.facts { color: var(--muted); font-size: 13px; }
.said, .model { border-radius: 6px; padding: 8px 10px; margin: 8px 0 0; background: var(--soft); }
.model { background: #fff; border-left: 3px solid var(--accent); }
.who { color: var(--muted); font-size: 12px; margin-bottom: 3px; }
.tests td { font-size: 13px; padding: 2px 12px 2px 0; border: 0; overflow-wrap: anywhere; }
td.ok { color: #1d6b46; } td.no { color: #9b2740; }
@media (max-width: 560px) { .charts { grid-template-columns: 1fr; } header, main { padding: 0 14px; } }
"""
