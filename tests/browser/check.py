"""Opens HTML reports in a real browser and holds them against what a reader needs.

usage: check.py [--chromium PATH] [--screenshots DIR] FILE…

Each page is opened in a light and a dark scheme, on the widths of a phone, a tablet and a desktop, and for
print. It must ask for nothing, say nothing on the console, pass axe-core, and be readable. Prints one line a
page, and one at the end; exits with 1 when something is wrong.
"""

import argparse
import sys
from contextlib import contextmanager
from pathlib import Path

import axe_playwright_python
from playwright.sync_api import sync_playwright

AXE = Path(axe_playwright_python.__file__).with_name("axe.min.js").read_text()
RULES = {
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"],
    "resultTypes": ["violations", "incomplete"],
}
WIDTHS = [360, 768, 1280]
SCHEMES = ["light", "dark"]
# A4 at 96 dots an inch, less margins of 1 cm.
PAPER = 718
SMALLEST_PX = 12

# Everything that a reader would miss: what does not fit, what is too small, what the page does not say.
READABLE = """([width, smallest]) => {
  const found = [];
  const root = document.documentElement;
  if (root.scrollWidth > width) found.push(`scrolls sideways: ${root.scrollWidth} px on ${width}`);
  if (!document.title.trim()) found.push("has no title");
  if (!root.lang) found.push("does not say its language");
  const policy = document.querySelector('meta[http-equiv="Content-Security-Policy"]');
  if (!policy || !/default-src 'none'/.test(policy.content)) found.push("has no policy against requests");
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.textContent.trim();
    if (!text) continue;
    const element = walker.currentNode.parentElement;
    const said = `${element.tagName.toLowerCase()} "${text.slice(0, 30)}"`;
    const size = parseFloat(getComputedStyle(element).fontSize);
    if (size < smallest) found.push(`is too small: ${size} px: ${said}`);
    const range = document.createRange();
    range.selectNodeContents(walker.currentNode);
    for (const box of range.getClientRects()) {
      // Heads of tables are moved out of sight on a phone, for those who hear the page.
      if (element.closest("thead")) continue;
      if (box.right > width + 0.5 || box.left < -0.5) { found.push(`is cut off: ${said}`); break; }
    }
  }
  for (const element of document.body.querySelectorAll("*")) {
    const style = getComputedStyle(element);
    if (element.closest("thead") || element.scrollWidth <= element.clientWidth + 1) continue;
    if (style.overflowX !== "visible") {
      found.push(`is cut off inside of ${element.tagName.toLowerCase()}`);
    }
  }
  return found;
}"""


class Page:
    """What one file did in every view of it."""

    def __init__(self, file):
        self.file = file.resolve()
        self.requests = set()
        self.console = set()
        self.violations = set()

    def allow(self, route):
        """Lets the file itself through, and nothing else."""
        if route.request.url == self.file.as_uri():
            route.continue_()
        else:
            self.requests.add(route.request.url[:120])
            route.abort()

    def listen(self, tab):
        tab.route("**/*", self.allow)
        # Requests that the policy stops never reach the route; the browser complains about them here.
        tab.on("console", self.hear)
        tab.on("pageerror", lambda error: self.console.add(f"error: {error}"))
        tab.on("popup", lambda popup: self.requests.add(f"a window: {popup.url}"))

    def hear(self, message):
        if message.type in ("error", "warning"):
            self.console.add(f"{message.type}: {message.text[:160]}")

    def judge(self, tab, view):
        for problem in tab.evaluate(READABLE, [tab.viewport_size["width"], SMALLEST_PX]):
            self.violations.add(f"{view}: {problem}")
        if not tab.evaluate("() => typeof window.axe === 'object'"):
            tab.evaluate(AXE)
        result = tab.evaluate("(rules) => axe.run(document, rules)", RULES)
        # What axe cannot decide would have to be looked at, and so it must not come up.
        for kind in ("violations", "incomplete"):
            for rule in result[kind]:
                where = rule["nodes"][0]["html"][:80]
                self.violations.add(f"{view}: {kind}: {rule['id']}: {rule['help']}: {where}")
        if not result["passes"]:
            self.violations.add(f"{view}: axe-core checked nothing")

    def problems(self):
        named = {"violation": self.violations, "request": self.requests, "console": self.console}
        return [f"{kind}: {text}" for kind, found in named.items() for text in sorted(found)]


@contextmanager
def opened(browser, page, width, **view):
    context = browser.new_context(viewport={"width": width, "height": 900}, **view)
    tab = context.new_page()
    page.listen(tab)
    tab.goto(page.file.as_uri(), wait_until="load")
    yield tab
    context.close()


def check(browser, file, screenshots):
    page = Page(file)

    def look(tab, view):
        page.judge(tab, view)
        if screenshots:
            tab.screenshot(path=screenshots / f"{file.stem}-{view}.png", full_page=True)

    for scheme in SCHEMES:
        for width in WIDTHS:
            with opened(browser, page, width, color_scheme=scheme) as tab:
                look(tab, f"{scheme}-{width}")
    # A dark scheme must not get onto paper, nor cut it off.
    with opened(browser, page, PAPER, color_scheme="dark") as tab:
        tab.emulate_media(media="print")
        look(tab, "print")
        if screenshots:
            tab.pdf(path=screenshots / f"{file.stem}.pdf", format="A4")
    return page


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--chromium", default="/usr/bin/chromium")
    arguments.add_argument("--screenshots", type=Path)
    arguments.add_argument("files", type=Path, nargs="+")
    arguments = arguments.parse_args()
    with sync_playwright() as playwright:
        # Reports are opened from files of our own making; as root the sandbox does not start.
        browser = playwright.chromium.launch(
            executable_path=arguments.chromium, args=["--no-sandbox"]
        )
        pages = [check(browser, file, arguments.screenshots) for file in arguments.files]
        browser.close()
    for page in pages:
        problems = page.problems()
        print(f"{'ok' if not problems else 'BAD':>4} {page.file.name}")
        for problem in problems:
            print(f"       {problem}")
    total = {
        name: sum(len(getattr(page, name)) for page in pages)
        for name in ("violations", "requests", "console")
    }
    found = " ".join(f"{name}={count}" for name, count in total.items())
    print(f"report-check: pages={len(pages)} {found}")
    sys.exit(1 if any(total.values()) else 0)


if __name__ == "__main__":
    main()
